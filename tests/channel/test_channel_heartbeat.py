"""Heartbeats from memory, held answers, presence in batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import event

from tidegate.control.channel import desk
from tidegate.control.channel.app import ChannelApp
from tidegate.control.domain.access import Scope
from tidegate.control.domain.devices import DeviceRef
from tidegate.control.services import devices, groups, holds
from tidegate.control.services.devices import Search
from tidegate.control.services.holds import HeldFleet, HeldGroup
from tidegate.control.services.hub import Hub
from tidegate.control.services.node import Node
from tidegate.control.store import devices as device_store
from tidegate.control.store import engine
from tidegate.control.store.schema import artifacts, device_artifacts
from tidegate.testing.channel import (
    SOON_SECONDS,
    Connection,
    SimulatedDevice,
    call,
    enroll,
    mint,
    new_key,
    running,
    until,
)
from tidegate.testing.node import admin_scope
from tidegate.wire import device as wire
from tidegate.wire.descriptor import Descriptor, PayloadFile, encode

INSTALLED = (wire.Installed("model", "1", "0" * 64),)


# What happens in memory needs one database.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def scope(node: Node) -> Scope:
    return admin_scope(node)


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def simulated(node: Node, scope: Scope, app: ChannelApp, name: str = "cam-1") -> tuple[SimulatedDevice, DeviceRef]:
    given = enroll(node, mint(scope, node), new_key(), name)
    return SimulatedDevice(app, Connection(given.certificate_pem)), given.device


def give_work(node: Node, device: DeviceRef) -> None:
    """What a wiped device is owed: its model restored."""
    descriptor = encode(Descriptor("default", "model", "1", "model", (PayloadFile("a.onnx", "0" * 64, 1),))).decode()
    with node.db.write() as tx:
        now = engine.now(tx)
        row = {
            "fleet_id": device.fleet_id, "name": "model", "version": "1", "kind": "model", "descriptor": descriptor,
            "descriptor_sha256": "1" * 64, "size_bytes": 1, "published_at": now, "published_by": "user:admin",
        }  # fmt: skip
        artifact_id = tx.execute(artifacts.insert().values(row).returning(artifacts.c.id)).scalar_one()
        owed = {
            "device_id": device.id,
            "artifact_name": "model",
            "goal_artifact_id": artifact_id,
            "restore_state": "pending",
        }
        tx.execute(device_artifacts.insert().values(owed))
        device_store.bump(tx, device.fleet_id)


@contextmanager
def statements(node: Node) -> Iterator[list[str]]:
    """Every statement that reaches the database meanwhile, from any thread."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    event.listen(node.db.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(node.db.engine, "before_cursor_execute", note)


