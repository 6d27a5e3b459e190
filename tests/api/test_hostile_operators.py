"""What an operator tries who wants more than was given, or to go on after it was taken: each way ends in a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from tidegate.control.console import app as console_app
from tidegate.control.console import cookies, live
from tidegate.control.console.pages import PAGES
from tidegate.control.console.streams import Streams
from tidegate.control.domain.access import EVERY_FLEET, PERMISSIONS, Grant, Scope
from tidegate.control.domain.rollouts.model import Verb
from tidegate.control.services import api_keys, fleets, operator_sessions, people, roles, secrets, sessions
from tidegate.control.services.hub import Hub
from tidegate.control.services.node import Node
from tidegate.control.services.people import NamedGrant
from tidegate.control.services.rollouts import NewRollout, Target, command_rollout, create_rollout
from tidegate.control.store import engine
from tidegate.control.store import fleets as fleet_store
from tidegate.control.store import people as store
from tidegate.errors import Conflict, Forbidden, TidegateError, Unauthenticated
from tidegate.ids import FleetId
from tidegate.testing.fleet import catalog, enroll
from tidegate.testing.node import admin_scope

PASSWORD = "correct horse battery"
HASHED = secrets.hash_password(PASSWORD)
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def _operator(node: Node, name: str, *grants: Grant) -> None:
    with node.db.write() as tx:
        store.replace_grants(tx, store.insert_operator(tx, name, HASHED, engine.now(tx)), grants)


def _scope(node: Node, name: str, fleet: str = "default") -> Scope:
    """Their next request."""
    with node.db.read() as tx:
        operator = store.operator_by_name(tx, name)
    assert operator is not None
    return sessions.scope_in(node, operator.identity(), fleet)


def _by_key(node: Node, secret: str) -> Scope:
    return sessions.scope_in(node, sessions.authenticate(node, f"Bearer {secret}"), None)


# -- nobody holds, gives or takes more than they have ------------------------------------------------------------------


@dataclass(frozen=True)
class Standing:
    """What each operator may do in each fleet (0: in all of them), and who is disabled or has another password."""

    held: Mapping[tuple[str, FleetId], frozenset[str]]
    apart: Mapping[str, tuple[bool, str]]

    def of(self, name: str, fleet: FleetId) -> frozenset[str]:
        return self.held.get((name, fleet), frozenset())


FLEETS = ("default", "other")
NAMES = ("eve", "mallory", "boss", "peer", "pal")
OWN_ROLES = ("staff", "mixed", "night")


def _standing(node: Node) -> Standing:
    held: dict[tuple[str, FleetId], frozenset[str]] = {}
    with node.db.read() as tx:
        there = [EVERY_FLEET, *(fleet.id for fleet in fleet_store.every(tx))]
        found = store.list_operators(tx, None, after="", offset=0, limit=200)
    for one in found:
        scope = one.identity().scope(there[1], "default")
        held |= {(one.name, fleet): scope.held_in(fleet) for fleet in there}
    return Standing(held, {one.name: (one.disabled_at is not None, one.password_hash) for one in found})


def _some_act(random: Random, node: Node, scope: Scope) -> tuple[str, Callable[[], Any]]:
    """An act on people, chosen without regard to whether it may be done."""
    name, role = random.choice(NAMES), random.choice((*OWN_ROLES, "viewer", "operator", "admin"))
    # Half of it within what they hold, so that much is done and the rest is refused.
    modest = random.random() < 0.5
    some = random.sample(sorted((scope.everywhere if modest else PERMISSIONS) or PERMISSIONS), 1)
    some += ["users.manage", "keys.manage"] if random.random() < 0.5 else []
    given = [
        NamedGrant(random.choice(OWN_ROLES if modest else (*OWN_ROLES, "viewer", "admin")), place)
        for place in random.sample((*FLEETS, "*"), random.randint(0, 2))
    ]
    acts: list[Callable[[], Any]] = [
        lambda: people.set_roles(scope, node, name, given),
        lambda: people.create_operator(scope, node, name=f"new-{random.randrange(10**9)}", roles=given, password=None),
        lambda: roles.create_role(scope, node, name=f"r-{random.randrange(10**9)}", description="", permissions=some),
        lambda: roles.change_role(scope, node, role, description=str(random.random()), permissions=some),
        lambda: roles.delete_role(scope, node, role),
        lambda: people.reset_password(scope, node, name),
        lambda: people.disable_operator(scope, node, name),
        lambda: people.enable_operator(scope, node, name),
        lambda: api_keys.create_api_key(
            scope, node, name=f"k-{random.randrange(10**9)}", role=role, every_fleet=random.random() < 0.5,
            expires_days=None,
        ),
    ]  # fmt: skip
    # Hashing a password takes long: those two are tried less often.
    return name, random.choices(acts, weights=[12, 1, 2, 6, 2, 1, 3, 3, 3])[0]


@pytest.mark.parametrize("seed", [1, 2])
@on_sqlite
def test_what_somebody_does_to_others_is_within_what_they_hold(node: Node, seed: int) -> None:
    """Hundreds of acts by people who administer people and hold something each: no way up, whatever the order."""
    random, root = Random(seed), admin_scope(node)
    fleets.create_fleet(root, node, name="other")
    there = {fleet: admin_scope(node, fleet).fleet_id for fleet in FLEETS} | {"*": EVERY_FLEET}
    manage = ["users.manage", "keys.manage"]
    roles.create_role(root, node, name="staff", description="", permissions=[*manage, "devices.read"])
    roles.create_role(root, node, name="mixed", description="", permissions=[*manage, "rollouts.approve"])
    roles.create_role(root, node, name="night", description="", permissions=["rollouts.read", "rollouts.write"])
    _operator(node, "boss", Grant("admin", EVERY_FLEET))
    _operator(node, "eve", Grant("staff", EVERY_FLEET), Grant("night", there["other"]))
    _operator(node, "mallory", Grant("mixed", there["other"]), Grant("viewer", EVERY_FLEET))
    _operator(node, "peer", Grant("staff", there["default"]))
    _operator(node, "pal")
    _operator(node, "second-boss", Grant("admin", EVERY_FLEET))
    done = 0
    for _ in range(150):
        before = _standing(node)
        actor, fleet = random.choice(("eve", "mallory", "peer")), random.choice(FLEETS)
        if before.apart[actor][0]:
            people.enable_operator(root, node, actor)
            continue
        try:
            scope = _scope(node, actor, fleet)
            target, act = _some_act(random, node, scope)
            made = act()
        except TidegateError:
            assert _standing(node) == before
            continue
        done += 1
        after = _standing(node)
        for name, where in after.held:
            changed = before.of(name, where) ^ after.of(name, where)
            assert changed <= before.of(actor, where), (actor, name, where, changed)
            if before.apart.get(name, after.apart[name]) != after.apart[name]:  # disabled, enabled, another password
                assert name == target
                assert before.of(name, where) <= before.of(actor, where), (actor, name, where)
        if isinstance(made, tuple) and str(made[1]).startswith(secrets.API_KEY_PREFIX):
            identity = sessions.authenticate(node, f"Bearer {made[1]}")
            for where in there.values():
                assert identity.scope(where, "x").held_in(where) <= before.of(actor, where)
    assert done >= 10


# -- four eyes ---------------------------------------------------------------------------------------------------------

MANUAL = {"waves": [{"percent": 100, "approval": "manual"}]}


@pytest.fixture
def strict(node: Node) -> Node:
    return replace(node, settings=msgspec.structs.replace(node.settings, four_eyes=True))


def _created(node: Node, scope: Scope) -> int:
    catalog(node, admin_scope(node), "vad", "1.0")
    enroll(node, admin_scope(node), ["cam-1"])
    return create_rollout(scope, node, NewRollout("vad", "1.0", Target(everyone=True), strategy=MANUAL)).id


def _refused(node: Node, scope: Scope, rollout: int) -> None:
    with pytest.raises(Forbidden) as refused:
        command_rollout(scope, node, rollout, Verb.APPROVE)
    assert refused.value.type == "four-eyes"


@on_sqlite
def test_four_eyes_are_two_people_whatever_they_act_with(strict: Node) -> None:
    for name in ("ada", "bob"):
        _operator(strict, name, Grant("admin", EVERY_FLEET))
    ada = _scope(strict, "ada")
    key, first = api_keys.create_api_key(ada, strict, name="ci", role="admin", every_fleet=True, expires_days=None)
    _, second = api_keys.create_api_key(ada, strict, name="cd", role="approver", every_fleet=False, expires_days=None)
    rollout = _created(strict, _by_key(strict, first))
    for own in (ada, _by_key(strict, first), _by_key(strict, second)):
        _refused(strict, own, rollout)
    # A key that goes and comes again under its name, made by oneself or by somebody else, is its new maker.
    api_keys.revoke_api_key(ada, strict, key.id)
    _, again = api_keys.create_api_key(ada, strict, name="ci", role="admin", every_fleet=True, expires_days=None)
    _refused(strict, _by_key(strict, again), rollout)
    with pytest.raises(Unauthenticated):
        _by_key(strict, first)
    # Nobody comes again under a name that somebody has had, and a disabled creator's keys approve nothing.
    bob = _scope(strict, "bob")
    people.disable_operator(bob, strict, "ada")
    with pytest.raises(Conflict, match="the name is taken"):
        people.create_operator(bob, strict, name="ada", roles=[NamedGrant("admin", "*")], password=PASSWORD)
    with pytest.raises(Unauthenticated, match="is disabled"):
        _by_key(strict, second)
    _, bobs = api_keys.create_api_key(bob, strict, name="of-bob", role="approver", every_fleet=True, expires_days=None)
    assert command_rollout(_by_key(strict, bobs), strict, rollout, Verb.APPROVE).released_wave == 1


# -- open pages --------------------------------------------------------------------------------------------------------


def _stream(node: Node, streams: Streams, secret: str) -> Callable[[], Any]:
    routes_ = [route for route in console_app.routes(node) if isinstance(route, Route)]
    pages = {page.path: page for page in PAGES if page.method == "GET"}
    cookie = f"{cookies.SESSION_COOKIE}={secret}".encode()
    request = Request({
        "type": "http", "method": "GET", "path": "/live", "query_string": b"of=/devices", "scheme": "https",
        "headers": [(b"host", b"localhost"), (b"cookie", cookie)], "server": ("localhost", 8443),
        "app": Starlette(), "path_params": {}, "root_path": "",
    })  # fmt: skip
    return lambda: live.respond(node, streams, routes_, pages, request)


def _taken(node: Node, root: Scope) -> dict[str, Callable[[Node, str], object]]:
    """Ways in which somebody's rights end; each is given the node and the secret of the session that is open."""

    def change_password(at: Node, _: str) -> None:
        scope = _scope(at, "ada")
        with at.db.read() as tx:
            operator = store.operator_by_name(tx, "ada")
        assert operator is not None
        people.change_own_password(scope, at, operator.id, current=PASSWORD, password=PASSWORD + "!")

    return {
        "roles taken": lambda at, _: people.set_roles(root, at, "ada", []),
        "own role emptied": lambda at, _: roles.change_role(
            root, at, "watch", description="", permissions=["audit.read"]
        ),
        "disabled": lambda at, _: people.disable_operator(root, at, "ada"),
        "password reset": lambda at, _: people.reset_password(root, at, "ada"),
        "password changed elsewhere": change_password,
        "signed out": lambda at, secret: sessions.sign_out(at, secret),
        "sessions ended": lambda at, _: operator_sessions.end_all_of(root, at, "ada"),
    }


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "another-replica"])
@on_sqlite
def test_an_open_page_ends_with_the_rights_to_it(node: Node, elsewhere: bool) -> None:
    """Whatever takes them, and on another replica too: within its look at the mark, not when the page would look."""
    root = admin_scope(node)
    _operator(node, "root", Grant("admin", EVERY_FLEET))
    roles.create_role(root, node, name="watch", description="", permissions=["devices.read"])
    other = replace(node, hub=Hub())

    async def ends(take: Callable[[Node, str], object]) -> list[str]:
        streams = Streams(look_seconds=0.1 if elsewhere else 3_600)
        begun = await asyncio.to_thread(sessions.sign_in, node, "ada", PASSWORD, user_agent="", address="192.0.2.1")
        response = await _stream(node, streams, begun.session_secret)()
        assert isinstance(response, StreamingResponse)
        seen: list[str] = []

        async def read() -> None:
            async for piece in response.body_iterator:
                seen.extend(line[7:] for line in str(piece).splitlines() if line.startswith("event: "))
                if seen == ["fragments"]:
                    await asyncio.to_thread(take, other if elsewhere else node, begun.session_secret)

        await asyncio.wait_for(read(), 30)
        streams.close()
        return seen

    for way, take in _taken(node, root).items():
        with node.db.write() as tx:
            operator = store.operator_by_name(tx, "ada")
            number = operator.id if operator else store.insert_operator(tx, "ada", HASHED, engine.now(tx))
            store.set_password(tx, number, HASHED)
            store.set_disabled(tx, number, None)
            store.replace_grants(tx, number, [Grant("watch", EVERY_FLEET)])
        roles.change_role(root, node, "watch", description="", permissions=["devices.read"])
        assert asyncio.run(ends(take))[-1] == "signed-out", way
