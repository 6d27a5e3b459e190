"""One pass of the planner over one rollout: expire, plan, apply, audit; the same that follows every verb."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from tidegate.control.domain.access import Scope, system_scope
from tidegate.control.domain.devices import offline_cutoff
from tidegate.control.domain.rollouts.model import (
    SERVING,
    AssignmentState,
    Plan,
    RolloutState,
    Tally,
)
from tidegate.control.domain.rollouts.plan import CANCELLED, plan
from tidegate.control.domain.rollouts.record import RolloutRecord
from tidegate.control.domain.rollouts.words import words
from tidegate.control.services import audit, work
from tidegate.control.services.node import Node
from tidegate.control.store import assignments, devices, engine, fleets, rollouts
from tidegate.errors import Defect
from tidegate.ids import DeviceId, FleetId, RolloutId

_S = AssignmentState


@dataclass(slots=True)
class Steps:
    """What a pass did, to be audited last in its transaction, and whom to wake after it."""

    record: RolloutRecord
    tally: Tally
    plan: Plan
    taken: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    wake: set[DeviceId] = field(default_factory=set)
    changed: bool = False
    more: bool = False


def tallied(tx: Connection, record: RolloutRecord, now: datetime, *, whole: bool = False) -> Tally:
    """The rollout's counters; who is absent or held is counted only where it decides, or when the `whole` is asked."""
    rows = rollouts.waves(tx, [record.id])[record.id]
    counted = rollouts.tally(rows)
    released = record.rollout.released_wave
    if released == 0 or not any(wave.pending for wave in counted.released(record.rollout)):
        return counted
    current = counted.wave(released)
    decides = record.rollout.state is RolloutState.RUNNING and current.in_flight == 0 and not current.completed
    if not (decides or whole):
        return counted
    absent = assignments.absent(tx, record, devices.channel_up(tx))
    held = assignments.held(tx, record, now) if whole else {}
    return rollouts.tally(rows, absent, held)


def advance(tx: Connection, record: RolloutRecord, now: datetime) -> Steps:
    """Plan and apply until nothing changes. The rollout's row is held.

    Raises:
        Defect: it does not settle.
    """
    tally = tallied(tx, record, now)
    steps = Steps(record, tally, plan(record.rollout, tally, now))
    for _ in range(3 * len(tally.waves) + 3):
        decided = steps.plan
        if decided.cancel_open:
            reason = "the rollout was aborted" if steps.record.rollout.abort_policy else "it was away for too long"
            ended = assignments.cancel(tx, steps.record, CANCELLED, reason, now, assignments.CANCEL_AT_ONCE)
            steps.changed = True
            steps.more = ended == assignments.CANCEL_AT_ONCE
        elif not rollouts.apply(tx, steps.record, decided, now):
            return steps
        steps.changed = True
        _note(steps, decided)
        steps.record = rollouts.by_ids(tx, [record.id])[record.id]
        if decided.state is RolloutState.COMPLETED and record.baseline and not decided.cancel_open:
            steps.wake.update(work.baseline_completed(tx, steps.record))
        if steps.more:
            return steps
        steps.tally = tallied(tx, steps.record, now)
        steps.plan = plan(steps.record.rollout, steps.tally, now)
    raise Defect(f"rollout {record.id} does not settle")


def _note(steps: Steps, decided: Plan) -> None:
    """Remember a transition for the audit log, with its figures."""
    before = steps.record.rollout
    if decided.state is before.state and decided.release_wave is None:
        return
    figures: dict[str, object] = {"from": before.state.value, "to": decided.state.value, **_figures(steps.tally)}
    if decided.release_wave is not None:
        wave = steps.tally.wave(decided.release_wave)
        figures |= {"wave": wave.wave, "devices": wave.size}
        steps.taken.append(("rollout.release", figures))
        return
    names = {
        RolloutState.HALTED: "rollout.halt",
        RolloutState.SOAKING: "rollout.soak",
        RolloutState.WAITING_FOR_APPROVAL: "rollout.wait",
        RolloutState.COMPLETED: "rollout.complete",
    }
    figures |= {"wave": before.released_wave, "why": decided.reason, "waiting_on": words(decided.waiting_on)}
    steps.taken.append((names.get(decided.state, "rollout.run"), figures))


