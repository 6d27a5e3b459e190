"""Logs on request: asked by operators, told in heartbeats, sent by devices."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from starlette.applications import Starlette

from tidegate.control.api import table
from tidegate.control.api.operations import routes
from tidegate.control.console import app as console_app
from tidegate.control.console import cookies
from tidegate.control.domain.access import Scope
from tidegate.control.domain.devices import DeviceRef
from tidegate.control.domain.logs import MOST_WAITING_OF_A_DEVICE, tail, unpacked_size
from tidegate.control.services import devices, fleets, logs, people, sessions
from tidegate.control.services.node import Node
from tidegate.control.services.people import NamedGrant
from tidegate.control.store.schema import audit_records, log_bundles, log_requests
from tidegate.errors import Conflict, Forbidden, Invalid, NotFound
from tidegate.testing.asgi import Client
from tidegate.testing.channel import (
    SOON_SECONDS,
    Connection,
    Reply,
    SimulatedDevice,
    enroll,
    mint,
    new_key,
    running,
    until,
)
from tidegate.testing.node import admin_scope, api_key
from tidegate.wire import device as wire

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
LINES = b"".join(b"line %d\n" % number for number in range(400))
GZIP = "application/gzip"


@pytest.fixture
def scope(node: Node) -> Scope:
    return admin_scope(node)


def joined(node: Node, scope: Scope, name: str = "cam-1") -> Connection:
    return Connection(enroll(node, mint(scope, node), new_key(), name).certificate_pem)


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


async def send(device: SimulatedDevice, request: int | str, body: Any, kind: str = GZIP) -> Reply:
    return await device.call(f"logs/{request}", body, content_type=kind)


def test_a_log_is_asked_for_told_sent_and_read(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            device = SimulatedDevice(app, joined(node, scope))
            said = wire.Register(wire.HardwareProfile(), "1", log_sources=("app", "kernel"))
            await device.call("register", said)
            assert devices.get(scope, node, "cam-1").view.device.log_sources == ("app", "kernel")
            await device.beat()
            asked = logs.ask(scope, node, "cam-1", "app", 4096)
            assert asked.state == "waiting"
            with pytest.raises(Conflict, match="it is waiting"):
                logs.bundle(scope, node, "cam-1", asked.id)
            await app.desk.look()
            told = (await device.beat()).read(wire.HeartbeatAnswer).log_requests
            assert told == (wire.LogRequest(asked.id, "app", 4096),)
            packed = gzip.compress(LINES)
            for _ in range(2):  # the answer to the first was lost
                assert (await send(device, asked.id, packed)).read(wire.LogTaken) == wire.LogTaken(asked.id)
        assert logs.bundle(scope, node, "cam-1", asked.id) == packed
        found = logs.get(scope, node, "cam-1", asked.id)
        assert (found.state, found.size_bytes, found.source) == ("received", len(LINES), "app")
        with node.db.read() as tx:
            recorded = tx.execute(sa.select(audit_records).where(audit_records.c.action == "device.logs")).all()
        assert [row.subject for row in recorded] == ["device:cam-1"]

    run(story)


@on_sqlite
def test_a_held_heartbeat_is_answered_at_once_and_each_request_told_once(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            connection = joined(node, scope)
            device = SimulatedDevice(app, connection)
            await device.beat()
            held = asyncio.create_task(device.beat(wait_seconds=60))
            await until(lambda: app.heartbeats.held == 1)
            asked = logs.ask(scope, node, "cam-1", "app", 4096)
            answer = (await asyncio.wait_for(held, SOON_SECONDS)).read(wire.HeartbeatAnswer)
            assert [one.id for one in answer.log_requests] == [asked.id]
            # Told over this connection: the next heartbeat is held again, and a new connection hears it anew.
            held = asyncio.create_task(device.beat(wait_seconds=60))
            await until(lambda: app.heartbeats.held == 1)
            other = SimulatedDevice(app, Connection(connection.certificate_pem), seen=device.seen)
            assert (await other.beat(wait_seconds=60)).read(wire.HeartbeatAnswer).log_requests == answer.log_requests
            held.cancel()
            logs.cancel(scope, node, "cam-1", asked.id)
            await app.desk.look()
            third = SimulatedDevice(app, Connection(connection.certificate_pem))
            assert (await third.beat()).read(wire.HeartbeatAnswer).log_requests == ()

    run(story)


@on_sqlite
def test_what_the_node_does_not_take(node: Node, scope: Scope) -> None:
    packed = gzip.compress(LINES)
    bomb = gzip.compress(b"\0" * (8 << 20))

    async def story() -> None:
        async with running(node) as app:
            mine, other = SimulatedDevice(app, joined(node, scope)), SimulatedDevice(app, joined(node, scope, "cam-2"))
            asked = logs.ask(scope, node, "cam-1", "app", 4096)
            assert (await send(other, asked.id, packed)).status == 404
            assert (await send(mine, asked.id + 1, packed)).status == 404
            assert (await send(mine, "1e3", packed)).status == 404
            assert (await send(mine, asked.id, b"\0" * (wire.LOG_BUNDLE_BYTES_MAX + 1))).status == 413
            for body, said in (
                (b"plain text", "not gzip"),
                (packed[:-9], "cut short"),
                (packed + b"x", "follows its end"),
                (gzip.compress(LINES * 10), "more than the 4096 bytes"),
                (bomb, "more than the 4096 bytes"),
            ):
                reply = await send(mine, asked.id, body)
                assert reply.status == 422
                assert said in reply.problem.detail
            assert (await send(mine, asked.id, packed, "text/plain")).status == 422
            assert logs.get(scope, node, "cam-1", asked.id).state == "waiting"
            refusal = wire.LogRefusal("cannot read app: its owner does not allow it")
            assert (await send(mine, asked.id, refusal, "application/json")).status == 200
            with pytest.raises(Conflict, match="refused: cannot read app"):
                logs.bundle(scope, node, "cam-1", asked.id)

    run(story)


def test_who_may_ask_and_how_much(node: Node, scope: Scope) -> None:
    joined(node, scope)
    viewer = replace(scope, permissions=frozenset({"devices.read"}))
    for _ in range(MOST_WAITING_OF_A_DEVICE):
        last = logs.ask(scope, node, "cam-1", "app", 4096)
    with pytest.raises(Conflict, match="wait already"):
        logs.ask(scope, node, "cam-1", "app", 4096)
    with pytest.raises(Forbidden):
        logs.ask(viewer, node, "cam-1", "app", 4096)
    with pytest.raises(Forbidden):
        logs.bundle(viewer, node, "cam-1", last.id)
    with pytest.raises(Forbidden):
        logs.cancel(viewer, node, "cam-1", last.id)
    page = logs.listed(viewer, node, "cam-1", limit=3)
    assert (len(page.items), page.total, page.next_before) == (3, MOST_WAITING_OF_A_DEVICE, page.items[-1].id)
    rest = logs.listed(viewer, node, "cam-1", limit=50, before=page.next_before)
    assert {one.id for one in page.items} & {one.id for one in rest.items} == set()
    with pytest.raises(NotFound):
        logs.get(viewer, node, "cam-1", last.id + 1)
    logs.cancel(scope, node, "cam-1", last.id)
    with pytest.raises(Conflict, match="it is cancelled"):
        logs.cancel(scope, node, "cam-1", last.id)
    logs.ask(scope, node, "cam-1", "app", 4096)
    devices.decommission(scope, node, "cam-1")
    with pytest.raises(Conflict, match="decommissioned"):
        logs.ask(scope, node, "cam-1", "app", 4096)


def test_requests_expire_and_bundles_are_forgotten(node: Node, scope: Scope) -> None:
    joined(node, scope)
    device = devices.get(scope, node, "cam-1").view.device
    ref = DeviceRef(device.id, "cam-1", scope.fleet_id, scope.fleet)
    late, done = (logs.ask(scope, node, "cam-1", "app", 1 << 20) for _ in range(2))
    logs.received(node, ref, done.id, gzip.compress(LINES))
    with node.db.write() as tx:
        past = node.clock.now() - timedelta(seconds=1)
        tx.execute(sa.update(log_requests).where(log_requests.c.id == late.id).values(expires_at=past))
    assert logs.pending(node, ref) == ()
    logs.tidy(node)
    assert logs.get(scope, node, "cam-1", late.id).state == "expired"
    logs.received(node, ref, late.id, gzip.compress(LINES))  # too late, and no error for the device
    assert logs.get(scope, node, "cam-1", late.id).state == "expired"
    with node.db.write() as tx:
        long_ago = node.clock.now() - timedelta(days=node.settings.log_bundles_days, seconds=1)
        tx.execute(sa.update(log_requests).where(log_requests.c.id == done.id).values(ended_at=long_ago))
    logs.tidy(node)
    with node.db.read() as tx:
        assert tx.scalars(sa.select(log_requests.c.id)).all() == [late.id]
        assert tx.scalars(sa.select(log_bundles.c.request_id)).all() == []


def _pulled(node: Node, scope: Scope, packed: bytes) -> int:
    """A bundle asked of cam-1 and received."""
    device = devices.get(scope, node, "cam-1").view.device
    asked = logs.ask(scope, node, "cam-1", "app", 1 << 20)
    logs.received(node, DeviceRef(device.id, "cam-1", scope.fleet_id, scope.fleet), asked.id, packed)
    return asked.id


def test_the_oldest_bundles_of_a_fleet_make_room_for_newer_ones(node: Node, scope: Scope) -> None:
    fleets.create_fleet(scope, node, name="other")
    other = admin_scope(node, "other")
    for one in (scope, other):
        joined(node, one)
    packed = gzip.compress(Random(1).randbytes(1 << 20))  # as large as it unpacks
    most = 3 * len(packed) + 100
    node = replace(node, settings=msgspec.structs.replace(node.settings, log_bundles_max_bytes=most))
    theirs = _pulled(node, other, packed)
    late = logs.ask(scope, node, "cam-1", "app", 1 << 20)  # asked first, sent last
    ids = [_pulled(node, scope, packed) for _ in range(4)]
    with pytest.raises(Conflict, match="expired: newer logs of the fleet took its room"):
        logs.bundle(scope, node, "cam-1", ids[0])
    device = devices.get(scope, node, "cam-1").view.device
    logs.received(node, DeviceRef(device.id, "cam-1", scope.fleet_id, scope.fleet), late.id, packed)
    kept = [one.id for one in logs.listed(scope, node, "cam-1").items if one.state == "received"]
    assert kept == [ids[3], ids[2], late.id]
    assert logs.bundle(scope, node, "cam-1", late.id) == packed
    assert logs.bundle(other, node, "cam-1", theirs) == packed
    with node.db.read() as tx:
        assert set(tx.scalars(sa.select(log_bundles.c.request_id))) == {*kept, theirs}


def test_each_reading_of_a_log_is_recorded_and_none_without_leave(node: Node, scope: Scope) -> None:
    joined(node, scope)
    number = _pulled(node, scope, gzip.compress(LINES))
    api = Client(Starlette(routes=routes(node, table.calls())), bearer=api_key(node, "operator", name="reader"))
    address = f"/devices/cam-1/logs/{number}"
    assert api.request("GET", f"/v1{address}/bundle").status == 200
    page = Client(Starlette(routes=console_app.routes(node)))
    people.create_operator(scope, node, name="ada", roles=[NamedGrant("operator", "*")], password="twelve letters")
    people.create_operator(scope, node, name="vera", roles=[NamedGrant("viewer", "*")], password="twelve letters")
    for name, status in (("ada", 200), ("vera", 403)):
        session = sessions.sign_in(node, name, "twelve letters", user_agent="", address="192.0.2.1").session_secret
        for path in (address, f"{address}/bundle"):
            cookie = {"cookie": f"{cookies.SESSION_COOKIE}={session}"}
            assert page.request("GET", path, headers=cookie).status == status
    viewer = Client(Starlette(routes=routes(node, table.calls())), bearer=api_key(node, "viewer"))
    assert viewer.request("GET", f"/v1{address}/bundle").status == 403
    assert api.request("GET", f"/v1/devices/cam-1/logs/{number + 1}/bundle").status == 404
    with node.db.read() as tx:
        query = sa.select(audit_records).where(audit_records.c.action == "device.logs.read")
        found = tx.execute(query.order_by(audit_records.c.sequence)).all()
    assert [row.actor for row in found] == ["apikey:reader", "user:ada", "user:ada"]
    assert {row.subject for row in found} == {"device:cam-1"}
    assert {row.data for row in found} == {f'{{"request":{number},"source":"app"}}'}


def test_a_bundle_is_measured_and_shown_in_bounded_memory() -> None:
    packed = gzip.compress(LINES)
    assert unpacked_size(packed, len(LINES)) == len(LINES)
    assert tail(packed, 1 << 20) == LINES.decode()
    assert tail(packed, 20) == "line 398\nline 399\n"
    assert tail(gzip.compress(b"x" * 100), 20) == "x" * 20
    raw = zlib.compressobj(wbits=-15)
    with pytest.raises(Invalid, match="not gzip"):
        unpacked_size(raw.compress(LINES) + raw.flush(), 1 << 20)
