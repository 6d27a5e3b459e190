"""Several fleets on one node: what a member of one, with every permission there, gets of another.

Everything of the first fleet bears a name that occurs nowhere else. Each call and page is asked twice, for what the
first fleet has and for what nobody has: both answers are the same but for the name that was asked for, the name occurs
nowhere else, and the first fleet's rows are untouched.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.applications import Starlette

from tidegate.control.api import table
from tidegate.control.api.operations import Operation, RawRoute, routes
from tidegate.control.console import app as console_app
from tidegate.control.console.cookies import CSRF_COOKIE, FLEET_COOKIE, SESSION_COOKIE
from tidegate.control.console.pages import PAGES
from tidegate.control.console.visit import Page
from tidegate.control.domain.access import EVERY_FLEET, Grant, Scope
from tidegate.control.domain.people import SessionRecord
from tidegate.control.services import api_keys, artifacts, channels, fleets, logs, rollouts, tokens, uploads
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import NewRollout, Target
from tidegate.control.services.secrets import API_KEY_PREFIX, SESSION_PREFIX, digest, new_secret
from tidegate.control.services.tokens import TokenTerms
from tidegate.control.store import api_keys as key_store
from tidegate.control.store import engine, people, sessions
from tidegate.control.store.schema import metadata
from tidegate.testing.asgi import Answer, Client
from tidegate.testing.channel import Connection, SimulatedDevice, mint, new_key, running
from tidegate.testing.channel import enroll as enroll_with
from tidegate.testing.fleet import enroll
from tidegate.testing.node import admin_scope
from tidegate.wire import device as wire
from tidegate.wire.descriptor import ModelManifest
from tidegate.wire.operator.artifacts import NewFile, PublishArtifact

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

#: In every name of the first fleet, and in no other text.
THEIRS = "zebra"
#: As long, and of nobody.
NOBODYS = "quagg"
ABSENT = "987654321"
_CSRF = "of-this-session"
Ids = Mapping[str, str]


@dataclass
class World:
    """Two fleets: `default`, whose things are named after `THEIRS`, and `other`, whose member asks."""

    node: Node
    theirs: Scope
    mine: Scope
    ids: dict[str, str] = field(default_factory=dict)
    session: str = ""
    key: str = ""


def _publish(node: Node, scope: Scope, name: str) -> None:
    upload = uploads.upload_stream(scope, node, "model.onnx", 7, [b"weights"])
    files = (NewFile(name="model.onnx", upload=upload.id),)
    artifacts.publish(scope, node, PublishArtifact(name=name, version="1", files=files, manifest=ModelManifest("onnx")))


def _populate(node: Node, scope: Scope, word: str) -> dict[str, str]:
    """One of everything in the fleet; gives the parts of addresses that name it."""
    enroll(node, scope, [f"{word}-1", f"{word}-2"], f"{word}-group")
    _publish(node, scope, f"{word}-model")
    channels.move(scope, node, f"{word}-model", f"{word}-channel", "1", f"{word} says so")
    rollout = rollouts.create_rollout(scope, node, NewRollout(f"{word}-model", "1", Target(group=f"{word}-group"), {}))
    token = tokens.mint(scope, node, TokenTerms(device_name=f"{word}-3"))
    upload = uploads.upload_stream(scope, node, f"{word}.onnx", 7, [b"weights"])
    key, _ = api_keys.create_api_key(
        scope, node, name=f"{word}-key", role="viewer", every_fleet=False, expires_days=None
    )  # fmt: skip
    asked = logs.ask(scope, node, f"{word}-1", "app", 65_536)
    return {
        "device": f"{word}-1", "group": f"{word}-group", "name": f"{word}-model", "artifact": f"{word}-model",
        "version": "1", "channel": f"{word}-channel", "rollout": str(rollout.id), "id:int": str(rollout.id),
        "token": str(token.view.id), "upload": upload.id, "key": str(key.id), "operator": f"{word}-person",
        "request": str(asked.id), "role": f"{word}-role",
    }  # fmt: skip


def _person(node: Node, name: str, grant: Grant) -> str:
    secret = new_secret(SESSION_PREFIX)
    with node.db.write() as tx:
        now = engine.now(tx)
        operator = people.insert_operator(tx, name, "x", now)
        people.replace_grants(tx, operator, [grant])
        record = SessionRecord(
            digest(secret), operator, digest(_CSRF), now, now.replace(year=now.year + 1), now, THEIRS
        )
        sessions.insert_session(tx, record if name.startswith(THEIRS) else SessionRecord(
            digest(secret), operator, digest(_CSRF), now, now.replace(year=now.year + 1), now, "mine"))  # fmt: skip
    return secret


@pytest.fixture
def world(node: Node) -> World:
    root = admin_scope(node)
    fleets.create_fleet(root, node, name="other")
    theirs, mine = admin_scope(node, name=f"{THEIRS}-admin"), admin_scope(node, "other", name="okapi-admin")
    made = World(node, theirs, mine)
    their_session = _person(node, f"{THEIRS}-person", Grant("admin", theirs.fleet_id))
    made.ids = _populate(node, theirs, THEIRS) | {"session": digest(their_session)[:16]}
    _populate(node, mine, "okapi")
    made.session = _person(node, "member", Grant("admin", mine.fleet_id))
    made.key = new_secret(API_KEY_PREFIX)
    with node.db.write() as tx:
        key_store.insert_api_key(
            tx, name="okapi-ci", secret_sha256=digest(made.key), grant=Grant("admin", mine.fleet_id),
            at=engine.now(tx), by="member", expires_at=None,
        )  # fmt: skip
    return made


def _rows(world: World) -> dict[str, set[tuple[Any, ...]]]:
    """Every row there is now, but what says only that the asker asked."""
    found = {}
    with world.node.db.read() as tx:
        for each in metadata.sorted_tables:
            if each.name not in ("sessions", "api_keys", "audit_heads", "idempotency", "node_state"):
                found[each.name] = {tuple(map(str, row)) for row in tx.execute(sa.select(each))}
    return found


def _touched(world: World, before: dict[str, set[tuple[Any, ...]]]) -> list[str]:
    """What is not as it was: rows changed or gone anywhere but in the member's own fleet, rows added to the first."""
    after = _rows(world)
    trouble = []
    for each in metadata.sorted_tables:
        if each.name not in after:
            continue
        fleet = [i for i, c in enumerate(each.columns) if c.name in ("fleet_id", "chain")]
        mine, theirs = str(world.mine.fleet_id), str(world.theirs.fleet_id)
        gone = before[each.name] - after[each.name]
        came = after[each.name] - before[each.name]
        trouble += [
            f"{each.name}: changed {row}" for row in gone if THEIRS in str(row) or (fleet and row[fleet[0]] == theirs)
        ]
        trouble += [f"{each.name}: added {row}" for row in came if fleet and row[fleet[0]] == theirs and theirs != mine]
    return trouble


