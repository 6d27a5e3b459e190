"""Create, release, halt, one report at 10³ to 10⁵ devices on SQLite, beside a bare `executemany` of the same rows."""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from bench.table import table
from tidegate.control.domain.devices import DeviceRef
from tidegate.control.domain.rollouts.model import Verb
from tidegate.control.services import rollouts, work
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import NewRollout, Target
from tidegate.control.store import engine, migrations
from tidegate.control.store.engine import Database
from tidegate.control.store.schema import assignments, devices
from tidegate.ids import DeviceId
from tidegate.testing.fleet import SimDevice, catalog
from tidegate.testing.node import admin_scope, make_node
from tidegate.wire.device import Report, Reports

SIZES = (1_000, 10_000, 100_000)
ROUNDS = 5
STRATEGY = {"waves": [{"percent": 1, "approval": "manual"}, {"percent": 10}, {"percent": 100}]}


def _took(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def _fleet(node: Node, size: int) -> None:
    scope = admin_scope(node)
    with node.db.write() as tx:
        at = engine.now(tx)
        common = {"fleet_id": scope.fleet_id, "state": "active", "created_at": at, "enrolled_at": at}
        tx.execute(devices.insert(), [{**common, "name": f"d{number}"} for number in range(size)])


def _floor(folder: Path, size: int) -> float:
    """The assignments' rows into a bare table with the same key and indexes, one durable transaction."""
    database = sqlite3.connect(folder / "floor.db", isolation_level=None)
    for statement in (
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",
        "CREATE TABLE a (rollout INTEGER, device INTEGER, wave INTEGER, state TEXT, since INTEGER,"
        " PRIMARY KEY (rollout, device))",
        "CREATE INDEX a1 ON a (device, state)",
        "CREATE INDEX a2 ON a (rollout, state, wave)",
    ):
        database.execute(statement)
    rows = [(1, number, 1, "pending", 0) for number in range(size)]
    started = time.perf_counter()
    database.execute("BEGIN IMMEDIATE")
    database.executemany("INSERT INTO a VALUES (?, ?, ?, ?, ?)", rows)
    database.execute("COMMIT")
    took = time.perf_counter() - started
    database.close()
    return took


def _measure(folder: Path, size: int) -> tuple[str, ...]:
    database = Database(f"sqlite:///{folder / 'tidegate.db'}")
    migrations.upgrade(database)
    node = make_node(folder, database)
    scope = admin_scope(node)
    catalog(node, scope, "vad", "1")
    _fleet(node, size)
    floor = _floor(folder, size)
    made: list[rollouts.RolloutDetail] = []
    request = NewRollout("vad", "1", Target(everyone=True), STRATEGY)
    create = _took(lambda: made.append(rollouts.create_rollout(scope, node, request)))

    def command(verb: Verb) -> Callable[[], object]:
        return lambda: rollouts.command_rollout(scope, node, made[0].id, verb)

    release = _took(command(Verb.APPROVE))
    reports = [_report(node, made[0].id, one) for one in _first_wave(node, made[0].id)]
    halts = []
    for _ in range(ROUNDS):
        halts.append(_took(command(Verb.HALT)))
        command(Verb.RESUME)()
    database.dispose()
    milliseconds = [f"{one * 1e3:,.1f} ms" for one in (release, statistics.median(reports), statistics.median(halts))]
    return f"{size:,}", f"{floor:.2f} s", f"{create:.2f} s", f"{create / floor:.1f} x", *milliseconds


def _first_wave(node: Node, rollout: int) -> list[SimDevice]:
    scope = admin_scope(node)
    query = (
        sa.select(devices.c.id, devices.c.name)
        .join(assignments, assignments.c.device_id == devices.c.id)
        .where(assignments.c.rollout_id == rollout, assignments.c.wave == 1)
        .limit(ROUNDS)
    )
    with node.db.read() as tx:
        rows = tx.execute(query).all()
    return [SimDevice(node, DeviceRef(DeviceId(row.id), row.name, scope.fleet_id, scope.fleet)) for row in rows]


def _report(node: Node, rollout: int, device: SimDevice) -> float:
    work.desired(node, device.ref)
    fact = Report(1, f"r{rollout}", "downloading", datetime.now(UTC))
    return _took(lambda: work.report(node, [(device.ref, Reports(device.installation, (fact,)))]))


def main() -> str:
    rows = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as temporary:
            rows.append(_measure(Path(temporary), size))
    head = (
        "devices",
        "floor: the rows by executemany",
        "create",
        "of the floor",
        "release a wave",
        "one report",
        "halt",
    )
    return table("A rollout on SQLite", head, rows)
