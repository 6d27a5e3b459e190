"""What one report does to one assignment: progress, an end, a correction, drift, or nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tidegate.control.domain.rollouts.model import FAILURES, IN_FLIGHT, OUTCOMES, WITH_LEAVE, AssignmentState
from tidegate.ids import ArtifactId, DeviceId, RolloutId

_S = AssignmentState

_PROGRESS = IN_FLIGHT - {_S.ASSIGNED}
_REVERT_ENDS = {
    "reverted": _S.REVERTED,
    "healthy": _S.REVERTED,
    "revert_failed": _S.REVERT_FAILED,
    "rolled_back": _S.REVERT_FAILED,
    "failed": _S.REVERT_FAILED,
}


@dataclass(frozen=True, slots=True)
class Assignment:
    """One device in one rollout, as on record.

    `deadline_at` before leave is on the rollout's own clock, which stands still while it is halted: it has passed when
    `deadline_at + halted_seconds <= now`. After leave it is plain time.
    """

    rollout: RolloutId
    device: DeviceId
    wave: int
    state: AssignmentState
    state_since: datetime
    served_at: datetime | None = None
    deadline_at: datetime | None = None
    leave_at: datetime | None = None
    previous_artifact: ArtifactId | None = None
    previous_known: bool = False
    revert_artifact: ArtifactId | None = None
    failed_resume_count: int | None = None
    terminal_by_server: bool = False
    drifted: bool = False
    reason: str = ""
    output: str = ""


@dataclass(frozen=True, slots=True)
class Reported:
    """What the device says. `reverting`: about the way back, not about the update."""

    state: str
    reason: str = ""
    output: str = ""
    reverting: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """What of the rollout a report needs."""

    resume_count: int
    halted_seconds: int
    deadline_seconds: int
    apply_deadline_seconds: int
    soaking: bool


@dataclass(frozen=True, slots=True)
class Effect:
    """`after` is the assignment as it must now be written; `unacknowledged` is added to its wave's counter.

    `arrived`: the device now runs the rollout's version, and should; `returned`: it now runs what it had before.
    `event` is history for people; `refused` says why the report was not taken.
    """

    after: Assignment
    unacknowledged: int = 0
    arrived: bool = False
    returned: bool = False
    drift: bool = False
    event: str = ""
    refused: str = ""


def apply_report(before: Assignment, report: Reported, context: Context, now: datetime) -> Effect:
    """Decide what `report` changes. Total: every state meets every report."""
    if report.reverting:
        return _revert_report(before, report, now)
    if report.state in ("reverted", "revert_failed"):
        return Effect(before, refused=f"cannot take {report.state} about an update that is not being reverted")
    said = AssignmentState(report.state)
    if before.state is _S.PENDING:
        return Effect(before, refused="cannot take a report about an assignment that was not served")
    if before.state in IN_FLIGHT:
        return (
            _end(before, said, report, context, now) if said in OUTCOMES else _move(before, said, report, context, now)
        )
    if said in _PROGRESS:
        # It crossed with what the server decided; the end that follows is what counts.
        return Effect(before)
    if before.terminal_by_server and before.state not in (_S.REVERTING, _S.REVERTED, _S.REVERT_FAILED):
        return _end(before, said, report, context, now)
    if before.state in OUTCOMES and said is not before.state:
        return drifted(before, f"reported {said} after {before.state}: {report.reason}".rstrip(": "), context)
    return Effect(before)


def drifted(before: Assignment, detail: str, context: Context) -> Effect:
    """The device no longer runs what this assignment left there; counts against the rollout while it soaks, once."""
    if before.drifted:
        return Effect(before)
    counts = context.soaking and before.state is _S.HEALTHY
    after = replace(
        before, drifted=True, failed_resume_count=context.resume_count if counts else before.failed_resume_count
    )
    return Effect(after, unacknowledged=1 if counts else 0, drift=True, event=detail)


def _move(before: Assignment, said: AssignmentState, report: Reported, context: Context, now: datetime) -> Effect:
    moved = said is not before.state
    after = replace(
        before,
        state=said,
        state_since=now if moved else before.state_since,
        reason=report.reason,
        output=report.output or before.output,
    )
    if said in WITH_LEAVE:
        if before.state in WITH_LEAVE:
            return Effect(after)
        # The device is the one who knows; that it had no leave on record is kept for people to see.
        deadline = now + timedelta(seconds=context.apply_deadline_seconds)
        return Effect(replace(after, leave_at=now, deadline_at=deadline), event="applies without leave on record")
    if before.state in WITH_LEAVE:
        deadline = now + timedelta(seconds=context.deadline_seconds - context.halted_seconds)
        return Effect(replace(after, leave_at=None, deadline_at=deadline))
    if before.state is _S.READY and moved and before.deadline_at is not None:
        return Effect(replace(after, deadline_at=before.deadline_at + (now - before.state_since)))
    return Effect(after)


def _end(before: Assignment, said: AssignmentState, report: Reported, context: Context, now: datetime) -> Effect:
    """A first end, or the device's own in place of one that the server made."""
    counted = before.failed_resume_count == context.resume_count
    failed = said in FAILURES
    if failed:
        # A failure stays in the count in which it was first known: a resume has acknowledged it or not.
        count = before.failed_resume_count if before.failed_resume_count is not None else context.resume_count
        change = 1 if before.failed_resume_count is None else 0
    else:
        count = None
        change = -1 if counted else 0
    # It was applied, so it was begun: what an abort with revert may undo, leave on record or not.
    begun = before.leave_at if before.leave_at is not None or said is _S.FAILED else now
    after = replace(
        before,
        state=said,
        state_since=now,
        deadline_at=None,
        leave_at=begun,
        failed_resume_count=count,
        terminal_by_server=False,
        reason=report.reason,
        output=report.output,
    )
    event = (
        f"{said}: {report.reason}".rstrip(": ") if before.state in IN_FLIGHT else f"{said}, in place of {before.state}"
    )
    return Effect(after, unacknowledged=change, arrived=said is _S.HEALTHY, event=event)


def _revert_report(before: Assignment, report: Reported, now: datetime) -> Effect:
    replaces = before.state is _S.SUPERSEDED and before.terminal_by_server
    if before.state is not _S.REVERTING and not replaces:
        end = _REVERT_ENDS.get(report.state)
        if end is None or end is before.state:
            return Effect(before)
        if before.state not in (_S.REVERTED, _S.REVERT_FAILED):
            return Effect(
                before, refused=f"cannot take {report.state} about a revert: the assignment is {before.state}"
            )
        after = replace(before, drifted=True)
        return Effect(after, drift=not before.drifted, event=f"reported {end} after {before.state}")
    end = _REVERT_ENDS.get(report.state)
    if end is None:
        return Effect(before if replaces else replace(before, reason=report.reason))
    after = replace(
        before, state=end, state_since=now, terminal_by_server=False, reason=report.reason, output=report.output
    )
    return Effect(after, returned=end is _S.REVERTED, event=f"{end}: {report.reason}".rstrip(": "))