#: What is sent so that a call gets as far as looking for the thing; `{…}` as in paths. `X` is the word.
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/artifacts"): {"name": "mixed", "version": "9", "manifest": {"framework": "onnx"},
                                "files": [{"name": "model.onnx", "upload": "{upload}"}]},
    ("POST", "/v1/artifacts/{name}/{version}/withdraw"): {"reason": "r"},
    ("POST", "/v1/artifacts/{name}/{version}/sbom"): {"upload": "{upload}"},
    ("PUT", "/v1/channels/{artifact}/{channel}"): {"version": "1", "reason": "r"},
    ("PATCH", "/v1/devices/{device}/tags"): {"put": {"a": "b"}},
    ("POST", "/v1/devices/{device}/decommission"): {"confirm": "{device}"},
    ("POST", "/v1/devices/{device}/recover"): {},
    ("PUT", "/v1/devices/{device}/hold"): {"reason": "r"},
    ("PUT", "/v1/groups/{group}/hold"): {"reason": "r"},
    ("POST", "/v1/devices/{device}/logs"): {"source": "app"},
    ("PATCH", "/v1/groups/{group}"): {"name": "renamed"},
    ("POST", "/v1/groups"): {"name": "mixed", "devices": ["{device}"]},
    ("POST", "/v1/groups/{group}/add"): {"devices": ["okapi-1"]},
    ("POST", "/v1/groups/{group}/remove"): {"devices": ["okapi-1"]},
    ("POST", "/v1/tokens"): {"groups": ["{group}"]},
    ("POST", "/v1/rollouts"): {"artifact": "{name}", "version": "1", "target": {"devices": ["okapi-1"]}},
    ("POST", "/v1/rollouts/preview"): {"artifact": "okapi-model", "version": "1", "target": {"devices": ["{device}"]}},
    ("POST", "/v1/rollouts/{rollout}/halt"): {"reason": "r"},
    ("POST", "/v1/rollouts/{rollout}/resume"): {"reason": "r"},
    ("POST", "/v1/rollouts/{rollout}/approve"): {"reason": "r"},
    ("POST", "/v1/rollouts/{rollout}/abort"): {"policy": "revert", "reason": "r"},
    ("PUT", "/v1/operators/{operator}/roles"): {"roles": [{"role": "admin", "fleet": "default"}]},
    ("PUT", "/v1/roles/{role}"): {"permissions": ["devices.read"]},
}  # fmt: skip
QUERIES = {
    ("PATCH", "/v1/uploads/{upload}"): "?offset=0",
    ("DELETE", "/v1/channels/{artifact}/{channel}"): "?reason=r",
    ("DELETE", "/v1/artifacts/{name}/{version}/sbom"): "?reason=r",
    ("GET", "/v1/explain"): "?device={device}&artifact={name}",
}
#: More ways to name something of the first fleet: in queries, and in what is said of the member's own things.
MORE: list[tuple[str, str, Any]] = [
    ("GET", "/v1/devices?group={group}", None),
    ("GET", "/v1/devices?artifact={name}", None),
    ("GET", "/v1/devices?search={device}", None),
    ("GET", "/v1/explain?device={device}&artifact={name}", None),
    ("GET", "/v1/explain?device=okapi-1&artifact={name}", None),
    ("GET", "/v1/artifacts?name={name}", None),
    ("GET", "/v1/audit?subject=group:{group}", None),
    ("GET", "/v1/operator-sessions?operator={operator}", None),
    ("GET", "/v1/operators?q={operator}", None),
    ("POST", "/v1/groups/okapi-group/add", {"devices": ["{device}"]}),
    ("POST", "/v1/rollouts", {"artifact": "okapi-model", "version": "1", "target": {"devices": ["{device}"]}}),
    ("POST", "/v1/rollouts", {"artifact": "okapi-model", "version": "1", "target": {"group": "{group}"}}),
    ("POST", "/v1/rollouts", {"artifact": "okapi-model", "version": "1", "target": {"everyone": True},
                              "strategy": {"waves": [{"group": "{group}"}, {"percent": 100}]}}),
    ("PUT", "/v1/channels/okapi-model/{channel}", {"version": "{version}0", "reason": "r"}),
]  # fmt: skip


