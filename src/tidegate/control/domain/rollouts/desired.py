"""What one device should be doing now: everything that may be handed to it, in the order to take it up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from tidegate.control.domain.rollouts.model import (
    IN_FLIGHT,
    OPEN,
    SERVING,
    WITH_LEAVE,
    WITHOUT_LEAVE,
    AssignmentState,
)
from tidegate.control.domain.rollouts.serve import (
    Candidate,
    Hold,
    Running,
    WayBack,
    aborted_with_revert,
    in_order,
    may_be_reverted,
    to_serve,
    way_back,
    why_not_served,
)
from tidegate.ids import ArtifactId, DeviceId, RolloutId

_S = AssignmentState


@dataclass(frozen=True, slots=True)
class Goal:
    """One artifact name on one device: `goal` is what should run (None: nothing should, or nobody ever said).

    `generation` 0 means that nobody ever said. `restore`: null, or the state of giving it again. `drift_reason` is the
    device's word for what was changed on it, though the version is the one that it says.
    """

    device: DeviceId
    name: str
    goal: ArtifactId | None = None
    rollout: RolloutId | None = None
    generation: int = 0
    running_version: str | None = None
    running_sha256: str | None = None
    previous_version: str | None = None
    reported_at: datetime | None = None
    restore: str | None = None
    restore_reason: str = ""
    drift_since: datetime | None = None
    drift_reason: str = ""

    @property
    def running(self) -> Running:
        return Running(self.running_version, self.running_sha256)

    @property
    def tells_nothing(self) -> bool:
        """Whether it is a name that the device once said, and nobody else ever did."""
        return self.generation == 0 and self.running_version is None and self.restore is None


@dataclass(frozen=True, slots=True)
class View:
    """A device with everything that decides about its work. `withdrawn` has every artifact that anything here names."""

    candidates: Sequence[Candidate]
    goals: Mapping[str, Goal]
    hold: Hold | None
    withdrawn: Mapping[ArtifactId, bool]
    active: bool = True

    def of(self, name: str) -> list[Candidate]:
        return [one for one in self.candidates if one.artifact_name == name]

    def running(self, name: str) -> Running:
        goal = self.goals.get(name)
        return goal.running if goal else Running(None, None)


@dataclass(frozen=True, slots=True)
class Item:
    """One piece of work. `artifact` None: remove. `probes_of`: the rollout whose probes apply."""

    kind: Literal["install", "revert", "restore"]
    name: str
    artifact: ArtifactId | None
    rollout: RolloutId | None
    goal_generation: int = 0
    probes_of: RolloutId | None = None


@dataclass(slots=True)
class Decided:
    """What to write before the work is handed over, and the work."""

    serve: list[Candidate] = field(default_factory=list)
    supersede: list[tuple[Candidate, RolloutId]] = field(default_factory=list)
    revert: list[tuple[Candidate, WayBack]] = field(default_factory=list)
    restore: list[Goal] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)

    @property
    def writes(self) -> bool:
        return bool(self.serve or self.supersede or self.revert or self.restore)


def decide(view: View) -> Decided:
    """All work of the device. Decided again after what it says was written, it is the same and writes nothing."""
    decided = Decided()
    if not view.active:
        return decided
    for name in sorted({one.artifact_name for one in view.candidates} | set(view.goals)):
        candidates = view.of(name)
        decided.items.extend(_restore(view, name, candidates, decided))
        decided.items.extend(_reverts(view, name, candidates, decided))
        decided.items.extend(_installs(view, candidates, decided))
    return decided


def ordered(items: Sequence[Item], requires: Mapping[ArtifactId, Sequence[str]]) -> list[Item]:
    """Items with the names they require before them; of one name in the order in which they were decided."""
    needs: dict[str, list[str]] = {}
    for item in items:
        needs.setdefault(item.name, []).extend(requires.get(item.artifact, ()) if item.artifact else ())
    place = {name: index for index, name in enumerate(in_order(needs))}
    return sorted(items, key=lambda item: place[item.name])


def _restore(view: View, name: str, candidates: Sequence[Candidate], decided: Decided) -> Iterator[Item]:
    goal = view.goals.get(name)
    if goal is None or goal.goal is None or goal.restore in (None, "failed") or view.withdrawn.get(goal.goal, True):
        return
    if any(one.assignment.state in IN_FLIGHT and one.artifact == goal.goal for one in candidates):
        return  # an update brings the same version
    if goal.restore == "pending":
        if view.hold is not None:
            return
        decided.restore.append(goal)
    # The probes of the rollout that put this version here; after a revert that is not the one that set the goal.
    put_there = [one.id for one in candidates if one.artifact == goal.goal and one.assignment.leave_at is not None]
    yield Item("restore", name, goal.goal, goal.rollout, goal.generation, max(put_there, default=goal.rollout))


def _reverts(view: View, name: str, candidates: Sequence[Candidate], decided: Decided) -> Iterator[Item]:
    running = view.running(name)
    switching = any(one.assignment.state in WITH_LEAVE for one in candidates)
    for one in candidates:
        if one.assignment.state is _S.REVERTING:
            back = way_back(one, candidates, view.withdrawn)
            yield Item("revert", name, one.assignment.revert_artifact, one.id, probes_of=back.rollout)
        elif not switching and view.hold is None and may_be_reverted(one, candidates, running):
            back = way_back(one, candidates, view.withdrawn)
            decided.revert.append((one, back))
            if not back.unknown and back.artifact != one.artifact:
                yield Item("revert", name, back.artifact, one.id, probes_of=back.rollout)


def _installs(view: View, candidates: Sequence[Candidate], decided: Decided) -> Iterator[Item]:
    chosen = to_serve(candidates, view.hold)
    reverting = {one.id for one, _ in decided.revert}
    newest_in_flight = max((one.id for one in candidates if one.assignment.state in IN_FLIGHT), default=None)
    if chosen is not None and newest_in_flight is not None and chosen.id < newest_in_flight:
        chosen = None
    if chosen is not None and not any(one_id in reverting for one_id in (one.id for one in candidates)):
        decided.serve.append(chosen)
        for one in candidates:
            if one.id < chosen.id and one.assignment.state in OPEN | {_S.REVERTING}:
                decided.supersede.append((one, chosen.id))
        gone = {one.id for one, _ in decided.supersede}
        decided.items[:] = [item for item in decided.items if item.kind != "revert" or item.rollout not in gone]
        yield Item("install", chosen.artifact_name, chosen.artifact, chosen.id, probes_of=chosen.id)
        return
    for one in candidates:
        if _still_handed_over(one, view.hold):
            yield Item("install", one.artifact_name, one.artifact, one.id, probes_of=one.id)


def _still_handed_over(one: Candidate, hold: Hold | None) -> bool:
    """Whether work that was served stays with its device.

    What is frozen and not begun is not told again; what is begun keeps its bytes and waits for leave; what has leave is
    finished whatever happens.
    """
    state = one.assignment.state
    if state in WITH_LEAVE:
        return True
    if state not in WITHOUT_LEAVE or one.withdrawn:
        return False
    frozen = one.rollout.state not in SERVING or hold is not None
    return not (frozen and state is _S.ASSIGNED)


def after_a_wipe(view: View, goal: Goal) -> Goal:
    """What a wiped device is given of one name: what should run, or what it was about to be taken back to."""
    put_there = [one for one in view.of(goal.name) if one.artifact == goal.goal and one.assignment.leave_at is not None]
    last = max(put_there, key=lambda one: one.id, default=None)
    if last is None or last.assignment.state is _S.REVERTED or not aborted_with_revert(last.rollout):
        return goal
    back = way_back(last, view.of(goal.name), view.withdrawn)
    return replace(goal, goal=back.artifact, generation=goal.generation + 1)


def waits_for(view: View, name: str) -> str:
    """Why the newest pending assignment of this name is not handed over, in words; empty when there is none."""
    pending = [one for one in view.of(name) if one.assignment.state is _S.PENDING]
    if not pending:
        return ""
    return why_not_served(max(pending, key=lambda one: one.id), view.hold) or "it is handed over at the next heartbeat"