def _figures(tally: Tally) -> dict[str, object]:
    totals = {state.value: tally.count(state) for state in AssignmentState}
    return {"counts": {name: count for name, count in totals.items() if count}}


def write_audit(tx: Connection, scope: Scope, steps: Steps) -> None:
    for action, data in steps.taken:
        audit.record(tx, scope, action=action, subject=f"rollout:{steps.record.id}", data=data)


def figures(tally: Tally) -> Mapping[str, object]:
    """Counts for an audit record."""
    return _figures(tally)


# -- the worker's round -----------------------------------------------------------------------------------------------


def plan_all(node: Node) -> None:
    """One pass over every rollout that may move by itself; each in a transaction of its own.

    Raises:
        Exception: what went wrong with one rollout, or a group of such, after the others had their turn.
    """
    with node.db.read() as tx:
        waiting = rollouts.to_plan(tx)
    failed: list[Exception] = []
    for rollout_id in waiting:
        try:
            while plan_one(node, rollout_id):
                pass
        except Exception as error:  # noqa: BLE001 - one rollout must not keep the others from moving; raised below
            error.add_note(f"planning rollout {rollout_id}")
            failed.append(error)
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise ExceptionGroup("cannot plan every rollout", failed)


def plan_one(node: Node, rollout_id: RolloutId) -> bool:
    """One pass over one rollout; gives whether there is more to do at once. Nothing happens while another has it."""
    with node.db.read() as tx:
        if not _due(tx, rollout_id):
            return _offer(node, rollout_id)
    with node.db.write() as tx:
        held = rollouts.lock(tx, [rollout_id], skip_locked=True)
        if rollout_id not in held:
            return False
        record = held[rollout_id]
        now = engine.now(tx)
        assignments.expire(tx, record, now)
        steps = advance(tx, record, now)
        write_audit(tx, system(tx, record.fleet_id), steps)
    if steps.changed:
        node.hub.nudge("rollouts", record.fleet_id, steps.wake)
    _offer(node, rollout_id)
    return steps.more


def _due(tx: Connection, rollout_id: RolloutId) -> bool:
    """Whether a pass would change anything: asked on a read, so that idle rollouts cost no write."""
    record = rollouts.by_ids(tx, [rollout_id])[rollout_id]
    now = engine.now(tx)
    if assignments.overdue(tx, record, now):
        return True
    decided = plan(record.rollout, tallied(tx, record, now), now)
    before = record.rollout
    moves = decided.state is not before.state or decided.release_wave is not None or decided.complete_wave is not None
    return moves or decided.cancel_open


def _offer(node: Node, rollout_id: RolloutId) -> bool:
    """Wake the devices that may be served next, as many as there is room for; always gives False."""
    with node.db.read() as tx:
        record = rollouts.by_ids(tx, [rollout_id])[rollout_id]
        if record.rollout.state not in SERVING or record.artifact.withdrawn:
            return False
        tally = rollouts.tally(rollouts.waves(tx, [rollout_id])[rollout_id])
        room = record.rollout.strategy.in_flight_limit(record.rollout.target_size) - tally.in_flight
        if room <= 0 or not any(wave.pending for wave in tally.released(record.rollout)):
            return False
        fleet = fleets.by_id(tx, record.fleet_id)
        if fleet is None:
            raise Defect(f"rollout {rollout_id} has no fleet")
        seen_after = offline_cutoff(devices.channel_up(tx), fleet.interval_seconds)
        chosen = assignments.next_to_serve(tx, record, room, engine.now(tx), seen_after)
    if chosen:
        # Other replicas learn by the generation; it is raised apart, for it locks the fleet's row.
        with node.db.write() as tx:
            devices.bump(tx, record.fleet_id)
        node.hub.nudge("devices", record.fleet_id, chosen)
    return False


def system(tx: Connection, fleet_id: FleetId) -> Scope:
    """What the planner acts as."""
    fleet = fleets.by_id(tx, fleet_id)
    if fleet is None:
        raise Defect(f"fleet {fleet_id} is gone")
    return system_scope("planner", fleet.id, fleet.name)