def _filled(what: Any, ids: Ids) -> Any:
    """The same with every `{part}` replaced."""
    if isinstance(what, str):
        return re.sub(r"\{([^}]+)\}", lambda part: ids.get(part[1], ABSENT), what)
    if isinstance(what, dict):
        return {key: _filled(value, ids) for key, value in what.items()}
    return [_filled(value, ids) for value in what] if isinstance(what, list) else what


def _nobodys(ids: Ids) -> dict[str, str]:
    """The same parts, of what does not exist."""
    changed = {name: value.replace(THEIRS, NOBODYS) for name, value in ids.items()}
    changed |= dict.fromkeys(("rollout", "id:int", "token", "key", "request"), ABSENT)
    return changed | {"upload": "0" * len(ids["upload"]), "session": "0" * 16}


_NOISE = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?|\b\d\d:\d\d\b|\b\d+ s\b|tg[a-z]*_[\w-]{20,}|in \d+ \w+( \d+ \w+)?"
)


def _told(answer: Answer, ids: Ids) -> tuple[int, str]:
    """Status and text, without what was asked for and without what differs from one moment to the next."""
    text = answer.body.decode(errors="replace")
    text = _NOISE.sub("TIME", text)
    text += answer.headers.get("location", "")
    for value in sorted({*ids.values(), "1", ABSENT}, key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){re.escape(value)}(?![\w-])", "THING", text)
    return answer.status, text


def _calls() -> Iterator[tuple[str, str, Any]]:
    for each in table.calls():
        if not each.public and each.path not in ("/v1/me/password", "/v1/openapi.json"):
            yield (
                each.method,
                each.path + QUERIES.get((each.method, each.path), ""),
                BODIES.get((each.method, each.path), {} if _takes_body(each) else None),
            )
    yield from MORE


