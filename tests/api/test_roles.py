"""Own roles, and that nobody gets by way of others what they do not hold themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from starlette.applications import Starlette

from tidegate.control.api import table
from tidegate.control.api.operations import routes
from tidegate.control.console.people_words import every_permission
from tidegate.control.domain.access import EVERY_FLEET, PERMISSIONS, ROLES, Grant, Identity, Scope
from tidegate.control.services import api_keys, fleets, operator_sessions, people, roles, secrets, sessions
from tidegate.control.services.node import Node
from tidegate.control.services.people import NamedGrant
from tidegate.control.store import engine
from tidegate.control.store import people as store
from tidegate.control.store.schema import audit_records
from tidegate.errors import Conflict, Forbidden, Invalid, NotFound, TidegateError, Unauthenticated
from tidegate.testing.asgi import Client
from tidegate.testing.node import admin_scope

PASSWORD = "correct horse battery"
HASHED = secrets.hash_password(PASSWORD)
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def _operator(node: Node, name: str, *grants: Grant) -> None:
    """An operator as rows."""
    with node.db.write() as tx:
        operator = store.insert_operator(tx, name, HASHED, engine.now(tx))
        store.replace_grants(tx, operator, grants)


def _person(node: Node, name: str, *grants: Grant) -> Scope:
    """The same, and their authority in `default`."""
    _operator(node, name, *grants)
    return _again(node, name)


def _again(node: Node, name: str, fleet: str = "default") -> Scope:
    """The same person's next request."""
    with node.db.read() as tx:
        operator = store.operator_by_name(tx, name)
    assert operator is not None
    return sessions.scope_in(node, operator.identity(), fleet)


def _signed_in(node: Node, name: str) -> str:
    return sessions.sign_in(node, name, PASSWORD, user_agent="", address="192.0.2.1").session_secret


def _acts(node: Node, *begin: str) -> list[tuple[str, str, str]]:
    with node.db.read() as tx:
        rows = tx.execute(sa.select(audit_records).order_by(audit_records.c.chain, audit_records.c.sequence))
        return [(row.actor, row.action, row.subject) for row in rows if row.action.startswith(begin)]


@pytest.fixture
def root(node: Node) -> Scope:
    return _person(node, "root", Grant("admin", EVERY_FLEET))


def test_an_own_role_is_held_changed_and_goes_when_nobody_holds_it(node: Node, root: Scope) -> None:
    roles.create_role(root, node, name="night", description="", permissions=["rollouts.read", "rollouts.write"])
    people.create_operator(root, node, name="bob", roles=[NamedGrant("night", "default")], password=PASSWORD)
    assert _again(node, "bob").permissions == {"rollouts.read", "rollouts.write"}
    assert roles.get_role(root, node, "night").operators == 1
    roles.change_role(root, node, "night", description="calmer", permissions=["rollouts.read"])
    assert _again(node, "bob").permissions == {"rollouts.read"}
    with pytest.raises(Conflict, match="user:bob hold it") as refused:
        roles.delete_role(root, node, "night")
    assert refused.value.type == "role-in-use"
    people.set_roles(root, node, "bob", [])
    key, _ = api_keys.create_api_key(root, node, name="ci", role="night", every_fleet=False, expires_days=None)
    with pytest.raises(Conflict, match="apikey:ci"):
        roles.delete_role(root, node, "night")
    api_keys.revoke_api_key(root, node, key.id)
    roles.delete_role(root, node, "night")
    with pytest.raises(NotFound):
        roles.get_role(root, node, "night")
    assert _acts(node, "role.") == [
        ("user:root", "role.create", "role:night"),
        ("user:root", "role.change", "role:night"),
        ("user:root", "role.delete", "role:night"),
    ]


