"""Taking reports: many devices in one transaction, each item once, each refused or taken by itself (P6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tidegate.control.domain.devices import DeviceRef
from tidegate.control.domain.rollouts.desired import Goal
from tidegate.control.domain.rollouts.model import AssignmentState, RolloutState
from tidegate.control.domain.rollouts.record import ArtifactVersion, RolloutRecord
from tidegate.control.domain.rollouts.report import Assignment, Effect, Reported, apply_report
from tidegate.control.services import history
from tidegate.control.services.node import Node
from tidegate.control.services.work.ids import AboutRestore, AboutRollout, parse
from tidegate.control.store import assignments, engine, rollouts, work
from tidegate.control.store.rollouts import Deltas
from tidegate.control.store.work import Ledger
from tidegate.ids import ArtifactId, DeviceId, FleetId, RolloutId
from tidegate.wire.device import Report, ReportResult, Reports, ReportsAnswer

_S = AssignmentState
_RESTORE_ENDS = {"healthy": None, "rolled_back": "failed", "failed": "failed"}
_RESTORE_PROGRESS = frozenset({"downloading", "verifying", "ready", "applying", "probing"})


@dataclass(slots=True)
class _Batch:
    """What a transaction has read, and what it is going to write."""

    now: datetime
    ledgers: dict[DeviceId, Ledger]
    records: dict[RolloutId, RolloutRecord]
    own: dict[tuple[int, int], Assignment]
    goals: dict[tuple[DeviceId, str], Goal]
    versions: dict[ArtifactId, ArtifactVersion]
    deltas: Deltas = field(default_factory=Deltas)
    changed: dict[tuple[int, int], Assignment] = field(default_factory=dict)
    changed_goals: dict[tuple[DeviceId, str], Goal] = field(default_factory=dict)
    events: list[assignments.Event] = field(default_factory=list)
    touched: dict[FleetId, set[DeviceId]] = field(default_factory=dict)


def report(node: Node, batch: Sequence[tuple[DeviceRef, Reports]]) -> list[ReportsAnswer]:
    """Take all these reports in one transaction; the answers come after its commit, in the order of `batch`."""
    if not batch:
        return []
    with node.db.write() as tx:
        ledgers = work.lock_ledgers(tx, sorted({device.id for device, _ in batch}))
        pairs = _pairs(batch)
        records = rollouts.lock(tx, {rollout for rollout, _ in pairs})
        own = assignments.of_devices(tx, pairs)
        named = {
            other for one in own.values() for other in (one.previous_artifact, one.revert_artifact) if other is not None
        }
        goals = work.goals(tx, list(ledgers))
        named |= {goal.goal for goal in goals.values() if goal.goal is not None}
        taken = _Batch(engine.now(tx), ledgers, records, own, goals, work.versions(tx, named))
        answers = [_device(taken, device, reports) for device, reports in batch]
        assignments.write(tx, taken.changed.values())
        taken.deltas.write(tx)
        work.write(tx, taken.changed_goals.values())
        history.tell(tx, node, taken.events, taken.now)
        work.write_ledgers(tx, list(taken.ledgers.values()))
    for fleet_id, devices in taken.touched.items():
        node.hub.nudge("rollouts", fleet_id, devices)
    return answers


def _pairs(batch: Sequence[tuple[DeviceRef, Reports]]) -> set[tuple[RolloutId, DeviceId]]:
    found = set()
    for device, reports in batch:
        for item in reports.items:
            about = parse(item.work)
            if isinstance(about, AboutRollout):
                found.add((about.rollout, device.id))
    return found


def _device(taken: _Batch, device: DeviceRef, reports: Reports) -> ReportsAnswer:
    ledger = taken.ledgers[device.id]
    if ledger.installation != reports.installation:
        # A wiped device counts anew; what it reported before stays as it was taken.
        ledger = Ledger(device.id, reports.installation, 0)
    results: dict[int, ReportResult] = {}
    for item in sorted(reports.items, key=lambda item: item.sequence):
        if item.sequence <= ledger.sequence:
            results.setdefault(item.sequence, ReportResult(item.sequence, "replay"))
            continue
        ledger = replace(ledger, sequence=item.sequence)
        refused = _item(taken, device, item)
        status = ReportResult(item.sequence, "refused", refused) if refused else ReportResult(item.sequence, "accepted")
        results[item.sequence] = status
    taken.ledgers[device.id] = ledger
    return ReportsAnswer(tuple(results[item.sequence] for item in reports.items), ledger.sequence)


def _item(taken: _Batch, device: DeviceRef, item: Report) -> str:
    """Take one report; gives why it is refused, empty when it is taken."""
    match parse(item.work):
        case AboutRollout(kind, rollout):
            return _assignment(taken, device, rollout, kind == "revert", item)
        case AboutRestore(generation, name):
            return _restore(taken, device, generation, name, item)
        case None:
            return "cannot take a report about work that is not known here"


def _assignment(taken: _Batch, device: DeviceRef, rollout: RolloutId, reverting: bool, item: Report) -> str:
    key = (rollout, device.id)
    before = taken.changed.get(key) or taken.own.get(key)
    record = taken.records.get(rollout)
    if before is None or record is None:
        return "cannot take a report about work that is not known here"
    said = Reported(item.state, item.reason, item.output, reverting)
    effect = apply_report(before, said, record.context(), taken.now)
    if effect.refused:
        return effect.refused
    after = effect.after
    if after is not before:
        taken.changed[key] = after
        taken.deltas.move(rollout, before.wave, before.state, after.state)
        taken.deltas.unacknowledged(rollout, before.wave, effect.unacknowledged)
    if effect.event:
        kind = "drift" if effect.drift else after.state.value
        taken.events.append(assignments.Event(device.fleet_id, device.id, rollout, kind, effect.event))
        if record.rollout.state is RolloutState.COMPLETED and after.state.value in ("failed", "rolled_back"):
            detail = f"rollout {rollout} is completed; this straggler {after.state}"
            taken.events.append(assignments.Event(device.fleet_id, device.id, rollout, "straggler", detail))
    if before.state is not after.state:
        taken.touched.setdefault(device.fleet_id, set()).add(device.id)
    _goal(taken, device, record, effect, item)
    return ""


def _goal(taken: _Batch, device: DeviceRef, record: RolloutRecord, effect: Effect, item: Report) -> None:
    """What the device runs by its own word, and what it should run from now on."""
    name = record.artifact.name
    key = (device.id, name)
    goal = taken.changed_goals.get(key) or taken.goals.get(key) or Goal(device.id, name)
    after = effect.after
    # An older rollout's late success does not take back what a newer one left.
    newest = goal.rollout is None or record.id >= goal.rollout
    if effect.arrived:
        goal = _runs(goal, record.artifact, taken.now)
        if newest:
            goal = replace(
                goal,
                goal=record.artifact.id,
                rollout=record.id,
                generation=goal.generation + 1,
                restore=None,
                restore_reason="",
                drift_since=None,
            )
    elif effect.returned:
        back = taken.versions.get(after.revert_artifact) if after.revert_artifact is not None else None
        goal = replace(
            _runs(goal, back, taken.now),
            goal=back.id if back else None,
            generation=goal.generation + 1,
            restore=None,
            restore_reason="",
            drift_since=None,
        )
    elif item.state == "rolled_back" and after.state is _S.ROLLED_BACK and effect.event and not effect.drift:
        previous = taken.versions.get(after.previous_artifact) if after.previous_artifact is not None else None
        if not after.previous_known:
            return
        goal = _runs(goal, previous, taken.now)
    elif effect.drift:
        goal = replace(goal, drift_since=goal.drift_since or taken.now)
    else:
        return
    taken.changed_goals[key] = goal


def _runs(goal: Goal, version: ArtifactVersion | None, now: datetime) -> Goal:
    if version is not None and version.version == goal.running_version:
        return replace(goal, running_sha256=version.descriptor_sha256, reported_at=now)
    return replace(
        goal,
        running_version=version.version if version else None,
        running_sha256=version.descriptor_sha256 if version else None,
        previous_version=goal.running_version,
        reported_at=now,
    )


def _restore(taken: _Batch, device: DeviceRef, generation: int, name: str, item: Report) -> str:
    key = (device.id, name)
    goal = taken.changed_goals.get(key) or taken.goals.get(key)
    if goal is None:
        return "cannot take a report about work that is not known here"
    if goal.generation != generation or goal.restore is None:
        return ""  # it was overtaken: true, but nothing hangs on it
    if item.state in _RESTORE_ENDS:
        ended = _RESTORE_ENDS[item.state]
        goal = replace(goal, restore=ended, restore_reason=item.reason)
        if ended is None:
            restored = taken.versions.get(goal.goal) if goal.goal is not None else None
            goal = replace(_runs(goal, restored, taken.now), drift_since=None)
        detail = f"restore of {name}: {item.state} {item.reason}".rstrip()
        taken.events.append(assignments.Event(device.fleet_id, device.id, goal.rollout, "restore", detail))
        taken.touched.setdefault(device.fleet_id, set()).add(device.id)
    elif item.state in _RESTORE_PROGRESS:
        goal = replace(goal, restore=item.state, restore_reason=item.reason)
    else:
        return f"cannot take {item.state} about a restore"
    taken.changed_goals[key] = goal
    return ""