def _takes_body(call: Operation | RawRoute) -> bool:
    return isinstance(call, Operation) and call.body is not None


#: What belongs to the node: in the member's own fleet answered by what the member may do on the node.
_OF_NODE = ("/v1/operators", "/v1/operator-sessions", "/v1/roles", "/v1/sessions", "/v1/me")


@pytest.mark.parametrize("as_key", [False, True], ids=["member", "api-key"])
def test_every_call_by_a_member_of_another_fleet(world: World, as_key: bool) -> None:
    client = Client(Starlette(routes=routes(world.node, table.calls())), bearer=world.key if as_key else world.session)
    before, absent, trouble = _rows(world), _nobodys(world.ids), []
    for method, path, body in _calls():
        for fleet in ("default", "other"):
            if (method, path) == ("DELETE", "/v1/sessions"):
                continue
            answers = []
            for ids in (world.ids, absent):
                target = _filled(path, ids)
                target += ("&" if "?" in target else "?") + f"fleet={fleet}"
                said = None if body is None else _filled(body, ids)
                answers.append(client.request(method, target, body=said))
            real, missing = answers
            where = f"{method} {path} in {fleet}: {real.status}"
            if fleet == "default" and real.status != 404:
                trouble.append(f"{where}, not 404")
            named = "{" in path.partition("?")[0] and "okapi" not in path and not path.startswith(_OF_NODE)
            if named and real.status not in (404, 403) and "metadata" not in path:
                trouble.append(f"{where}, not 404: {real.body[:200]!r}")
            if _told(real, world.ids) != _told(missing, absent) and not _made_once(method, path, real, missing):
                trouble.append(f"{where} and {missing.status} differ: {real.body[:300]!r} {missing.body[:300]!r}")
            if THEIRS in _told(real, world.ids)[1]:
                trouble.append(f"{where} tells {real.body[:600]!r}")
    assert not trouble, "\n".join(trouble)
    assert not _touched(world, before), "\n".join(_touched(world, before))


def _made_once(method: str, path: str, real: Answer, missing: Answer) -> bool:
    """Both made a thing of the member's own, one after the other: its number and whether it is the first differ."""
    return (
        method in ("POST", "PUT", "DELETE")
        and {real.status, missing.status} <= {200, 201, 204, 404, 409}
        and (
            path in ("/v1/groups", "/v1/uploads", "/v1/freeze", "/v1/me/second-factor", "/v1/groups/okapi-group/add")
            or path.startswith("/v1/audit")
        )
    )


def _person_asks(client: Client, world: World, page: Page, ids: Ids) -> Answer:
    cookies = {SESSION_COOKIE: world.session, CSRF_COOKIE: _CSRF, FLEET_COOKIE: "default"}
    headers = {
        "cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
        "content-type": "application/x-www-form-urlencoded",
    }
    names = {**ids, "name": ids["device"] if "/devices/" in page.path else ids["operator"] if "/users/" in page.path
             else ids["group"] if "/groups/" in page.path else ids["name"]}  # fmt: skip
    raw = f"csrf={_CSRF}&reason=r&confirm=x&policy=keep".encode() if page.method == "POST" else b""
    return client.request(page.method, _filled(page.path, names), raw=raw, headers=headers)


#: Pages that change the asker's own session or password, which are the same whatever fleet there is.
_OWN = ("/account", "/sessions/others")


def test_every_page_by_a_member_of_another_fleet(world: World) -> None:
    client = Client(Starlette(routes=console_app.routes(world.node)))
    before, absent, trouble = _rows(world), _nobodys(world.ids), []
    for page in PAGES:
        if page.path.startswith(_OWN) and page.method == "POST":
            continue
        real = _person_asks(client, world, page, world.ids)
        missing = _person_asks(client, world, page, absent)
        where = f"{page.method} {page.path}: {real.status}"
        if "{" in page.path and real.status not in (303, 403, 404):  # on to another page: which one is compared below
            trouble.append(f"{where}, not 404")
        if "{" in page.path and _told(real, world.ids) != _told(missing, absent):
            trouble.append(f"{where} and {missing.status} differ")
        if THEIRS in _told(real, world.ids)[1]:
            found = _told(real, world.ids)[1]
            trouble.append(f"{where} tells …{found[max(0, found.index(THEIRS) - 200) :][:300]}")
    assert not trouble, "\n".join(trouble)
    assert not _touched(world, before), "\n".join(_touched(world, before))


