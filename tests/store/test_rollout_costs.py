"""Releasing, halting and reporting cost the same statements for ten devices and for a thousand; both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from tidegate.control.domain.rollouts.model import AssignmentState, Verb
from tidegate.control.services import rollouts, work
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import NewRollout, RolloutDetail, Target
from tidegate.control.store.engine import Database
from tidegate.control.store.schema import assignments, rollout_waves
from tidegate.testing.fleet import SimDevice, catalog, enroll
from tidegate.testing.node import admin_scope
from tidegate.wire.device import Report, Reports

SIZES = (10, 1000)
STRATEGY = {"approval": "manual", "waves": [{"count": 5}, {"percent": 100}]}


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)


def counted(node: Node, act: Callable[[], object]) -> int:
    with statements(node.db) as seen:
        act()
    return len(seen)


def prepared(node: Node, size: int) -> tuple[list[SimDevice], RolloutDetail]:
    scope = admin_scope(node)
    catalog(node, scope, f"vad-{size}", "5")
    fleet = enroll(node, scope, [f"d{size}-{n}" for n in range(size)], group=f"g{size}")
    request = NewRollout(f"vad-{size}", "5", Target(group=f"g{size}"), STRATEGY)
    return fleet, rollouts.create_rollout(scope, node, request)


def in_first_wave(node: Node, rollout: RolloutDetail) -> set[int]:
    with node.db.read() as tx:
        query = sa.select(assignments.c.device_id).where(
            assignments.c.rollout_id == rollout.id, assignments.c.wave == 1
        )
        return set(tx.scalars(query))


def test_the_same_statements_at_ten_and_at_a_thousand(node: Node) -> None:
    scope = admin_scope(node)
    costs = []
    for size in SIZES:
        fleet, rollout = prepared(node, size)
        release = counted(node, lambda r=rollout: rollouts.command_rollout(scope, node, r.id, Verb.APPROVE))
        first = in_first_wave(node, rollout)
        served = [device for device in fleet if device.ref.id in first and work.desired(node, device.ref).work]
        assert len(served) == 5
        fact = (Report(1, f"r{rollout.id}", "healthy", datetime.now(UTC)),)
        batch = [(device.ref, Reports(device.installation, fact)) for device in served]
        report = counted(node, lambda b=batch: work.report(node, b))
        halt = counted(node, lambda r=rollout: rollouts.command_rollout(scope, node, r.id, Verb.HALT))
        resume = counted(node, lambda r=rollout: rollouts.command_rollout(scope, node, r.id, Verb.RESUME))
        costs.append({"release": release, "report": report, "halt": halt, "resume": resume})
    assert costs[0] == costs[1]
    assert costs[0]["report"] <= 16, "five devices cost no more statements than one"


def test_counters_are_what_the_assignments_say(node: Node) -> None:
    scope = admin_scope(node)
    fleet, rollout = prepared(node, 10)
    rollouts.command_rollout(scope, node, rollout.id, Verb.APPROVE)
    for index, device in enumerate(fleet):
        device.outcome = lambda item, n=index: ("healthy", "failed", "rolled_back")[n % 3]
        device.tick()
    rollouts.command_rollout(scope, node, rollout.id, Verb.ABORT_REVERT)
    for device in fleet:
        device.tick()
    mine = assignments.c.rollout_id == rollout.id
    query = sa.select(assignments.c.wave, assignments.c.state, sa.func.count().label("n")).where(mine)
    with node.db.read() as tx:
        found = tx.execute(query.group_by(assignments.c.wave, assignments.c.state)).all()
        waves = tx.execute(sa.select(rollout_waves).where(rollout_waves.c.rollout_id == rollout.id)).all()
    for wave in waves:
        counters = {state.value: getattr(wave, state.value) for state in AssignmentState}
        assert {state: count for state, count in counters.items() if count} == {
            row.state: row.n for row in found if row.wave == wave.wave
        }