@on_sqlite
@pytest.mark.parametrize(
    ("name", "permissions", "kind"),
    [
        ("admin", ["devices.read"], Conflict),
        ("Night", ["devices.read"], Invalid),
        ("", ["devices.read"], Invalid),
        ("a" * 64, ["devices.read"], Invalid),
        ("night", [], Invalid),
        ("night", ["devices.fly"], Invalid),
    ],
)
def test_what_cannot_be_a_role(node: Node, name: str, permissions: list[str], kind: type[TidegateError]) -> None:
    with pytest.raises(kind):
        roles.create_role(admin_scope(node), node, name=name, description="", permissions=permissions)


@on_sqlite
def test_fixed_roles_are_nobodys_to_change_and_two_never_share_a_name(node: Node, root: Scope) -> None:
    for name in ROLES:
        with pytest.raises(Conflict, match="fixed"):
            roles.change_role(root, node, name, description="", permissions=["devices.read"])
        with pytest.raises(Conflict, match="fixed"):
            roles.delete_role(root, node, name)
    roles.create_role(root, node, name="night", description="", permissions=["devices.read"])
    with pytest.raises(Conflict, match="taken"):
        roles.create_role(root, node, name="night", description="", permissions=["groups.read"])
    assert [one.role.name for one in roles.list_roles(root, node)] == [*ROLES, "night"]


@on_sqlite
def test_nobody_gets_more_by_way_of_others(node: Node, root: Scope) -> None:
    """An operator who administers people, and little else, tries every way to hold more."""
    roles.create_role(root, node, name="staff", description="", permissions=["users.manage", "keys.manage"])
    roles.create_role(root, node, name="strong", description="", permissions=["rollouts.approve"])
    roles.create_role(root, node, name="mixed", description="", permissions=["users.manage", "rollouts.approve"])
    _person(node, "boss", Grant("admin", EVERY_FLEET))
    _operator(node, "peer")
    eve = _person(node, "eve", Grant("staff", EVERY_FLEET))
    ways: dict[str, Callable[[], object]] = {
        "making a role": lambda: roles.create_role(eve, node, name="x", description="", permissions=["trust.manage"]),
        "editing a role up": lambda: roles.change_role(
            eve, node, "staff", description="", permissions=["users.manage", "keys.manage", "trust.manage"]
        ),
        "editing a role down": lambda: roles.change_role(
            eve, node, "mixed", description="", permissions=["users.manage"]
        ),
        "deleting a role": lambda: roles.delete_role(eve, node, "strong"),
        "granting oneself": lambda: people.set_roles(eve, node, "eve", [NamedGrant("admin", "*")]),
        "granting a friend": lambda: people.set_roles(eve, node, "peer", [NamedGrant("strong", "default")]),
        "making a friend": lambda: people.create_operator(
            eve, node, name="pal", roles=[NamedGrant("viewer", "*")], password=PASSWORD
        ),
        "taking from the boss": lambda: people.set_roles(eve, node, "boss", []),
        "becoming the boss": lambda: people.reset_password(eve, node, "boss"),
        "shutting the boss out": lambda: people.disable_operator(eve, node, "boss"),
        "a key": lambda: api_keys.create_api_key(
            eve, node, name="k", role="strong", every_fleet=True, expires_days=None
        ),
        "ending the boss's sessions": lambda: operator_sessions.end_all_of(eve, node, "boss"),
    }
    before = _acts(node, "")
    for way, attempt in ways.items():
        with pytest.raises(Forbidden) as refused:
            attempt()
        assert refused.value.permission, way
    assert _acts(node, "") == before
    assert _again(node, "eve").permissions == {"users.manage", "keys.manage"}
    people.set_roles(eve, node, "peer", [NamedGrant("staff", "default")])  # what one holds, one may give
    people.reset_password(eve, node, "peer")


