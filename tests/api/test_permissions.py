"""Every operation, raw route and console page, asked by every role and by nobody: one table says what must come of it.

What is asserted is the edge's own decision: an allowed call may then fail on its input (404, 422, …), never with 401 or
403; a forbidden one is 403 with the permission named, before anything of the input is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette

from tidegate.control.api import table
from tidegate.control.api.operations import Operation, RawRoute, routes
from tidegate.control.console import app as console_app
from tidegate.control.console.pages import PAGES
from tidegate.control.domain.access import EVERY_FLEET, NOT_FOR_API_KEYS, PERMISSIONS, Grant
from tidegate.control.domain.people import SessionRecord
from tidegate.control.services import secrets
from tidegate.control.services.node import Node
from tidegate.control.store import engine, fleets, people, sessions
from tidegate.testing.asgi import Client
from tidegate.testing.node import api_key

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

# Written out on purpose, not taken from domain/access.py: a change there must be made here as well, by somebody who
# thinks about it.
_READ = "artifacts.read audit.read compliance.read devices.read groups.read integrations.read rollouts.read trust.read"
_WRITE = "artifacts.publish devices.write groups.write rollouts.write tokens.write"
_APPROVE = "audit.export compliance.write rollouts.approve"
_ADMIN = "integrations.manage keys.manage settings.manage trust.manage users.manage"
EXPECTED: dict[str, set[str]] = {
    "viewer": set(_READ.split()),
    "operator": set(f"{_READ} {_WRITE}".split()),
    "approver": set(f"{_READ} {_WRITE} {_APPROVE}".split()),
    "admin": set(f"{_READ} {_WRITE} {_APPROVE} {_ADMIN}".split()),
}
ROLES = tuple(EXPECTED)
_CSRF = "of-this-session"
CALLERS = [*[f"user:{role}" for role in ROLES], *[f"apikey:{role}" for role in ROLES], "nobody"]


def _expected(caller: str, permission: str) -> bool:
    kind, _, role = caller.partition(":")
    if kind == "nobody":
        return False
    allowed = EXPECTED[role] - (NOT_FOR_API_KEYS if kind == "apikey" else set())
    return not permission or permission in allowed


def _secrets(node: Node) -> dict[str, str]:
    """A credential of every caller, written straight into the tables: signing in is tested elsewhere."""
    made = {"nobody": ""}
    with node.db.write() as tx:
        now = engine.now(tx)
        for role in ROLES:
            operator = people.insert_operator(tx, role, "x", now)
            people.replace_grants(tx, operator, [Grant(role, EVERY_FLEET)])
            made[f"user:{role}"] = secrets.new_secret(secrets.SESSION_PREFIX)
            sessions.insert_session(
                tx,
                SessionRecord(
                    secret_sha256=secrets.digest(made[f"user:{role}"]),
                    operator_id=operator,
                    csrf_sha256=secrets.digest(_CSRF),
                    created_at=now,
                    expires_at=now.replace(year=now.year + 1),
                    last_used_at=now,
                    user_agent="",
                ),
            )
    return made | {f"apikey:{role}": api_key(node, role) for role in ROLES}


def _target(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "999999", path)


def _walk() -> Iterator[Operation | RawRoute]:
    for call in table.calls():
        # Ending the session that asks would change who asks next.
        if call.path != "/v1/sessions/{session}":
            yield call


@on_sqlite
def test_every_call_as_every_caller(node: Node) -> None:
    credentials = _secrets(node)
    app = Starlette(routes=routes(node, table.calls()))
    wrong = []
    for caller in CALLERS:
        client = Client(app, bearer=credentials[caller])
        for call in _walk():
            answer = client.request(
                call.method, _target(call.path), raw=b"{}", headers={"content-type": "application/json"}
            )
            if call.public:
                fine = answer.status not in (401, 403) or call.path in ("/v1/sessions", "/v1/enroll")
            elif caller == "nobody":
                fine = answer.status == 401
            elif _expected(caller, call.permission):
                fine = answer.status not in (401, 403) or _asks_more(call, answer.json())
            else:
                fine = answer.status == 403 and answer.json()["permission"] == call.permission
            if not fine:
                wrong.append(f"{caller} {call.method} {call.path} ({call.permission}): {answer.status} {answer.body!r}")
    assert not wrong, "\n".join(wrong)


def _asks_more(call: Operation | RawRoute, problem: dict[str, str]) -> bool:
    """API keys have neither password nor second factor; nothing else is refused after its permission was found."""
    return call.path.startswith("/v1/me/") and "API key" in problem["detail"]


@on_sqlite
def test_every_console_page_as_every_operator_and_nobody(node: Node) -> None:
    credentials = _secrets(node)
    client = Client(Starlette(routes=console_app.routes(node)))
    wrong = []
    for caller in ("user:viewer", "user:operator", "user:approver", "user:admin", "nobody"):
        for page in PAGES:
            headers = {
                "cookie": f"__Host-tidegate={credentials[caller]}; __Host-tidegate-csrf={_CSRF}",
                "content-type": "application/x-www-form-urlencoded",
            }
            raw = f"csrf={_CSRF}".encode() if page.method == "POST" else b""
            answer = client.request(page.method, _target(page.path), raw=raw, headers=headers)
            if caller == "nobody":
                fine = answer.status == 303 and answer.headers["location"].startswith("/signin")
            elif _expected(caller, page.permission):
                fine = answer.status not in (401, 403)
            else:
                fine = answer.status == 403 and page.permission.encode() in answer.body
            if not fine:
                wrong.append(f"{caller} {page.method} {page.path} ({page.permission}): {answer.status}")
    assert not wrong, "\n".join(wrong)


def test_every_permission_declared_exists() -> None:
    for page in PAGES:
        assert not page.permission or page.permission in PERMISSIONS, page.path
    for call in table.calls():
        assert not call.permission or call.permission in PERMISSIONS, call.path
        assert call.permission == "" or not call.public, call.path


def test_what_needs_no_sign_in_is_a_short_list() -> None:
    public = {f"{call.method} {call.path}" for call in table.calls() if call.public}
    assert public <= {
        "GET /healthz", "GET /readyz", "GET /v1/openapi.json", "GET /v1/device/openapi.json", "POST /v1/sessions",
        "POST /v1/enroll",
        *[line for line in public if line.startswith("GET /install/")],
    }  # fmt: skip


@on_sqlite
def test_an_absent_fleet_and_an_invisible_one_answer_alike(node: Node) -> None:
    with node.db.write() as tx:
        other = fleets.insert(tx, "other", at=engine.now(tx), interval_seconds=30)
    secret = api_key(node, "admin", other.id)
    client = Client(Starlette(routes=routes(node, table.calls())), bearer=secret)
    invisible = client.request("GET", "/v1/devices?fleet=default")
    absent = client.request("GET", "/v1/devices?fleet=nowhere")
    assert (invisible.status, absent.status) == (404, 404)
    assert invisible.body.replace(b"default", b"X") == absent.body.replace(b"nowhere", b"X")
    assert client.request("GET", "/v1/devices?fleet=other").status == 200
