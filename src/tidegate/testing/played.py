"""Rollouts played to a state to look at: created, released, halted by the program; what devices report, set by set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.access import Scope
from tidegate.control.domain.rollouts.model import IN_FLIGHT, AssignmentState, Verb
from tidegate.control.services import rollouts
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import NewRollout, Target
from tidegate.control.services.rollouts.planning import plan_all
from tidegate.control.store import engine
from tidegate.control.store.assignments import Event, write_events
from tidegate.control.store.schema import artifacts, assignments, device_artifacts, rollout_waves
from tidegate.control.store.schema import rollouts as rollout_table
from tidegate.ids import DeviceId, RolloutId
from tidegate.wire.device import ExecProbe

_S = AssignmentState
_TROUBLE = {_S.FAILED, _S.ROLLED_BACK}
MOST_EVENTS = 60
_GOING_BACK = {"reverting": 0.4, "reverted": 0.4, "revert_failed": 0.1}
_REASONS = {
    _S.FAILED: "deadline 2 h passed: the last try stopped at 212 MiB of 394 MiB, the proxy closed the connection",
    _S.ROLLED_BACK: "probe exec self-test failed 3 of 3",
    _S.REVERT_FAILED: "probe exec self-test of 2.2.4 failed 3 of 3",
    _S.DOWNLOADING: "41 % of 394 MiB",
    _S.PROBING: "attempt 2 of 3",
}
_OUTPUT = "Traceback: CUDA out of memory while warming up weld-seam-detector, 1.9 GiB wanted, 1.1 GiB free"


@dataclass(frozen=True, slots=True)
class Played:
    """`outcomes`: for each released wave the share of it in each state; what is left over stays pending.

    `group` None is the whole fleet. Waves that need approval get it as long as there are outcomes left.
    """

    artifact: str
    version: str
    group: str | None
    waves: Sequence[Mapping[str, object]]
    outcomes: Sequence[Mapping[str, float]]
    rate: str = "0"
    abort: str = ""
    start_in: timedelta | None = None


def play(node: Node, scope: Scope, played: Played) -> int:
    """Create the rollout and bring it to where `played` says; gives its id."""
    target = Target(everyone=True) if played.group is None else Target(group=played.group)
    request = NewRollout(
        artifact=played.artifact,
        version=played.version,
        target=target,
        strategy={"waves": list(played.waves), "max_failure_rate": played.rate},
        probes=(ExecProbe(name="self-test"),),
        start_at=node.clock.now() + played.start_in if played.start_in else None,
    )
    made = rollouts.create_rollout(scope, node, request)
    for wave, shares in enumerate(played.outcomes, start=1):
        plan_all(node)
        found = rollouts.get_rollout(scope, node, made.id)
        approve = next((one for one in found.verbs if one.verb is Verb.APPROVE and one.possible), None)
        if found.released_wave < wave and approve is not None:
            rollouts.command_rollout(scope, node, made.id, Verb.APPROVE, reason="looks good")
        with node.db.write() as tx:
            _report(tx, scope, made.id, wave, shares, engine.now(tx))
    plan_all(node)
    if played.abort:
        verb = Verb.ABORT_REVERT if played.abort == "revert" else Verb.ABORT_KEEP
        rollouts.command_rollout(scope, node, made.id, verb, reason="not what the line needs")
        plan_all(node)
    if played.abort == "revert":
        with node.db.write() as tx:
            _report(tx, scope, made.id, 1, _GOING_BACK, engine.now(tx), of=_S.HEALTHY)
    return int(made.id)


def _report(
    tx: Connection,
    scope: Scope,
    rollout_id: RolloutId,
    wave: int,
    shares: Mapping[str, float],
    now: datetime,
    of: AssignmentState = _S.PENDING,
) -> None:
    """A released wave's devices, as their reports would have left them."""
    query = sa.select(assignments.c.device_id).where(
        assignments.c.rollout_id == rollout_id, assignments.c.wave == wave, assignments.c.state == of
    )
    rollout = tx.execute(sa.select(rollout_table).where(rollout_table.c.id == rollout_id)).one()
    if rollout.released_wave < wave:
        return
    devices = [DeviceId(row.device_id) for row in tx.execute(query.order_by(assignments.c.device_id))]
    reported = list(_spread(devices, shares))
    rows = [_assignment(one, state, wave, rollout, now) for one, state in reported]
    if not rows:
        return
    keyed = assignments.update().where(
        assignments.c.rollout_id == sa.bindparam("of_rollout"), assignments.c.device_id == sa.bindparam("of_device")
    )
    tx.execute(keyed, [{"of_rollout": rollout_id, **row} for row in rows])
    _count(tx, rollout_id, wave)
    tx.execute(
        rollout_table.update()
        .where(rollout_table.c.id == rollout_id)
        .values(
            generation=rollout_table.c.generation + 1,
            first_served_at=sa.func.coalesce(
                rollout_table.c.first_served_at, sa.literal(now, rollout_table.c.first_served_at.type)
            ),
        )
    )
    _installed(tx, rollout, [one for one, state in reported if state is _S.HEALTHY], now)
    events = [Event(scope.fleet_id, one, rollout_id, str(state), _REASONS.get(state, "")) for one, state in reported]
    events.sort(key=lambda event: event.kind in {str(state) for state in _TROUBLE})
    write_events(tx, events[-MOST_EVENTS:], now)


