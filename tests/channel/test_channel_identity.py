"""Who is served and who is not, on every request, from memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from tidegate.control.channel import identity
from tidegate.control.domain.access import Scope
from tidegate.control.services import devices
from tidegate.control.services.hub import Hub
from tidegate.control.services.node import Node
from tidegate.control.store import devices as device_store
from tidegate.control.store.schema import device_certificates
from tidegate.testing.channel import (
    Connection,
    SimulatedDevice,
    call,
    csr,
    enroll,
    mint,
    new_key,
    running,
    until,
)
from tidegate.testing.node import admin_scope
from tidegate.wire import device as wire

# What happens in memory needs one database.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def scope(node: Node) -> Scope:
    return admin_scope(node)


def joined(node: Node, scope: Scope, name: str = "cam-1") -> Connection:
    return Connection(enroll(node, mint(scope, node), new_key(), name).certificate_pem)


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def shift(node: Node, by: timedelta) -> None:
    """Move the certificates' recorded times, as waiting would."""
    table = device_certificates
    with node.db.write() as tx:
        for row in tx.execute(sa.select(table)).all():
            times = {"not_before": row.not_before + by, "not_after": row.not_after + by}
            tx.execute(sa.update(table).where(table.c.id == row.id).values(times))


async def refusal(device: SimulatedDevice) -> tuple[int, str]:
    reply = await device.beat()
    return reply.status, reply.problem.kind