def test_a_cursor_of_another_fleets_list_leads_nowhere(world: World) -> None:
    app = Starlette(routes=routes(world.node, table.calls()))
    with world.node.db.write() as tx:
        root = new_secret(API_KEY_PREFIX)
        admin = people.insert_operator(tx, "root", "x", engine.now(tx))
        people.replace_grants(tx, admin, [Grant("admin", EVERY_FLEET)])
        key_store.insert_api_key(
            tx, name="root", secret_sha256=digest(root), grant=Grant("admin", EVERY_FLEET), at=engine.now(tx),
            by="root", expires_at=None,
        )  # fmt: skip
    lists = ("/v1/devices", "/v1/artifacts", "/v1/rollouts", "/v1/groups", "/v1/tokens", "/v1/audit")
    for path in lists:
        first = Client(app, bearer=root).request("GET", f"{path}?limit=1&fleet=default").json()
        cursor = first["next_cursor"] or "WyJhIl0"
        answer = Client(app, bearer=world.session).request("GET", f"{path}?cursor={cursor}&fleet=other")
        assert answer.status in (200, 422), path
        assert THEIRS not in answer.body.decode(), path


def test_an_idempotency_key_gives_back_the_answer_of_its_own_actor_and_fleet_only(world: World) -> None:
    """Keys are revoked and named again, also by another fleet: what was stored for the first is not the second's."""
    app = Starlette(routes=routes(world.node, table.calls()))
    secrets_of = {}
    for fleet in (world.theirs, world.mine):
        with world.node.db.write() as tx:
            name = f"of-{fleet.fleet}"
            operator = people.insert_operator(tx, name, "x", engine.now(tx))
            people.replace_grants(tx, operator, [Grant("admin", fleet.fleet_id)])
            for key in key_store.list_api_keys(tx, world.theirs.fleet_id, after=0, offset=0, limit=50):
                if key.name == "ci":
                    key_store.revoke_api_key(tx, key.id, engine.now(tx))
            secrets_of[fleet.fleet] = new_secret(API_KEY_PREFIX)
            key_store.insert_api_key(
                tx, name="ci", secret_sha256=digest(secrets_of[fleet.fleet]), grant=Grant("admin", fleet.fleet_id),
                at=engine.now(tx), by=name, expires_at=None,
            )  # fmt: skip
        if fleet is world.theirs:
            made = Client(app, bearer=secrets_of["default"]).request(
                "POST", "/v1/groups", body={"name": "same"}, headers={"Idempotency-Key": "k"}
            )
            assert made.status == 201
    answer = Client(app, bearer=secrets_of["other"]).request(
        "POST", "/v1/groups", body={"name": "same"}, headers={"Idempotency-Key": "k"}
    )
    assert "idempotency-replayed" not in answer.headers
    assert answer.status == 201, answer.body  # nor that there was one


def test_a_device_gets_nothing_of_another_fleet(world: World) -> None:
    """By its certificate it is of its own fleet: work of the other is as if there were none, whatever ids it names.

    (The update repository's side of it: tests/api/test_update_repository.py.)
    """
    node = world.node
    given = enroll_with(node, mint(world.mine, node), new_key(), "okapi-9")
    rollout, before = world.ids["rollout"], _rows(world)

    async def story() -> None:
        async with running(node) as app:
            device = SimulatedDevice(app, Connection(given.certificate_pem))
            answer = (await device.beat()).read(wire.HeartbeatAnswer)
            assert THEIRS not in str(answer)
            assert not answer.log_requests
            log = await device.call(f"logs/{world.ids['request']}", b"", content_type="application/gzip")
            assert log.status == 404
            for number, work_id in enumerate((f"r{rollout}", f"v{rollout}", "s1-1"), 1):
                leave = (await device.call("leave", wire.LeaveRequest(work_id, None))).read(wire.LeaveAnswer)
                assert not leave.granted
                assert THEIRS not in leave.reason
                fact = wire.Report(number, work_id, "failed", datetime.now(UTC), "it broke")
                told = await device.call("reports", wire.Reports("0" * 32, (fact,)))
                assert [one.status for one in told.read(wire.ReportsAnswer).results] == ["refused"]

    asyncio.run(story())
    assert not _touched(world, before)
