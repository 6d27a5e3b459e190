"""What the edge does with good and bad requests, whatever the operation is."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from starlette.applications import Starlette

from tidegate.control.api import problems, table
from tidegate.control.api.operations import MAX_BODY_BYTES, routes
from tidegate.control.services import api_keys, idempotency, people, sessions
from tidegate.control.services.node import Node
from tidegate.errors import Conflict
from tidegate.testing.asgi import Answer, Client
from tidegate.testing.node import admin_scope

#: What has nothing to do with storage.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def client(node: Node) -> Client:
    """As an administrator who holds every permission for all fleets."""
    return Client(_app(node), bearer=_session(node))


def _app(node: Node) -> Starlette:
    handlers: Any = {404: problems.on_http_exception, 405: problems.on_http_exception}
    return Starlette(routes=routes(node, table.calls()), exception_handlers=handlers)


def _session(node: Node) -> str:

    password = "correct horse battery"
    everything = [people.NamedGrant("admin", "*")]
    people.create_operator(admin_scope(node), node, name="ada", roles=everything, password=password)
    return sessions.sign_in(node, "ada", password, user_agent="", address="127.0.0.1").session_secret


def _problem(answer: Answer) -> Any:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status
    assert problem["type"].startswith("/problems/")
    assert problem["detail"].startswith("cannot "), problem
    return problem


@on_sqlite
def test_problems_name_the_field_and_the_rule(client: Client) -> None:
    for body, pointer, rule in (
        ({"role": "viewer"}, "/name", "is missing"),
        ({"name": "k", "role": "viewer", "colour": 1}, "/colour", "is unknown"),
        ({"name": "k", "role": "king"}, "/role", "there is no role king"),
        ({"name": "k", "role": "viewer", "expires_days": 0}, "/expires_days", "expected `int` >= 1"),
        ({"name": "Not A Name", "role": "viewer"}, "/name", "must be 1 to 63 lower-case letters, digits"),
    ):
        answer = client.request("POST", "/v1/api-keys", body=body)
        assert answer.status == 422
        (error,) = _problem(answer)["errors"]
        assert error["pointer"] == pointer
        assert error["detail"].startswith(rule)


@on_sqlite
def test_what_is_no_json_is_malformed(client: Client) -> None:
    json_type = {"content-type": "application/json"}
    for raw, headers in (
        (b"{", json_type),
        (b"\xff", json_type),
        (b"", json_type),
        (b"{}", {"content-type": "text/plain"}),
    ):
        answer = client.request("POST", "/v1/api-keys", raw=raw, headers=headers)
        assert answer.status == 400
        assert _problem(answer)["type"] == "/problems/malformed"
    deep = client.request("POST", "/v1/api-keys", raw=b"[" * 100_000, headers=json_type)
    assert deep.status in (400, 422)


@on_sqlite
def test_queries_are_checked_like_bodies(client: Client) -> None:
    for query, pointer in (
        ("limit=0", "/limit"), ("limit=201", "/limit"), ("limit=x", "/limit"), ("offset=10001", "/offset"),
        ("colour=red", "/colour"), ("limit=1&limit=2", "/limit"), ("fleet=default&fleet=default", "/fleet"),
    ):  # fmt: skip
        answer = client.request("GET", f"/v1/operators?{query}")
        assert answer.status == 422, query
        assert [error["pointer"] for error in _problem(answer)["errors"]] == [pointer]
    assert client.request("GET", "/v1/operators?cursor=bm90IG91cnM").status == 422


@on_sqlite
def test_paths_and_methods_that_are_not_there(client: Client) -> None:
    assert _problem(client.request("GET", "/v1/nothing"))["type"] == "/problems/not-found"
    answer = client.request("PATCH", "/v1/operators")
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD, POST"
    assert _problem(client.request("DELETE", "/v1/api-keys/eleven"))["status"] == 404


@on_sqlite
def test_a_body_beyond_its_limit_is_not_read(client: Client) -> None:
    answer = client.request("POST", "/v1/api-keys", body={"name": "x" * MAX_BODY_BYTES, "role": "viewer"})
    assert answer.status == 413
    assert str(MAX_BODY_BYTES) in _problem(answer)["detail"]


@on_sqlite
def test_nobody_is_told_how_to_sign_in(node: Node) -> None:
    client = Client(_app(node))
    for headers in (
        {},
        {"authorization": "Basic YTpi"},
        {"authorization": "Bearer tg_unknown"},
        {"authorization": "Bearer"},
    ):
        answer = client.request("GET", "/v1/operators", headers=headers)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_cursor_walks_a_list_that_grows_meanwhile(client: Client, node: Node) -> None:
    scope = admin_scope(node)
    for number in range(5):
        api_keys.create_api_key(scope, node, name=f"k{number}", role="viewer", every_fleet=False, expires_days=None)
    first = client.request("GET", "/v1/api-keys?limit=2").json()
    assert (len(first["items"]), first["total"]) == (2, 5)
    api_keys.create_api_key(scope, node, name="late", role="viewer", every_fleet=False, expires_days=None)
    seen, cursor = [item["name"] for item in first["items"]], first["next_cursor"]
    while cursor:
        page = client.request("GET", f"/v1/api-keys?limit=2&cursor={cursor}").json()
        seen += [item["name"] for item in page["items"]]
        cursor = page.get("next_cursor")
    assert seen == ["k0", "k1", "k2", "k3", "k4", "late"]


# -- Idempotency-Key --------------------------------------------------------------------------------------------------

_NEW = {"name": "ci", "role": "viewer"}


def _create(client: Client, key: str, body: dict[str, object] = _NEW) -> Answer:
    return client.request("POST", "/v1/api-keys", body=body, headers={"idempotency-key": key})


def test_a_secret_is_not_told_again_but_what_was_created_is(client: Client) -> None:
    created = _create(client, "one").json()
    again = _create(client, "one")
    assert again.status == 409
    assert f"id {created['id']}" in _problem(again)["detail"]
    assert created["secret"].encode() not in again.body


def test_a_key_belongs_to_one_request(client: Client) -> None:
    assert _create(client, "one").status == 201
    other = _create(client, "one", {"name": "other", "role": "viewer"})
    assert (other.status, _problem(other)["type"]) == (422, "/problems/idempotency-key-reused")
    assert _create(client, "not a key\x7f").status == 422


def test_a_refused_request_gives_its_key_back(client: Client) -> None:
    assert _create(client, "first").status == 201
    assert _create(client, "second").status == 409  # the name is taken
    assert _create(client, "second", {"name": "free", "role": "viewer"}).status == 201


def test_stored_answers_are_told_again_and_cut_off_calls_are_unknown(node: Node) -> None:
    ada = admin_scope(node, name="ada")
    assert idempotency.begin(node, ada, "k", "a" * 64) is None
    with pytest.raises(Conflict, match="cannot tell"):
        idempotency.begin(node, ada, "k", "a" * 64)
    idempotency.finish(node, ada, "k", status=201, body=b'{"id":1}', subject="1")
    assert idempotency.begin(node, ada, "k", "a" * 64) == b'{"id":1}'
    assert idempotency.begin(node, admin_scope(node, name="bob"), "k", "b" * 64) is None


def test_of_many_at_once_with_one_key_one_is_carried_out(node: Node) -> None:
    outcomes: list[str] = []

    def ask() -> None:
        try:
            outcomes.append(
                "first" if idempotency.begin(node, admin_scope(node, name="a"), "k", "a" * 64) is None else "again"
            )
        except Conflict:
            outcomes.append("refused")

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["first", *["refused"] * 5]
