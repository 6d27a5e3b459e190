"""Reports survive: acknowledged after the commit, replayed without effect, refused one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from tidegate.control.channel import reports
from tidegate.control.domain.access import Scope
from tidegate.control.services import work
from tidegate.control.services.node import Node
from tidegate.control.store.schema import device_events, devices
from tidegate.testing.channel import Connection, SimulatedDevice, enroll, mint, new_key, running, until
from tidegate.testing.node import admin_scope
from tidegate.wire import device as wire
from tidegate.wire.device_calls import MOST_BYTES

AT = datetime(2026, 5, 1, tzinfo=UTC)
INSTALLATION = "a" * 32


# What happens in memory needs one database.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def scope(node: Node) -> Scope:
    return admin_scope(node)


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def batch(*sequences: int) -> wire.Reports:
    return wire.Reports(INSTALLATION, tuple(wire.Report(number, "r999", "downloading", AT) for number in sequences))


def on_record(node: Node) -> tuple[int, int]:
    with node.db.read() as tx:
        sequence = tx.scalar(sa.select(sa.func.max(devices.c.report_sequence)))
        events = tx.scalar(sa.select(sa.func.count()).select_from(device_events))
    return int(sequence or 0), int(events or 0)


def test_a_batch_sent_twice_changes_nothing(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            given = enroll(node, mint(scope, node), new_key(), "cam-1")
            device = SimulatedDevice(app, Connection(given.certificate_pem), installation=INSTALLATION)
            first = (await device.call("reports", batch(1, 2))).read(wire.ReportsAnswer)
            assert first.report_sequence == 2
            before = on_record(node)
            again = (await device.call("reports", batch(1, 2))).read(wire.ReportsAnswer)
            assert [one.status for one in again.results] == ["replay", "replay"]
            assert on_record(node) == before
            assert (await device.beat()).read(wire.HeartbeatAnswer).report_sequence == 2
            other = SimulatedDevice(app, device.connection, installation="b" * 32)
            assert (await other.beat()).read(wire.HeartbeatAnswer).report_sequence == 0
        async with running(node) as restarted:
            back = SimulatedDevice(restarted, Connection(given.certificate_pem), installation=INSTALLATION)
            assert (await back.beat()).read(wire.HeartbeatAnswer).report_sequence == 2

    run(story)


def test_a_node_that_dies_between_commit_and_answer_loses_nothing(
    node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        given = enroll(node, mint(scope, node), new_key(), "cam-1")
        real = work.report

        def dies(*args: Any) -> Any:
            real(*args)
            raise SystemError("the power went")

        async with running(node) as app:
            device = SimulatedDevice(app, Connection(given.certificate_pem), installation=INSTALLATION)
            with monkeypatch.context() as patched:
                patched.setattr(work, "report", dies)
                assert (await device.call("reports", batch(1))).status == 500
            assert on_record(node)[0] == 1
        async with running(node) as app:
            device = SimulatedDevice(app, Connection(given.certificate_pem), installation=INSTALLATION)
            again = (await device.call("reports", batch(1))).read(wire.ReportsAnswer)
            assert ([one.status for one in again.results], again.report_sequence) == (["replay"], 1)

    run(story)


@on_sqlite
def test_batches_of_many_devices_share_one_transaction(
    node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        sizes: list[int] = []
        real = work.report

        def counted(on: Node, group: Any) -> Any:
            sizes.append(len(group))
            return real(on, group)

        monkeypatch.setattr(work, "report", counted)
        async with running(node) as app:
            fleet = []
            for n in range(8):
                given = enroll(node, mint(scope, node), new_key(), f"cam-{n}")
                fleet.append(SimulatedDevice(app, Connection(given.certificate_pem), installation=INSTALLATION))
            replies = await asyncio.gather(*(device.call("reports", batch(1)) for device in fleet))
            assert [reply.status for reply in replies] == [200] * 8
        assert sum(sizes) == 8
        assert len(sizes) < 8

    run(story)


@on_sqlite
def test_one_batch_does_not_take_the_others_down(node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        real = work.report

        def poisoned(on: Node, group: Any) -> Any:
            if any(device.name == "cam-0" for device, _ in group):
                raise ValueError("nobody foresaw this")
            return real(on, group)

        monkeypatch.setattr(work, "report", poisoned)
        async with running(node) as app:
            fleet = []
            for n in range(4):
                given = enroll(node, mint(scope, node), new_key(), f"cam-{n}")
                fleet.append(SimulatedDevice(app, Connection(given.certificate_pem), installation=INSTALLATION))
            replies = await asyncio.gather(*(device.call("reports", batch(1)) for device in fleet))
            assert [reply.status for reply in replies] == [500, 200, 200, 200]
            assert "nobody foresaw" not in replies[0].problem.detail

    run(story)


@on_sqlite
def test_a_full_queue_says_when_to_come_back(node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MAX_QUEUED", 0)

    async def story() -> None:
        async with running(node) as app:
            given = enroll(node, mint(scope, node), new_key(), "cam-1")
            reply = await SimulatedDevice(app, Connection(given.certificate_pem)).call("reports", batch(1))
            assert (reply.status, reply.headers["retry-after"]) == (503, "5")

    run(story)


def test_a_lost_database_is_no_acknowledgement(node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        def gone(*_args: Any) -> Any:
            raise sa.exc.OperationalError("COMMIT", {}, Exception("connection lost"))

        async with running(node) as app:
            given = enroll(node, mint(scope, node), new_key(), "cam-1")
            device = SimulatedDevice(app, Connection(given.certificate_pem))
            with monkeypatch.context() as patched:
                patched.setattr(work, "report", gone)
                assert (await device.call("reports", batch(1))).status == 503
            assert (await device.call("reports", batch(1))).status == 200

    run(story)


@on_sqlite
def test_shutdown_commits_what_was_taken(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            given = enroll(node, mint(scope, node), new_key(), "cam-1")
            device = SimulatedDevice(app, Connection(given.certificate_pem))
            await device.beat()
            sent = asyncio.create_task(device.call("reports", batch(1)))
            await until(lambda: len(app.reports) > 0 or sent.done())
        assert (await sent).status == 200
        assert on_record(node)[0] == 1

    run(story)


@on_sqlite
def test_an_empty_or_oversized_batch_is_refused_by_name(node: Node, scope: Scope) -> None:
    async def story() -> None:
        async with running(node) as app:
            given = enroll(node, mint(scope, node), new_key(), "cam-1")
            device = SimulatedDevice(app, Connection(given.certificate_pem))
            empty = await device.call("reports", wire.Reports(INSTALLATION, ()))
            assert (empty.status, empty.problem.errors[0].pointer) == (422, "/items")
            many = await device.call("reports", batch(*range(1, 502)))
            assert (many.status, many.problem.errors[0].pointer) == (422, "/items")
            large = await device.call("reports", b" " * (MOST_BYTES[wire.Reports] + 1))
            assert large.status == 413

    run(story)