@on_sqlite
def test_what_is_held_counts_in_its_own_fleet_only(node: Node, root: Scope) -> None:
    fleets.create_fleet(root, node, name="other")
    roles.create_role(root, node, name="staff", description="", permissions=["users.manage"])
    other = next(one.fleet.id for one in fleets.list_fleets(node, _identity(node, "root")) if one.fleet.name == "other")
    eve = _person(node, "eve", Grant("staff", EVERY_FLEET), Grant("approver", other))
    _operator(node, "peer")
    people.set_roles(eve, node, "peer", [NamedGrant("approver", "other")])
    with pytest.raises(Forbidden):
        people.set_roles(eve, node, "peer", [NamedGrant("approver", "other"), NamedGrant("approver", "default")])
    with pytest.raises(Forbidden):
        people.set_roles(eve, node, "peer", [NamedGrant("approver", "*")])


def _identity(node: Node, name: str) -> Identity:
    with node.db.read() as tx:
        operator = store.operator_by_name(tx, name)
    assert operator is not None
    return operator.identity()


def test_a_key_never_does_more_than_its_maker_may_now(node: Node, root: Scope) -> None:
    maker = _person(node, "maker", Grant("admin", EVERY_FLEET))
    _, secret = api_keys.create_api_key(maker, node, name="ci", role="operator", every_fleet=True, expires_days=None)

    def allowed() -> frozenset[str]:
        return sessions.scope_in(node, sessions.authenticate(node, f"Bearer {secret}"), "default").permissions

    assert "rollouts.write" in allowed()
    people.set_roles(root, node, "maker", [NamedGrant("viewer", "*")])
    assert allowed() == ROLES["viewer"]
    people.set_roles(root, node, "maker", [])
    with pytest.raises(NotFound):
        allowed()
    people.set_roles(root, node, "maker", [NamedGrant("operator", "default")])
    assert allowed() == ROLES["operator"]


def test_keys_of_a_disabled_maker_stop_and_go_on_when_they_are_enabled(node: Node, root: Scope) -> None:
    maker = _person(node, "maker", Grant("admin", EVERY_FLEET))
    key, secret = api_keys.create_api_key(maker, node, name="ci", role="viewer", every_fleet=False, expires_days=None)
    people.disable_operator(root, node, "maker")
    with pytest.raises(Unauthenticated):
        sessions.authenticate(node, f"Bearer {secret}")
    (listed,) = api_keys.list_api_keys(root, node).items
    assert listed.state(node.clock.now()) == "suspended"
    people.enable_operator(root, node, "maker")
    assert sessions.authenticate(node, f"Bearer {secret}").actor.name == key.name


@on_sqlite
def test_the_last_admin_of_all_fleets_is_neither_disabled_nor_demoted(node: Node, root: Scope) -> None:
    roles.create_role(root, node, name="all", description="", permissions=sorted(PERMISSIONS))
    _person(node, "shadow", Grant("all", EVERY_FLEET))
    for attempt in (
        lambda: people.disable_operator(root, node, "root"),
        lambda: people.set_roles(root, node, "root", [NamedGrant("all", "*")]),
        lambda: people.set_roles(root, node, "root", [NamedGrant("admin", "default")]),
    ):
        with pytest.raises(Conflict, match="last admin"):
            attempt()
    with pytest.raises(Conflict, match="one's own"):
        people.reset_password(root, node, "root")


def test_sessions_are_listed_and_ended_for_everybody_at_once(node: Node, root: Scope) -> None:
    for name in ("ann", "bob"):
        _person(node, name, Grant("viewer", EVERY_FLEET))
    ann, bob, again = _signed_in(node, "ann"), _signed_in(node, "bob"), _signed_in(node, "bob")
    first = operator_sessions.list_all(root, node, limit=2)
    rest = operator_sessions.list_all(root, node, limit=2, cursor=first.next_cursor or "")
    assert [one.operator for one in (*first.items, *rest.items)] == ["bob", "bob", "ann"]
    assert (first.total, rest.next_cursor) == (3, None)
    assert {one.record.address for one in first.items} == {"192.0.2.1"}
    operator_sessions.end(root, node, secrets.digest(ann)[:16])
    assert sessions.session(node, ann) is None
    with pytest.raises(NotFound):
        operator_sessions.end(root, node, secrets.digest(ann)[:16])
    assert operator_sessions.end_all_of(root, node, "bob") == 2
    assert sessions.session(node, bob) is sessions.session(node, again) is None
    viewer = _again(node, "ann")
    with pytest.raises(Forbidden):
        operator_sessions.list_all(viewer, node)
    assert [act[1] for act in _acts(node, "session.end")] == ["session.end", "session.end-all"]


