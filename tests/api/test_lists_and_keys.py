"""What every list and every creating call promises (SPEC section 13), walked over the table.

A list that a test knows how to fill is walked by its cursor while rows come, go and change; every list keeps its
bounds. A creating call is carried out once for one Idempotency-Key; for those that a test knows how to ask.
"""

from __future__ import annotations

import base64
import random
import threading
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
import sqlalchemy as sa
from starlette.applications import Starlette

from tidegate.control.api import names, parameters, problems, table
from tidegate.control.api.operations import Operation, routes
from tidegate.control.domain.access import EVERY_FLEET, Grant
from tidegate.control.services import secrets
from tidegate.control.services.node import Node
from tidegate.control.store import engine, people, sessions
from tidegate.control.store.schema import assignments, devices, idempotency
from tidegate.control.workers import retention
from tidegate.testing.asgi import Answer, Client
from tidegate.testing.channel import csr, new_key
from tidegate.wire.operator.common import ListQuery, Page

NAMES = {key: str(name) for key, name in names.names(table.calls()).items()}
BY_NAME = {NAMES[call.method, call.path]: call for call in table.calls()}
CREATES = [name for name, call in BY_NAME.items() if isinstance(call, Operation) and call.creates and not call.public]
LISTS = [
    name for name, call in BY_NAME.items()
    if isinstance(call, Operation) and typing.get_origin(call.answer) is Page
    and isinstance(call.query, type) and issubclass(call.query, ListQuery)
]  # fmt: skip


@dataclass
class Site:
    """A node in this process, asked as an administrator, and something of everything that a path can name."""

    node: Node
    app: Starlette
    secret: str
    client: Client
    made: int = 0
    there: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        return self.client.request(method, path, body=body)

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.call(method, path, body)
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.body!r}"
        return answer.json() if answer.body else None

    def new(self) -> str:
        self.made += 1
        return f"n{self.made:04}"

    def enroll(self, name: str) -> str:
        minted = self.ok("POST", "/v1/tokens", {"device_name": name})
        self.ok("POST", "/v1/enroll", {"token": minted["secret"], "device": name, "csr_pem": csr(new_key()),
                                       "agent_version": "1"})  # fmt: skip
        return name

    def upload(self) -> str:
        made = self.ok("POST", "/v1/uploads", {"file_name": "m.onnx", "length": 1})["id"]
        self.client.request("PATCH", f"/v1/uploads/{made}?offset=0", raw=b"x")
        return str(made)

    def artifact(self, name: str, version: str = "1") -> Any:
        file = {"name": "m.onnx", "upload": self.upload()}
        body = {"name": name, "version": version, "files": [file], "manifest": {"framework": "onnx"}}
        return self.ok("POST", "/v1/artifacts", body)

    def path(self, path: str) -> str:
        return path.format(**{name: self.there.get(name, "999999") for name in parameters.of_path(path)})


def _session(node: Node, name: str) -> str:
    """The session of a new administrator."""
    with node.db.write() as tx:
        now = engine.now(tx)
        operator = people.insert_operator(tx, name, "x", now)
        people.replace_grants(tx, operator, [Grant("admin", EVERY_FLEET)])
        secret = secrets.new_secret(secrets.SESSION_PREFIX)
        record = sessions.SessionRecord(
            secret_sha256=secrets.digest(secret), operator_id=operator, csrf_sha256=secrets.digest("c"), created_at=now,
            expires_at=now + timedelta(days=1), last_used_at=now, user_agent="",
        )  # fmt: skip
        sessions.insert_session(tx, record)
    return secret


@pytest.fixture
def site(node: Node) -> Site:
    handlers: Any = {404: problems.on_http_exception, 405: problems.on_http_exception}
    app = Starlette(routes=routes(node, table.calls()), exception_handlers=handlers)
    secret = _session(node, "walker")
    made = Site(node, app, secret, Client(app, bearer=secret))
    for name in ("cam-1", "cam-2", "cam-3"):
        made.enroll(name)
    made.artifact("vad")
    made.ok("POST", "/v1/groups", {"name": "lab", "devices": ["cam-1"]})
    made.ok("PUT", "/v1/channels/vad/stable", {"version": "1", "reason": "first"})
    rollout = made.ok("POST", "/v1/rollouts", {"artifact": "vad", "version": "1", "target": {"all": True}})
    made.there = {"device": "cam-1", "group": "lab", "name": "vad", "artifact": "vad", "version": "1",
                  "channel": "stable", "rollout": str(rollout["id"])}  # fmt: skip
    return made