def _spread(devices: Sequence[DeviceId], shares: Mapping[str, float]) -> Iterator[tuple[DeviceId, AssignmentState]]:
    """Devices in their order; of few devices the largest shares get them."""
    at, cumulative = 0, 0.0
    for name, share in sorted(shares.items(), key=lambda item: -item[1]):
        cumulative += share
        until = int(cumulative * len(devices) + 0.501)
        for one in devices[at:until]:
            yield one, AssignmentState(name)
        at = max(at, until)


def _assignment(
    device: DeviceId, state: AssignmentState, wave: int, rollout: sa.Row[tuple[object, ...]], now: datetime
) -> dict[str, object]:
    seconds = int(device) % 600
    return {
        "of_device": device,
        "state": state,
        "state_since": now - timedelta(seconds=seconds),
        "served_at": now - timedelta(seconds=seconds + 120),
        "leave_at": None if state in (_S.ASSIGNED, _S.DOWNLOADING, _S.VERIFYING) else now - timedelta(seconds=seconds),
        "deadline_at": now + timedelta(hours=20) if state in IN_FLIGHT else None,
        "failed_resume_count": rollout.resume_count if state in _TROUBLE else None,
        "reason": _REASONS.get(state, ""),
        "output": _OUTPUT if state is _S.ROLLED_BACK else "",
    }


def _count(tx: Connection, rollout_id: RolloutId, wave: int) -> None:
    """The wave's counters, from its assignments."""
    query = (
        sa.select(assignments.c.state, sa.func.count().label("devices"))
        .where(assignments.c.rollout_id == rollout_id, assignments.c.wave == wave)
        .group_by(assignments.c.state)
    )
    counts = {AssignmentState(row.state): int(row.devices) for row in tx.execute(query)}
    values: dict[str, int] = {state.value: counts.get(state, 0) for state in AssignmentState}
    values["unacknowledged"] = sum(counts.get(state, 0) for state in _TROUBLE)
    tx.execute(
        rollout_waves.update()
        .where(rollout_waves.c.rollout_id == rollout_id, rollout_waves.c.wave == wave)
        .values(values)
    )


def _installed(tx: Connection, rollout: sa.Row[tuple[object, ...]], devices: Sequence[DeviceId], now: datetime) -> None:
    """What healthy devices run from now on; every fiftieth says something else since: it drifted."""
    new = tx.execute(sa.select(artifacts).where(artifacts.c.id == rollout.artifact_id)).one()
    rows = []
    for place, one in enumerate(devices):
        drifted = place % 50 == 49
        rows.append(
            {
                "device_id": one,
                "artifact_name": new.name,
                "goal_artifact_id": new.id,
                "goal_rollout_id": rollout.id,
                "running_version": "2.0.0" if drifted else new.version,
                "running_descriptor_sha256": "0" * 64 if drifted else new.descriptor_sha256,
                "reported_at": now - timedelta(seconds=int(one) % 600),
                "drift_since": now - timedelta(hours=3) if drifted else None,
            }
        )
    update = [name for name in rows[0] if name not in ("device_id", "artifact_name")] if rows else []
    for start in range(0, len(rows), 1_000):
        engine.upsert(
            tx, device_artifacts, rows[start : start + 1_000], key=("device_id", "artifact_name"), update=update
        )