@on_sqlite
def test_an_enrolled_device_is_served_at_once(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            device = SimulatedDevice(app, joined(node, scope))
            answer = (await device.beat()).read(wire.HeartbeatAnswer)
            assert answer.interval_seconds == 5
            assert answer.ca_bundle == node.keyring.server_ca_pem().decode()
            again = (await device.beat()).read(wire.HeartbeatAnswer)
            assert (again.ca_bundle, again.ca_bundle_sha256) == ("", answer.ca_bundle_sha256)

    run(story)


def test_refusals_by_name(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            nobody = SimulatedDevice(app, Connection(None))
            assert await refusal(nobody) == (401, "certificate-unknown")
            foreign = joined(node, scope, "cam-9")
            with node.db.write() as tx:
                tx.execute(sa.delete(device_certificates))
            app.identities._live.clear()  # as on a replica that never saw it
            assert await refusal(SimulatedDevice(app, foreign)) == (401, "certificate-unknown")
            old = joined(node, scope)
            enroll(node, devices.recover(scope, node, "cam-1").secret, new_key())
            await app.identities.refresh()
            assert await refusal(SimulatedDevice(app, old)) == (403, "certificate-replaced")

    run(story)


def test_use_of_a_retired_certificate_is_an_identity_conflict_noted_once(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            old = SimulatedDevice(app, joined(node, scope))
            enroll(node, devices.recover(scope, node, "cam-1").secret, new_key())
            await app.identities.refresh()
            told: list[bool] = []  # at each nudge, whether it can be read already
            stop = node.hub.subscribe(
                lambda _: told.append(devices.get(scope, node, "cam-1").view.device.identity_conflict_at is not None)
            )
            for _ in range(3):
                assert await refusal(old) == (403, "certificate-replaced")
            stop()
            assert told == [True]  # open pages show it
        detail = devices.get(scope, node, "cam-1")
        assert detail.view.device.identity_conflict_at is not None
        assert [event.kind for event in detail.events].count("identity-conflict") == 1

    run(story)


@pytest.mark.parametrize("stop_workloads", [False, True])
def test_a_decommissioned_device_is_told_so_on_its_open_connection(
    node: Node, scope: Scope, stop_workloads: bool
) -> None:
    async def story() -> None:
        async with running(node) as app:
            device = SimulatedDevice(app, joined(node, scope))
            assert (await device.beat()).status == 200
            devices.decommission(scope, node, "cam-1", stop_workloads=stop_workloads)
            await until(lambda: not app.identities._live)
            reply = await device.beat()
            assert (reply.status, reply.problem.kind) == (403, "device-decommissioned")
            assert reply.problem.stop_workloads == stop_workloads

    run(story)


def test_a_decommission_reaches_a_replica_that_hears_no_nudge(
    node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "POLL_SECONDS", 0.02)

    async def story() -> None:
        replica = replace(node, hub=Hub())
        async with running(replica) as app:
            device = SimulatedDevice(app, joined(node, scope))
            assert (await device.beat()).status == 200
            devices.decommission(scope, node, "cam-1")
            await until(lambda: not app.identities._live)
            assert await refusal(device) == (403, "device-decommissioned")

    run(story)


@on_sqlite
def test_nobody_is_served_from_a_memory_that_may_be_too_old(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            device = SimulatedDevice(app, joined(node, scope))
            assert (await device.beat()).status == 200
            app.identities.max_age_seconds = -1.0
            reply = await device.beat()
            assert (reply.status, reply.headers["retry-after"]) == (503, "5")

    run(story)


def test_an_expired_certificate_may_only_renew_and_only_in_its_grace(node: Node, scope: Scope) -> None:
    async def story() -> None:
        connection = joined(node, scope)
        shift(node, timedelta(days=-100))
        async with running(node) as app:
            device = SimulatedDevice(app, connection)
            assert await refusal(device) == (403, "certificate-expired")
            for name, body in (
                ("leave", wire.LeaveRequest(work="r1")),
                ("register", wire.Register(hardware=wire.HardwareProfile(), agent_version="1")),
            ):
                assert (await device.call(name, body)).problem.kind == "certificate-expired"
            renewed = (await device.call("renew", wire.Renew(csr(new_key())))).read(wire.Renewed)
            fresh = SimulatedDevice(app, Connection(renewed.certificate_chain_pem))
            assert (await fresh.beat()).status == 200
        node_without_grace = make_grace(node, 0)
        shift(node, timedelta(days=-100))
        async with running(node_without_grace) as app:
            late = SimulatedDevice(app, fresh.connection)
            late.connection.tls.clear()
            late.connection.__post_init__()
            reply = await late.call("renew", wire.Renew(csr(new_key())))
            assert (reply.status, reply.problem.kind) == (403, "certificate-expired")

    run(story)


def make_grace(node: Node, days: int) -> Node:
    return replace(node, settings=msgspec.structs.replace(node.settings, renewal_grace_days=days))


@on_sqlite
def test_a_certificate_from_the_future_is_not_served_yet(node: Node, scope: Scope) -> None:
    async def story() -> None:
        connection = joined(node, scope)
        shift(node, timedelta(days=1))
        async with running(node) as app:
            assert await refusal(SimulatedDevice(app, connection)) == (403, "certificate-not-yet-valid")

    run(story)


def test_first_use_of_the_renewed_certificate_retires_the_old_one(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            old = SimulatedDevice(app, joined(node, scope))
            key = new_key()
            first = (await old.call("renew", wire.Renew(csr(key)))).read(wire.Renewed)
            again = (await old.call("renew", wire.Renew(csr(key)))).read(wire.Renewed)
            assert again.certificate_chain_pem == first.certificate_chain_pem
            assert first.ca_bundle_pem == node.keyring.server_ca_pem().decode()
            assert (await old.beat()).status == 200  # the old one serves until the new one is used
            new = SimulatedDevice(app, Connection(first.certificate_chain_pem))
            assert (await new.beat()).status == 200
            assert await refusal(old) == (403, "certificate-replaced")
            assert [one.state for one in devices.get(scope, node, "cam-1").certificates] == ["current", "retired"]

    run(story)


@on_sqlite
def test_renewals_that_are_refused(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            key = new_key()
            made = enroll(node, mint(scope, node), key, "cam-1")
            device = SimulatedDevice(app, Connection(made.certificate_pem))
            same = await device.call("renew", wire.Renew(csr(key)))
            assert (same.status, same.problem.kind) == (409, "key-reused")
            assert (await device.call("renew", wire.Renew(csr(new_key())))).status == 200
            soon = await device.call("renew", wire.Renew(csr(new_key())))
            assert (soon.status, soon.problem.kind) == (429, "renewed-too-often")
            assert int(soon.headers["retry-after"]) == 60
            bad = await device.call("renew", wire.Renew("nonsense"))
            assert (bad.status, bad.problem.errors[0].pointer) == (422, "/csr_pem")

    run(story)


@on_sqlite
def test_four_connections_of_one_device(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            pem = joined(node, scope).certificate_pem
            open_ones = [SimulatedDevice(app, Connection(pem)) for _ in range(4)]
            for device in open_ones:
                assert (await device.beat()).status == 200
            fifth = SimulatedDevice(app, Connection(pem))
            reply = await fifth.beat()
            assert (reply.status, reply.headers["connection"]) == (429, "close")
            open_ones[0].connection.close()
            assert (await fifth.beat()).status == 200

    run(story)


@on_sqlite
def test_paths_methods_and_bodies_that_are_refused(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            connection = joined(node, scope)
            path = "/v1/device/heartbeat"
            assert (await call(app, connection, "/v1/device/nothing")).status == 404
            assert (await call(app, connection, "/v1/devices")).status == 404
            got = await call(app, connection, path, method="GET")
            assert (got.status, got.headers["allow"]) == (405, "POST")
            assert (await call(app, connection, path, b"{")).status == 400
            unknown = await call(app, connection, path, b'{"installation":"%s","colour":1}' % (b"0" * 32))
            assert (unknown.status, unknown.problem.errors[0].pointer) == (422, "/colour")
            short = await call(app, connection, path, b'{"installation":"zz"}')
            assert (short.status, short.problem.errors[0].pointer) == (422, "/installation")
            assert (await call(app, connection, path, b" " * ((1 << 20) + 1))).status == 413
            device = SimulatedDevice(app, connection)
            tags = wire.Register(wire.HardwareProfile(), "1", {"site": "\n"})
            assert (await device.call("register", tags)).problem.errors[0].pointer == "/declared_tags/site"

    run(story)


def test_registering_twice_changes_nothing(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            device = SimulatedDevice(app, joined(node, scope))
            said = wire.Register(wire.HardwareProfile(arch="aarch64", ram_bytes=1 << 30), "0.1.0", {"room": "b"})
            answer = (await device.call("register", said)).read(wire.Registered)
            assert (answer.device, answer.fleet, answer.interval_seconds) == ("cam-1", "default", 5)
            with node.db.read() as tx:
                before = device_store.generations(tx)
            assert (await device.call("register", said)).status == 200
            with node.db.read() as tx:
                assert device_store.generations(tx) == before
        detail = devices.get(scope, node, "cam-1").view.device
        assert (detail.hardware["arch"], detail.declared_tags, detail.tags) == ("aarch64", {"room": "b"}, {})

    run(story)
