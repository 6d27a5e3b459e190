"""Leave to start applying: one transaction that holds the rollout's row, so that a halt is exact on every replica."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from tidegate.control.domain.compatibility import satisfies
from tidegate.control.domain.devices import DeviceRef
from tidegate.control.domain.rollouts.desired import View
from tidegate.control.domain.rollouts.model import SERVING, WITH_LEAVE, AssignmentState
from tidegate.control.domain.rollouts.record import RolloutRecord
from tidegate.control.domain.rollouts.serve import Candidate, why_no_leave
from tidegate.control.services.node import Node
from tidegate.control.services.work.ids import AboutRestore, AboutRollout, parse
from tidegate.control.services.work.view import load
from tidegate.control.store import assignments, engine, rollouts, work
from tidegate.control.store.rollouts import Deltas
from tidegate.wire import descriptor
from tidegate.wire.device import LeaveAnswer, LeaveRequest

_S = AssignmentState
RETRY_SECONDS = 30
#: Where only a person can change the answer.
RETRY_LATER_SECONDS = 60
#: For reverts and restores, which no deadline ends: after it the device should ask again.
APPLY_SECONDS = 30 * 60


def leave(node: Node, device: DeviceRef, request: LeaveRequest) -> LeaveAnswer:
    """Yes, or no with the reason and when to ask again. What the device runs now is recorded as its way back."""
    about = parse(request.work)
    with node.db.write() as tx:
        # The device, so that it is given leave for one thing at a time; the rollout, which a halt waits for; the holds.
        work.lock_ledgers(tx, [device.id])
        locked = rollouts.lock(tx, [about.rollout]) if isinstance(about, AboutRollout) else {}
        work.await_holds(tx, device.fleet_id)
        match about:
            case AboutRollout("install", rollout):
                return _install(tx, device, request, locked.get(rollout), engine.now(tx))
            case AboutRollout("revert", rollout):
                return _revert(tx, device, rollout, engine.now(tx))
            case AboutRestore():
                return _restore(tx, device, about, engine.now(tx))
            case _:
                return _no("this work is not known here")


def _no(reason: str, retry_after_seconds: int = RETRY_SECONDS) -> LeaveAnswer:
    return LeaveAnswer(False, reason, retry_after_seconds)


def _install(
    tx: Connection, device: DeviceRef, request: LeaveRequest, record: RolloutRecord | None, now: datetime
) -> LeaveAnswer:
    view, _ = load(tx, device, now)
    candidate = next((one for one in view.candidates if record is not None and one.id == record.id), None)
    if record is None or candidate is None or not view.active:
        return _no("this work is not known here")
    others = [
        one.artifact_name for one in view.candidates if one is not candidate and one.assignment.state in WITH_LEAVE
    ]
    others += [goal.name for goal in view.goals.values() if goal.restore in ("applying", "probing")]
    reason = why_no_leave(candidate, view.hold, others, _unmet(tx, candidate, view))
    if reason is not None:
        _take_back(tx, candidate, record, now)
        person = record.rollout.state not in SERVING or view.hold is not None
        return _no(reason, RETRY_LATER_SECONDS if person else RETRY_SECONDS)
    before = candidate.assignment
    previous = work.version(tx, device.fleet_id, candidate.artifact_name, request.running) if request.running else None
    seconds = record.rollout.strategy.apply_deadline_seconds
    after = replace(
        before,
        state=_S.APPLYING,
        state_since=now,
        leave_at=now,
        deadline_at=now + timedelta(seconds=seconds),
        previous_artifact=previous.id if previous else None,
        previous_known=previous is not None or request.running is None,
    )
    deltas = Deltas()
    deltas.move(record.id, before.wave, before.state, after.state)
    assignments.write(tx, [after])
    deltas.write(tx)
    return LeaveAnswer(True, apply_deadline_seconds=seconds)


def _take_back(tx: Connection, candidate: Candidate, record: RolloutRecord, now: datetime) -> None:
    """A device that asks again has not begun: leave that it never received, or let grow old, is void."""
    before = candidate.assignment
    if before.state is not _S.APPLYING:
        return
    deadline = now + timedelta(seconds=record.rollout.strategy.deadline_seconds - record.halted_seconds)
    after = replace(before, state=_S.READY, state_since=now, leave_at=None, deadline_at=deadline)
    if record.rollout.abort_policy is not None:
        after = replace(after, state=_S.SKIPPED, deadline_at=None, terminal_by_server=True, reason="aborted")
    deltas = Deltas()
    deltas.move(record.id, before.wave, before.state, after.state)
    assignments.write(tx, [after])
    deltas.write(tx)


def _unmet(tx: Connection, candidate: Candidate, view: View) -> str:
    """The first requirement of the version that does not run on the device, as words; empty when all do."""
    text = work.descriptors(tx, [candidate.artifact])[candidate.artifact]
    for need in descriptor.decode(text.encode()).requires:
        running = view.running(need.artifact).version
        if running is None or not satisfies(running, need.versions):
            return f"{need.artifact} {need.versions}".strip()
    return ""


def _revert(tx: Connection, device: DeviceRef, rollout: int, now: datetime) -> LeaveAnswer:
    own = next((one for one in assignments.of_device(tx, device.id) if one.rollout == rollout), None)
    if own is None:
        return _no("this work is not known here")
    if own.state is not _S.REVERTING:
        return _no(f"the assignment is {own.state}")
    hold = work.hold(tx, device.fleet_id, device.id, now)
    if hold is not None:
        return _no(str(hold), RETRY_LATER_SECONDS)
    return LeaveAnswer(True, apply_deadline_seconds=APPLY_SECONDS)


def _restore(tx: Connection, device: DeviceRef, about: AboutRestore, now: datetime) -> LeaveAnswer:
    goal = work.goals(tx, [device.id]).get((device.id, about.name))
    if goal is None or goal.generation != about.generation or goal.restore in (None, "failed"):
        return _no("this restore is over")
    hold = work.hold(tx, device.fleet_id, device.id, now)
    if hold is not None:
        return _no(str(hold), RETRY_LATER_SECONDS)
    busy = [one for one in assignments.open_of_device(tx, device.id) if one.state in WITH_LEAVE]
    if busy:
        return _no(f"rollout {busy[0].rollout} is being applied; one at a time")
    version = work.versions(tx, [goal.goal] if goal.goal is not None else [])
    if goal.goal is None or version[goal.goal].withdrawn:
        return _no("the version is withdrawn", RETRY_LATER_SECONDS)
    work.write(tx, [replace(goal, restore="applying")])
    return LeaveAnswer(True, apply_deadline_seconds=APPLY_SECONDS)
