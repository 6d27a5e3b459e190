"""Who is served, who gets leave, and the way back: decisions about one device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tidegate.control.domain.rollouts.model import (
    IN_FLIGHT,
    OUTCOMES,
    SERVING,
    UNCOUNTED,
    WITH_LEAVE,
    AssignmentState,
    Rollout,
    RolloutState,
)
from tidegate.control.domain.rollouts.report import Assignment
from tidegate.ids import ArtifactId, RolloutId

_S = AssignmentState


@dataclass(frozen=True, slots=True)
class Candidate:
    """An assignment with what decides about it. `in_flight` counts the rollout's devices at work."""

    assignment: Assignment
    rollout: Rollout
    artifact: ArtifactId
    artifact_name: str
    version: str
    descriptor_sha256: str
    withdrawn: bool
    in_flight: int

    @property
    def id(self) -> RolloutId:
        return self.assignment.rollout


@dataclass(frozen=True, slots=True)
class Running:
    """What the device said it runs of one artifact name; both None: nothing."""

    version: str | None
    descriptor_sha256: str | None


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a device is not served: ``device``, ``group`` or ``fleet``, with the operator's reason."""

    what: str
    reason: str
    until: datetime | None = None

    def __str__(self) -> str:
        return f"{self.what} on hold: {self.reason}" if self.reason else f"{self.what} on hold"


def why_not_served(candidate: Candidate, hold: Hold | None) -> str | None:
    """Why a pending assignment is not handed to its device now; None: it is."""
    rollout = candidate.rollout
    if rollout.state not in SERVING:
        return f"the rollout is {rollout.state}"
    if candidate.assignment.wave > rollout.released_wave:
        return f"wave {candidate.assignment.wave} is not released"
    if candidate.withdrawn:
        return f"{candidate.artifact_name} {candidate.version} is withdrawn"
    if hold is not None:
        return str(hold)
    limit = rollout.strategy.in_flight_limit(rollout.target_size)
    if candidate.in_flight >= limit:
        return f"{candidate.in_flight} devices are at work, at most {limit} may be (max_in_flight)"
    return None


def to_serve(candidates: Sequence[Candidate], hold: Hold | None) -> Candidate | None:
    """Which pending assignment of one artifact name to hand over: the newest that may be; none while one is applied."""
    if any(candidate.assignment.state in WITH_LEAVE for candidate in candidates):
        return None
    newest_first = sorted(candidates, key=lambda candidate: candidate.id, reverse=True)
    for candidate in newest_first:
        if candidate.assignment.state is _S.PENDING and why_not_served(candidate, hold) is None:
            return candidate
    return None


def why_no_leave(candidate: Candidate, hold: Hold | None, others_applying: Sequence[str], unmet: str) -> str | None:
    """Why the device may not start applying now; None: it may. `unmet` names a requirement that does not run here."""
    rollout, assignment = candidate.rollout, candidate.assignment
    if assignment.state not in IN_FLIGHT:
        return f"the assignment is {assignment.state}"
    if assignment.state is _S.PROBING:
        return "it is probing already"
    if rollout.state not in SERVING:
        return f"the rollout is {rollout.state}"
    if candidate.withdrawn:
        return f"{candidate.artifact_name} {candidate.version} is withdrawn"
    if hold is not None:
        return str(hold)
    if others_applying:
        return f"{others_applying[0]} is being applied; one at a time"
    if unmet:
        return f"requires {unmet}, which does not run here"
    return None


def may_be_reverted(candidate: Candidate, history: Sequence[Candidate], running: Running) -> bool:
    """Whether this aborted rollout, and no later one, put what the device says it runs there.

    Leave on record is the evidence: `skipped`, `failed` by a deadline and `superseded` count when it was given.
    """
    assignment = candidate.assignment
    if not aborted_with_revert(candidate.rollout):
        return False
    if assignment.leave_at is None or assignment.state not in OUTCOMES | UNCOUNTED:
        return False
    if running.descriptor_sha256 != candidate.descriptor_sha256:
        return False
    return not any(
        other.id > candidate.id and other.artifact == candidate.artifact and other.assignment.leave_at is not None
        for other in history
    )


@dataclass(frozen=True, slots=True)
class WayBack:
    """Where a revert goes: a version (and the rollout that put it there, whose probes apply), or nothing at all.

    `unknown` says why there is no way back.
    """

    artifact: ArtifactId | None = None
    rollout: RolloutId | None = None
    unknown: str = ""


def way_back(candidate: Candidate, history: Sequence[Candidate], withdrawn: Mapping[ArtifactId, bool]) -> WayBack:
    """The version recorded at leave, passing over withdrawn ones and ones themselves aborted with revert.

    `history` is every assignment of the device and the artifact name; `withdrawn` has every artifact that one of them
    names. A version that no assignment put there (it came with the baseline) has nothing before it.
    """
    by_id = sorted((one for one in history if one.assignment.leave_at is not None), key=lambda one: one.id)
    step = candidate
    while True:
        if not step.assignment.previous_known:
            return WayBack(unknown="what ran before is not in the catalog")
        goal = step.assignment.previous_artifact
        if goal is None:
            return WayBack()
        put_there = next((one for one in reversed(by_id) if one.id < step.id and one.artifact == goal), None)
        if not withdrawn.get(goal, True) and not (put_there and aborted_with_revert(put_there.rollout)):
            return WayBack(goal, put_there.id if put_there else None)
        if put_there is None:
            return WayBack()
        step = put_there


def aborted_with_revert(rollout: Rollout) -> bool:
    return rollout.state is RolloutState.ABORTED and rollout.abort_policy == "revert"


def in_order(items: Mapping[str, Sequence[str]]) -> list[str]:
    """Artifact names, each after the ones it requires (`items` maps a name to those); ties and circles by name."""
    placed: list[str] = []
    left = sorted(items)
    while left:
        free = next((name for name in left if not any(need in left and need != name for need in items[name])), left[0])
        left.remove(free)
        placed.append(free)
    return placed