def test_an_unchanged_heartbeat_reaches_no_database(node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        given = enroll(node, mint(scope, node), new_key(), "cam-1")
        async with running(node) as app:
            device = SimulatedDevice(app, Connection(given.certificate_pem))
            await device.beat(installed=INSTALLED)
            await app.stop_keeping_up()  # what keeps up in the background reads by itself, not for a heartbeat
            with statements(node) as seen:
                for _ in range(50):
                    answer = (await device.beat(installed=INSTALLED)).read(wire.HeartbeatAnswer)
                    assert answer.desired is msgspec.UNSET
                    beat = wire.Heartbeat(device.installation, INSTALLED, seen=device.seen)
                    assert app.heartbeat_at_once(device.connection.tls, msgspec.json.encode(beat)) is not None
            assert seen == []

    run(story)


@on_sqlite
def test_an_answer_at_once_is_the_applications_answer(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            device, ref = simulated(node, scope, app)
            tls = device.connection.tls

            def at_once(**said: Any) -> wire.HeartbeatAnswer | None:
                beat = wire.Heartbeat(installation=device.installation, **said)
                answer = app.heartbeat_at_once(tls, msgspec.json.encode(beat))
                return None if answer is None else msgspec.json.decode(answer, type=wire.HeartbeatAnswer)

            assert at_once() is None  # not admitted on this connection before
            await app.identities.refresh()  # what the enrollment changed is read before it can be read in between
            told = (await device.beat(installed=INSTALLED)).read(wire.HeartbeatAnswer)
            app.presence._unwritten.clear()
            same = at_once(installed=INSTALLED, seen=device.seen)
            asked = (await device.beat(installed=INSTALLED)).read(wire.HeartbeatAnswer)
            assert same is not None
            assert msgspec.structs.replace(same, server_time=asked.server_time) == asked
            assert app.presence.unwritten == 1
            first = at_once(installed=INSTALLED)
            assert first is not None and first.desired == told.desired
            assert at_once(installed=()) is None  # other software: the rollouts must be told
            assert at_once(installed=INSTALLED, seen=device.seen, wait_seconds=5) is None  # wants to wait
            assert app.heartbeat_at_once(tls, b"{") is None
            app.desk.mark({ref.id})
            assert at_once(installed=INSTALLED, seen=device.seen) is None  # something may be new
            await device.beat(installed=INSTALLED)
            assert at_once(installed=INSTALLED, seen=device.seen) is not None
            devices.decommission(scope, node, "cam-1")
            await app.identities.refresh()
            assert at_once(installed=INSTALLED, seen=device.seen) is None

    run(story)


def test_a_held_heartbeat_wakes_within_a_moment_of_a_change(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            device, ref = simulated(node, scope, app)
            await device.beat()
            held = asyncio.create_task(device.beat(wait_seconds=60))
            await until(lambda: app.heartbeats.held == 1)
            await asyncio.to_thread(give_work, node, ref)
            changed = time.monotonic()
            node.hub.nudge("devices", ref.fleet_id, {ref.id})
            answer = (await held).read(wire.HeartbeatAnswer)
            assert time.monotonic() - changed < SOON_SECONDS  # the wait itself is 60 s
            assert isinstance(answer.desired, wire.DesiredState)
            assert [(one.kind, one.artifact, one.version) for one in answer.desired.work] == [("restore", "model", "1")]
            assert answer.desired_digest == desk.digest_of(answer.desired)
            assert app.heartbeats.held == 0

    run(story)


def test_a_held_heartbeat_wakes_without_a_nudge_when_the_generation_moves(
    node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.control.channel.app.POLL_SECONDS", 0.05)

    async def story() -> None:
        async with running(replace(node, hub=Hub())) as app:
            device, ref = simulated(node, scope, app)
            await device.beat()
            held = asyncio.create_task(device.beat(wait_seconds=60))
            await until(lambda: app.heartbeats.held == 1)
            await asyncio.to_thread(give_work, node, ref)
            answer = (await held).read(wire.HeartbeatAnswer)
            assert isinstance(answer.desired, wire.DesiredState)

    run(story)


@on_sqlite
def test_a_change_that_is_none_for_the_device_keeps_it_held(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            device, ref = simulated(node, scope, app)
            await device.beat()
            held = asyncio.create_task(device.beat(wait_seconds=60))
            await until(lambda: app.heartbeats.held == 1)
            standing = app.desk.standing(ref, None, 0)
            node.hub.nudge("devices", ref.fleet_id, {ref.id})
            await until(lambda: standing.wanted > 2 and not standing.stale)
            assert app.heartbeats.held == 1
            app.release_held()
            assert (await held).status == 200

    run(story)


@on_sqlite
def test_shutdown_answers_what_is_held(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            device, _ = simulated(node, scope, app)
            await device.beat()
            held = asyncio.create_task(device.beat(wait_seconds=60))
            await until(lambda: app.heartbeats.held == 1)
        answer = (await asyncio.wait_for(held, SOON_SECONDS)).read(wire.HeartbeatAnswer)
        assert answer.desired is msgspec.UNSET

    run(story)


@on_sqlite
def test_one_held_heartbeat_per_device_and_none_for_a_closed_connection(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            device, _ = simulated(node, scope, app)
            await device.beat()
            older = asyncio.create_task(device.beat(wait_seconds=60))
            await until(lambda: app.heartbeats.held == 1)
            second = SimulatedDevice(app, Connection(device.connection.certificate_pem), seen=device.seen)
            newer = asyncio.create_task(second.beat(wait_seconds=60))
            assert (await asyncio.wait_for(older, SOON_SECONDS)).status == 200
            assert app.heartbeats.held == 1
            second.connection.close()
            await asyncio.wait_for(newer, SOON_SECONDS)
            assert app.heartbeats.held == 0

    run(story)


@on_sqlite
def test_no_more_than_max_held_are_held(node: Node, scope: Scope) -> None:
    small = replace(node, settings=msgspec.structs.replace(node.settings, max_held=1))

    async def story() -> None:
        async with running(small) as app:
            one, _ = simulated(small, scope, app, "cam-1")
            two, _ = simulated(small, scope, app, "cam-2")
            await one.beat()
            await two.beat()
            held = asyncio.create_task(one.beat(wait_seconds=60))
            await until(lambda: app.heartbeats.held == 1)
            assert (await asyncio.wait_for(two.beat(wait_seconds=60), SOON_SECONDS)).status == 200
            app.release_held()
            await held

    run(story)


@on_sqlite
def test_the_wait_ends_with_the_interval(node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.Desk, "interval_seconds", lambda _self, _fleet: 1)

    async def story() -> None:
        async with running(node) as app:
            device, _ = simulated(node, scope, app)
            await device.beat()
            started = time.monotonic()
            assert (await device.beat(wait_seconds=60)).status == 200
            assert 0.9 < time.monotonic() - started < SOON_SECONDS

    run(story)


def test_a_freeze_and_a_group_hold_reach_the_device_and_end(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            device, ref = simulated(node, scope, app)
            groups.create(scope, node, "lab", ["cam-1"])
            assert (await device.beat()).status == 200
            for subject in (HeldFleet(), HeldGroup("lab")):
                holds.hold(scope, node, subject, "maintenance")
                assert [hold.reason for _, hold in devices.get(scope, node, "cam-1").holds] == ["maintenance"]
                holds.release(scope, node, subject)
                assert devices.get(scope, node, "cam-1").holds == []
            assert ref.name == "cam-1"

    run(story)


def test_presence_is_written_in_batches_and_kept_when_it_cannot_be(
    node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with running(node) as app:
            fleet = [simulated(node, scope, app, f"cam-{n}")[0] for n in range(5)]
            for device in fleet:
                await device.beat(waiting_on="nothing", in_progress=(wire.InProgress("r1", "downloading", "7 %"),))
            assert devices.counts(scope, node).never == 5
            assert app.presence.unwritten == 5
            with monkeypatch.context() as broken:
                broken.setattr(device_store, "flush_presence", _broken)
                await app.presence.flush()
            assert app.presence.unwritten == 5
            with statements(node) as seen:
                await app.presence.flush()
            assert len([one for one in seen if one.startswith("UPDATE devices")]) == 1
            assert devices.counts(scope, node).online == 5
            found = devices.listed(scope, node, Search(presence="online")).items[0].device
            assert (found.waiting_on, found.in_progress[0].detail) == ("nothing", "7 %")
            await fleet[0].beat(waiting_on="nothing", in_progress=(wire.InProgress("r1", "downloading", "7 %"),))
            assert [one.in_progress for one in app.presence._unwritten.values()] == [None]

    run(story)


def _broken(*_args: object) -> None:
    raise sa.exc.OperationalError("UPDATE", {}, Exception("the disk is gone"))


def test_a_device_that_is_silent_is_offline_only_while_it_could_call(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            device, ref = simulated(node, scope, app)
            await device.beat()
            await app.presence.flush()
            with node.db.write() as tx:
                up = device_store.channel_up(tx)
                assert up is not None
                long_ago = up.until.replace(year=2020)
                device_store.update(tx, ref.id, last_seen_at=long_ago)
            assert devices.counts(scope, node).offline == 0  # the channel came up only now
            with node.db.write() as tx:
                device_store.record_channel_up(tx, replace(up, since=long_ago))
            assert devices.counts(scope, node).offline == 1
            assert devices.get(scope, node, "cam-1").view.presence == "offline"
            assert [one.device.name for one in devices.listed(scope, node, Search(presence="offline")).items] == [
                "cam-1"
            ]

    run(story)


@on_sqlite
def test_too_many_at_the_database_are_sent_away(node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with running(node) as app:
            device, _ = simulated(node, scope, app)
            monkeypatch.setattr(desk, "MAX_WAITING", 0)
            reply = await device.beat()
            assert (reply.status, reply.problem.retry_after_seconds) == (503, 15)

    run(story)


@on_sqlite
def test_the_repository_is_for_devices_only(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            device, _ = simulated(node, scope, app)
            path = "/repository/metadata/timestamp.json"
            assert (await call(app, Connection(None), path, method="GET")).status == 401
            assert (await call(app, device.connection, path, method="GET")).status == 404  # the stand-in's answer

    run(story)