@on_sqlite
def test_all_others_of_ones_own_sessions_end_and_this_one_goes_on(node: Node, root: Scope) -> None:
    _person(node, "ann", Grant("viewer", EVERY_FLEET))
    this, other = _signed_in(node, "ann"), _signed_in(node, "ann")
    client = Client(Starlette(routes=routes(node, table.calls())), bearer=this)
    assert client.request("DELETE", "/v1/sessions").json() == {"ended": 1}
    assert sessions.session(node, other) is None
    assert client.request("GET", "/v1/sessions").json()["total"] == 1


def test_a_second_fleet_has_a_root_keys_and_a_chain_of_its_own(node: Node, root: Scope) -> None:
    made = fleets.create_fleet(root, node, name="plant-7", interval_seconds=60)
    assert (made.fleet.name, made.fleet.interval_seconds) == ("plant-7", 60)
    ours, theirs = node.keyring.online("default"), node.keyring.online("plant-7")
    assert set(ours) == set(theirs)
    keys = {signer.key.keyid for signer in ours.values()} & {signer.key.keyid for signer in theirs.values()}
    assert not keys
    with pytest.raises(Conflict, match="taken"):
        fleets.create_fleet(root, node, name="plant-7")
    for name in ("Plant", "*", "", "a/b", "-a"):
        with pytest.raises(Invalid):
            fleets.create_fleet(root, node, name=name)
    inside = _again(node, "root", "plant-7")
    assert inside.fleet_id != root.fleet_id
    local = _person(node, "local", Grant("admin", root.fleet_id))
    with pytest.raises(Forbidden):
        fleets.create_fleet(local, node, name="mine")
    assert [one.fleet.name for one in fleets.list_fleets(node, _identity(node, "local"))] == ["default"]
    assert _acts(node, "fleet.") == [("user:root", "fleet.create", "fleet:plant-7")]


@on_sqlite
def test_who_sees_one_fleet_need_not_name_it_and_who_sees_several_must(node: Node, root: Scope) -> None:
    fleets.create_fleet(root, node, name="plant-7")
    fleets.create_fleet(root, node, name="plant-8")
    ids = {view.fleet.name: view.fleet.id for view in fleets.list_fleets(node, _identity(node, "root"))}
    _person(node, "all", Grant("viewer", EVERY_FLEET))
    with node.db.write() as tx:
        for name, given in (("one", [ids["plant-7"]]), ("two", [ids["plant-7"], ids["plant-8"]])):
            operator = store.insert_operator(tx, name, HASHED, engine.now(tx))
            store.replace_grants(tx, operator, [Grant("viewer", fleet) for fleet in given])
    app = Starlette(routes=routes(node, table.calls()))

    def asked(name: str) -> tuple[int, str]:
        answer = Client(app, bearer=_signed_in(node, name)).request("GET", "/v1/me")
        return answer.status, answer.json().get("fleet") or answer.json()["detail"]

    assert asked("one") == (200, "plant-7")
    assert asked("all") == (200, "default")
    status, detail = asked("two")
    assert status == 422
    assert "plant-7, plant-8" in detail
    assert "default" not in detail


def test_every_permission_is_said_in_words_on_the_page_of_a_role() -> None:
    assert every_permission() == PERMISSIONS