# -- lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_list_keeps_its_bounds_and_refuses_cursors_that_are_not_its_own(site: Site) -> None:
    for name in LISTS:
        call = BY_NAME[name]
        path = site.path(call.path)
        for wrong, pointer in (
            ("limit=0", "/limit"), ("limit=201", "/limit"), ("limit=x", "/limit"), ("offset=-1", "/offset"),
            ("offset=10001", "/offset"), ("cursor=%21", "/cursor"), ("cursor=bm90IG91cnM", "/cursor"),
            (f"cursor={'A' * 513}", "/cursor"), (f"cursor={_cursor([[]])}", "/cursor"),
            (f"cursor={_cursor([2**64])}", "/cursor"), (f"cursor={_cursor([None, None, None, None])}", "/cursor"),
        ):  # fmt: skip
            answer = site.call("GET", f"{path}?{wrong}")
            if answer.status == 404 and "999999" in path:
                continue
            assert answer.status == 422, f"{name}?{wrong}: {answer.status} {answer.body!r}"
            assert answer.json()["errors"][0]["pointer"] == pointer, f"{name}?{wrong}: {answer.body!r}"


def _cursor(position: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


@dataclass(frozen=True)
class Filled:
    """How to fill a list: `add` makes one and gives what `of` reads from an item; `end` takes one away."""

    add: Callable[[Site], str]
    of: Callable[[Any], str]
    end: Callable[[Site, str], object] | None = None
    change: Callable[[Site, str], object] | None = None
    query: str = ""
    most: int = 9
    #: What is changed can be changed once only.
    once: bool = False


def _named(item: Any) -> str:
    return str(item["name"])


def _id(item: Any) -> str:
    return str(item["id"])


def _add_operator(site: Site) -> str:
    return str(site.ok("POST", "/v1/operators", {"name": site.new(), "password": "correct horse battery"})["name"])


def _report(site: Site, device: str) -> None:
    """Change what decides where an assignment stands among those that need attention."""
    state = random.Random(device + site.new()).choice(["failed", "healthy", "pending", "applying"])
    with site.node.db.write() as tx:
        known = sa.select(devices.c.id).where(devices.c.name == device).scalar_subquery()
        tx.execute(sa.update(assignments).where(assignments.c.device_id == known).values(state=state))


FILLED = {
    "operators.list": Filled(
        _add_operator, _named, None, lambda site, name: site.ok("POST", f"/v1/operators/{name}/disable"), most=8,
        once=True,
    ),
    "api_keys.list": Filled(
        lambda site: str(site.ok("POST", "/v1/api-keys", {"name": site.new(), "role": "viewer"})["id"]), _id, None,
        lambda site, key: site.ok("DELETE", f"/v1/api-keys/{key}"), once=True,
    ),
    "audit.list": Filled(lambda site: _audited(site), lambda item: str(item["sequence"])),
    "artifacts.list": Filled(
        lambda site: str(site.artifact(site.new())["name"]), _named, None,
        lambda site, name: site.ok("POST", f"/v1/artifacts/{name}/1/withdraw", {"reason": "bad"}), most=6,
        once=True,
    ),
    "channels.list": Filled(
        lambda site: _channel(site, site.new()), lambda item: str(item["channel"]),
        lambda site, name: site.ok("DELETE", f"/v1/channels/vad/{name}?reason=old"),
    ),
    "devices.list": Filled(
        lambda site: site.enroll(site.new()), _named,
        lambda site, name: site.ok("POST", f"/v1/devices/{name}/decommission", {"confirm": name}),
        lambda site, name: site.ok("PATCH", f"/v1/devices/{name}/tags", {"put": {"seen": site.new()}}),
    ),
    "tokens.list": Filled(
        lambda site: str(site.ok("POST", "/v1/tokens", {})["id"]), _id,
        lambda site, token: site.ok("DELETE", f"/v1/tokens/{token}"), query="live=true",
    ),
    "groups.list": Filled(
        lambda site: str(site.ok("POST", "/v1/groups", {"name": site.new()})["group"]["name"]), _named,
        lambda site, name: site.ok("DELETE", f"/v1/groups/{name}"),
        lambda site, name: site.ok("POST", f"/v1/groups/{name}/add", {"devices": ["cam-2"]}),
    ),
    "rollouts.list": Filled(
        lambda site: _id(site.ok("POST", "/v1/rollouts", {"artifact": "vad", "version": "1",
                                                          "target": {"devices": ["cam-2"]}})), _id, None,
        lambda site, one: site.call("POST", f"/v1/rollouts/{one}/abort", {}),
    ),
}  # fmt: skip


def _audited(site: Site) -> str:
    site.ok("PATCH", "/v1/devices/cam-3/tags", {"put": {"seen": site.new()}})
    return str(site.ok("GET", "/v1/audit?limit=1")["items"][0]["sequence"])


def _channel(site: Site, name: str) -> str:
    site.ok("PUT", f"/v1/channels/vad/{name}", {"version": "1", "reason": "new"})
    return name


def _walk(site: Site, path: str, query: str, meanwhile: Callable[[], None]) -> list[Any]:
    seen: list[Any] = []
    cursor = ""
    while True:
        asked = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = site.ok("GET", f"{path}?{'&'.join(filter(None, [urlencode(asked), query]))}")
        assert len(page["items"]) <= 2
        seen += page["items"]
        cursor = page.get("next_cursor")
        if not cursor:
            return seen
        meanwhile()


@pytest.mark.parametrize("name", FILLED)
def test_a_walk_misses_and_doubles_nothing_that_was_there_all_along(site: Site, name: str) -> None:
    filled, path = FILLED[name], site.path(BY_NAME[name].path)
    chance = random.Random(name)
    alive = {filled.add(site) for _ in range(filled.most)}
    all_along = set(alive)

    unchanged = set(alive)

    def meanwhile() -> None:
        if chance.random() < 0.6 and len(alive) < 3 * filled.most:
            made = filled.add(site)
            alive.add(made)
            unchanged.add(made)
        if filled.end is not None and alive and chance.random() < 0.5:
            gone = chance.choice(sorted(alive))
            filled.end(site, gone)
            for left in (alive, all_along, unchanged):
                left.discard(gone)
        among = sorted(unchanged if filled.once else alive)
        if filled.change is not None and among and chance.random() < 0.5:
            changed = chance.choice(among)
            filled.change(site, changed)
            unchanged.discard(changed)

    seen = [filled.of(item) for item in _walk(site, path, filled.query, meanwhile)]
    assert len(seen) == len(set(seen)), "something was met twice"
    assert all_along <= set(seen), f"missed {all_along - set(seen)}"


def test_a_walk_through_a_rollouts_devices_by_wave_is_stable_while_their_states_change(site: Site) -> None:
    boats = {site.enroll(site.new()) for _ in range(9)}
    body = {"artifact": "vad", "version": "1", "target": {"all": True},
            "strategy": {"waves": [{"percent": 50}, {"percent": 100}]}}  # fmt: skip
    rollout = site.ok("POST", "/v1/rollouts", body)["id"]
    chance = random.Random(7)
    path = f"/v1/rollouts/{rollout}/assignments"
    seen = _walk(site, path, "sort=wave", lambda: _report(site, chance.choice(sorted(boats))))
    assert sorted(item["device"] for item in seen) == sorted([*boats, "cam-1", "cam-2", "cam-3"])


# -- Idempotency-Key --------------------------------------------------------------------------------------------------


def _asked(site: Site, name: str) -> tuple[str, Any]:
    """A request that creates something new each time; None for the body where no test knows one."""
    new = site.new()
    bodies: dict[str, Callable[[], Any]] = {
        "operators.create": lambda: {"name": new},
        "api_keys.create": lambda: {"name": new, "role": "viewer"},
        "roles.create": lambda: {"name": new, "permissions": ["devices.read"]},
        "artifacts.publish": lambda: {"name": new, "version": "1", "manifest": {"framework": "onnx"},
                                      "files": [{"name": "m.onnx", "upload": site.upload()}]},
        "uploads.create": lambda: {"file_name": f"{new}.onnx", "length": 1},
        "devices.recover": lambda: {"expires_in_seconds": 60 + site.made},
        "tokens.mint": lambda: {"tags": {"n": new}},
        "groups.create": lambda: {"name": new},
        "fleets.create": lambda: {"name": new},
        "rollouts.create": lambda: {"artifact": "vad", "version": "1", "target": {"devices": ["cam-3"]},
                                    "strategy": {"soak_seconds": site.made}},
    }  # fmt: skip
    return site.path(BY_NAME[name].path), bodies[name]() if name in bodies else None


def test_creating_calls_are_carried_out_once_for_one_key(site: Site) -> None:
    other = Client(site.app, bearer=_session(site.node, "somebody-else"))
    known = 0
    for name in CREATES:
        call = BY_NAME[name]
        assert isinstance(call, Operation)
        path, body = _asked(site, name)
        key = {"idempotency-key": f"walk-{name}"}
        first = site.client.request("POST", path, body=body if body is not None else {}, headers=key)
        again = site.client.request("POST", path, body=body if body is not None else {}, headers=key)
        if body is None:  # refused alike: nothing is stored of a refusal, and nothing was created
            assert (first.status >= 400, again.status) == (True, first.status), f"{name}: {first.body!r}"
            continue
        known += 1
        assert first.status == 201, f"{name}: {first.body!r}"
        if call.secret_answer:
            assert again.status == 409, name
            assert f"id {first.json()['id']}" in again.json()["detail"], name
            for secret in ("secret", "password"):
                assert not first.json().get(secret) or first.json()[secret].encode() not in again.body, name
        else:
            assert (again.status, again.body) == (201, first.body), name
            assert again.headers["idempotency-replayed"] == "true"
        _, changed = _asked(site, name)
        reused = site.client.request("POST", path, body=changed, headers=key)
        assert (reused.status, reused.json()["type"]) == (422, "/problems/idempotency-key-reused"), name
        # Another actor's key of the same name is another key; where the name is taken, it says so by itself.
        theirs = other.request("POST", path, body=changed, headers=key)
        assert theirs.status == 201, f"{name}: {theirs.body!r}"
    assert known >= 9


@pytest.mark.parametrize("name", ["groups.create", "tokens.mint"])
def test_of_two_at_once_with_one_key_one_creates(site: Site, name: str) -> None:
    path, body = _asked(site, name)
    answers: list[Answer] = []
    at_once = threading.Barrier(4)
    clients = [Client(site.app, bearer=site.secret) for _ in range(4)]

    def ask(client: Client) -> None:
        at_once.wait()
        answers.append(client.request("POST", path, body=body, headers={"idempotency-key": "at-once"}))

    threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fresh = [one for one in answers if one.status == 201 and "idempotency-replayed" not in one.headers]
    assert len(fresh) == 1
    assert {one.status for one in answers} <= {201, 409}
    assert len({one.json()["id"] for one in answers if one.status == 201}) == 1


def test_a_key_is_forgotten_after_its_time(site: Site) -> None:
    key = {"idempotency-key": "old"}
    first = site.client.request("POST", "/v1/groups", body={"name": "one"}, headers=key)
    assert first.status == 201
    with site.node.db.write() as tx:
        past = engine.now(tx) - timedelta(days=400)
        tx.execute(sa.update(idempotency).values(created_at=past))
    retention.RECONCILER.run(site.node)
    again = site.client.request("POST", "/v1/groups", body={"name": "two"}, headers=key)
    assert again.status == 201, again.body
