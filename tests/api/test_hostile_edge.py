"""What an attacker sends to the operator listener, and what it costs."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.applications import Starlette

from tidegate.control import problems
from tidegate.control.api import table
from tidegate.control.api.edge import Edge
from tidegate.control.api.operations import routes
from tidegate.control.app import operator_app
from tidegate.control.domain.access import EVERY_FLEET, Actor, Grant, Scope
from tidegate.control.services import api_keys, groups, installer, people, secrets, sessions
from tidegate.control.services.node import Node
from tidegate.control.services.people import NamedGrant
from tidegate.control.store import engine, fleets
from tidegate.control.store import people as store
from tidegate.control.store.schema import audit_records, enrollment_tokens
from tidegate.errors import Conflict, Forbidden, NotFound, TidegateError, Unauthenticated, Unavailable
from tidegate.ids import FleetId
from tidegate.testing.asgi import Client
from tidegate.testing.node import admin_scope

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
PASSWORD = "correct horse battery"


@pytest.fixture
def client(node: Node) -> Client:
    """Behind the edge, as an administrator of all fleets."""
    app = Edge(Starlette(routes=routes(node, table.calls())), node, "console")
    people.create_operator(admin_scope(node), node, name="ada", roles=[NamedGrant("admin", "*")], password=PASSWORD)
    started = sessions.sign_in(node, "ada", PASSWORD, user_agent="", address="127.0.0.1")
    return Client(app, bearer=started.session_secret)


@on_sqlite
def test_a_query_of_thousands_of_names_costs_nobody_anything(client: Client) -> None:
    query = "&".join(f"{number:x}" for number in range(16_000))
    started = time.process_time()
    assert client.request("GET", f"/healthz?{query}").status == 422
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", "/v1/devices?search=%00", None),
        ("GET", "/v1/devices?fleet=a%00", None),
        ("GET", "/v1/groups/a\x00", None),
        ("POST", "/v1/groups", {"name": "a", "devices": ["b\x00"]}),
        ("PUT", "/v1/freeze", {"reason": "why\x00"}),
    ],
)
def test_text_that_postgresql_does_not_store_is_refused_and_named(
    client: Client, method: str, target: str, body: Any
) -> None:
    answer = client.request(method, target, body=body)
    assert answer.status in (400, 422), answer.body
    assert "U+0000" in answer.json()["detail"]


@on_sqlite
@pytest.mark.parametrize(
    "path", ["//v1/devices", "/v1/devices/", "/v1//devices", "///v1", "/v1/", "/devices/", "/healthz/"]
)
@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_an_address_with_slashes_more_is_another_and_sends_nobody_to_a_host_of_the_callers(
    node: Node, path: str, accept: str
) -> None:
    client = Client(operator_app(node))
    answer = client.request("GET", f"https://a{path}", headers={"accept": accept})
    if accept == "text/html" and "v1" not in path:
        # For a browser an address like any that is no page: first the sign-in, of this node.
        assert (answer.status, answer.headers["location"].partition("?")[0]) == (303, "/signin")
    else:
        assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json"), answer.headers
        assert "location" not in answer.headers


def test_backslashes_before_u0000_are_text() -> None:
    problems.refuse_nul(rb'{"a":"\\u0000"}')
    for body in (rb'{"a":"\u0000"}', rb'{"a":"x\\\u0000"}', rb'{"a":"\\\\\u0000"}'):
        with pytest.raises(TidegateError):
            problems.refuse_nul(body)


def test_two_who_create_the_same_at_once_get_one_and_a_conflict(node: Node) -> None:
    scope = admin_scope(node)
    together = threading.Barrier(4)

    def create(number: int) -> str:
        together.wait(10)
        try:
            if number % 2:
                groups.create(scope, node, "lab")
            else:
                api_keys.create_api_key(scope, node, name="ci", role="viewer", every_fleet=False, expires_days=None)
        except Exception as error:
            understood = problems.understood(error)
            assert isinstance(understood, Conflict), understood
            return "refused"
        return "made"

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(create, range(4))) == ["made", "made", "refused", "refused"]


@on_sqlite
def test_a_flood_of_sign_ins_is_turned_away_before_it_takes_the_threads(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = secrets.hash_password(PASSWORD)
    most = secrets.HASHING + secrets.WAITING
    turns = threading.Semaphore(0)
    monkeypatch.setattr(secrets, "_hashing", turns)
    with ThreadPoolExecutor(most + 1) as pool:
        try:
            asked = [pool.submit(secrets.password_matches, PASSWORD, hashed) for _ in range(most + 1)]
            first = next(as_completed(asked, timeout=30))
            assert isinstance(first.exception(), Unavailable)  # one too many; the others still wait
            assert sum(one.done() for one in asked) == 1
        finally:
            turns.release(most + 1)
    assert sum(one.exception() is None and one.result() for one in asked) == most


def _acts(node: Node, action: str) -> list[Any]:
    with node.db.read() as tx:
        return list(tx.execute(sa.select(audit_records).where(audit_records.c.action == action)))


def test_every_failed_sign_in_is_one_record_and_tells_no_name_that_nobody_bears(node: Node) -> None:
    people.create_operator(admin_scope(node), node, name="ada", roles=[], password=PASSWORD)
    for name in ("ada", "hunter2-typed-as-a-name"):
        with pytest.raises(Unauthenticated):
            sessions.sign_in(node, name, "wrong", user_agent="", address="10.0.0.1")
    people.disable_operator(admin_scope(node), node, "ada")
    with pytest.raises(Unauthenticated):
        sessions.sign_in(node, "ada", PASSWORD, user_agent="", address="10.0.0.1")
    found = _acts(node, "session.refuse")
    assert [(row.actor, row.subject) for row in found] == [
        ("system:sign-in", "user:ada"), ("system:sign-in", "user:?"), ("system:sign-in", "user:ada"),
    ]  # fmt: skip
    assert ["wrong password" in found[0].data, "unknown name" in found[1].data, "disabled" in found[2].data] == [
        True
    ] * 3
    assert not any("hunter2" in row.data for row in found)


@on_sqlite
def test_a_flood_of_failed_sign_ins_does_not_fill_the_audit_log(node: Node) -> None:
    for _ in range(300):
        node.limits.sign_in_refusals.failed("", node.clock.monotonic())
    with pytest.raises(Unauthenticated):
        sessions.sign_in(node, "nobody", "wrong", user_agent="", address="10.0.0.1")
    assert _acts(node, "session.refuse") == []


def _admin_of(node: Node, fleet: str) -> Scope:
    with node.db.write() as tx:
        made = fleets.by_name(tx, fleet) or fleets.insert(tx, fleet, at=engine.now(tx), interval_seconds=30)
    permissions = admin_scope(node).permissions
    return Scope(Actor("user", f"of-{fleet}"), FleetId(made.id), fleet, permissions, frozenset(), f"of-{fleet}")


def test_who_administers_one_fleet_neither_sees_nor_takes_roles_in_another(node: Node) -> None:
    here, there = _admin_of(node, "here"), _admin_of(node, "there")
    root = admin_scope(node)
    both = [NamedGrant("viewer", "here"), NamedGrant("approver", "there")]
    people.create_operator(root, node, name="bob", roles=both, password=PASSWORD)
    people.create_operator(root, node, name="eve", roles=[NamedGrant("viewer", "there")], password=PASSWORD)
    people.create_operator(root, node, name="root", roles=[NamedGrant("admin", "*")], password=PASSWORD)
    seen = people.list_operators(here, node)
    assert ([(one.operator.name, one.roles) for one in seen.items], seen.total) == (
        [("bob", (NamedGrant("viewer", "here"),)), ("root", (NamedGrant("admin", "*"),))], 2,
    )  # fmt: skip
    changed = people.set_roles(here, node, "bob", [NamedGrant("operator", "here")])
    assert changed.roles == (NamedGrant("operator", "here"),)
    with node.db.read() as tx:
        bob = store.operator_by_name(tx, "bob")
    assert bob is not None
    assert Grant("approver", there.fleet_id) in bob.grants
    for fleet in ("there", "nowhere"):  # whether it exists is not told
        with pytest.raises(Forbidden):
            people.set_roles(here, node, "bob", [NamedGrant("viewer", fleet)])
    with pytest.raises(Forbidden):
        people.set_roles(here, node, "root", [])
    assert EVERY_FLEET not in {grant.fleet_id for grant in bob.grants}


def test_a_password_that_was_reset_meanwhile_is_not_changed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    root = admin_scope(node)
    detail, _ = people.create_operator(root, node, name="ada", roles=[], password=PASSWORD)
    checked = secrets.password_matches

    def slowly(password: str, stored: str | None) -> bool:
        right = checked(password, stored)
        monkeypatch.setattr(secrets, "password_matches", checked)
        people.reset_password(root, node, "ada")
        return right

    monkeypatch.setattr(secrets, "password_matches", slowly)
    with pytest.raises(Conflict):
        people.change_own_password(root, node, detail.operator.id, current=PASSWORD, password="the thief's own choice")


@on_sqlite
def test_a_token_whose_command_cannot_be_made_is_not_minted(
    node: Node, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise NotFound("cannot find the agent program on this node")

    monkeypatch.setattr(installer, "program", fails)
    assert client.request("POST", "/v1/tokens", body={}).status == 404
    with node.db.read() as tx:
        assert tx.scalar(sa.select(sa.func.count()).select_from(enrollment_tokens)) == 0
