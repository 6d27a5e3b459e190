"""Why a device runs what it runs of one artifact name, told from what decides (SPEC section 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tidegate.control.domain.rollouts.desired import Goal, View
from tidegate.control.domain.rollouts.model import IN_FLIGHT, SERVING, AssignmentState
from tidegate.control.domain.rollouts.serve import Candidate, may_be_reverted, why_no_leave, why_not_served
from tidegate.ids import ArtifactId

_S = AssignmentState


@dataclass(frozen=True, slots=True)
class Fact:
    """One link of the chain; `tone` is one of the console's: good, flow, wait, back, bad, quiet."""

    at: datetime | None
    text: str
    detail: str = ""
    tone: str = "quiet"


@dataclass(frozen=True, slots=True)
class Explanation:
    """`answer` is one sentence; `facts` are what it rests on, oldest first."""

    artifact: str
    running: str | None
    answer: str
    facts: tuple[Fact, ...]


def explanation(view: View, name: str, versions: Mapping[ArtifactId, str]) -> Explanation:
    """Explain one artifact name. `versions` names every artifact that the device's goals and history mention."""
    history = sorted(view.of(name), key=lambda one: one.id)
    goal = view.goals.get(name)
    facts = [_told(one, history, view, versions) for one in history]
    facts += _goal_facts(goal, history, versions)
    if view.hold is not None:
        facts.append(Fact(None, f"The {view.hold}", "nothing is handed over and no leave is given meanwhile", "wait"))
    running = goal.running_version if goal else None
    return Explanation(name, running, _answer(running, goal, history, view, versions), tuple(facts))


def _told(one: Candidate, history: Sequence[Candidate], view: View, versions: Mapping[ArtifactId, str]) -> Fact:
    assignment, what = one.assignment, f"Rollout {one.id}"
    version, at = one.version, assignment.state_since
    back = versions.get(assignment.previous_artifact, "nothing") if assignment.previous_artifact else "nothing"
    reason = assignment.reason
    if assignment.state is _S.PENDING:
        waiting = why_not_served(one, view.hold) or "it is handed over at the next heartbeat"
        return Fact(at, f"{what} has not handed over {version}", waiting, "wait")
    if assignment.state in IN_FLIGHT:
        text = f"{what} handed over {version}; the device is at {assignment.state}"
        return Fact(at, text, _why_it_waits(one, view) or reason, "flow")
    if assignment.state is _S.HEALTHY:
        detail = "its probes passed" + ("; it was changed on the device since" if assignment.drifted else "")
        if may_be_reverted(one, history, view.running(one.artifact_name)):
            detail += f"; the rollout was aborted with revert and it goes back to {back} when it next checks in"
        return Fact(at, f"{what} put {version} here", detail, "back" if assignment.drifted else "good")
    told = {
        _S.ROLLED_BACK: (f"{what} tried {version}; the device rolled back to {back}", reason, "back"),
        _S.FAILED: (f"{what} offered {version}; it failed", reason, "bad"),
        _S.REVERTING: (f"{what} was aborted with revert; the device goes back from {version}", reason, "back"),
        _S.REVERTED: (f"{what} was aborted with revert; the device went back from {version}", reason, "good"),
        _S.REVERT_FAILED: (f"{what} was aborted with revert; going back from {version} failed", reason, "bad"),
        _S.SUPERSEDED: (f"{what} of {version} was superseded", reason, "quiet"),
        _S.SKIPPED: (f"{what} of {version} passed this device over", reason, "quiet"),
    }
    return Fact(at, *told[assignment.state])


def _why_it_waits(one: Candidate, view: View) -> str:
    if one.rollout.state in SERVING and view.hold is None:
        return ""
    return why_no_leave(one, view.hold, (), "") or ""


def _goal_facts(goal: Goal | None, history: Sequence[Candidate], versions: Mapping[ArtifactId, str]) -> list[Fact]:
    if goal is None:
        return []
    facts = []
    should = versions.get(goal.goal, "nothing") if goal.goal else "nothing"
    if goal.rollout is not None and all(one.id != goal.rollout for one in history):
        facts.append(Fact(None, f"{should} is the baseline", f"rollout {goal.rollout} made it so", "good"))
    if goal.restore is not None:
        tone = "bad" if goal.restore == "failed" else "flow"
        facts.append(Fact(goal.reported_at, f"{should} is restored here: {goal.restore}", goal.restore_reason, tone))
    if goal.drift_since is not None:
        text = f"The device says it runs {goal.running_version or 'nothing'}, where {should} should run"
        if goal.drift_reason:
            text = f"The device says: {goal.drift_reason}"
        facts.append(Fact(goal.drift_since, text, "drift is shown, and not repaired by itself", "back"))
    return facts


def _answer(
    running: str | None,
    goal: Goal | None,
    history: Sequence[Candidate],
    view: View,
    versions: Mapping[ArtifactId, str],
) -> str:
    runs = f"It runs {running}" if running else "It runs none of it"
    if goal is not None and goal.drift_since is not None:
        if goal.drift_reason:
            return f"{runs}, not as it was left there: {goal.drift_reason}"
        should = versions.get(goal.goal, "nothing") if goal.goal else "nothing"
        return f"{runs} although {should} should run: it was changed on the device, not by a rollout"
    if goal is not None and goal.restore is not None:
        should = versions.get(goal.goal, "nothing") if goal.goal else "nothing"
        return f"{runs} because the device was wiped or replaced; {should} is restored: {goal.restore}"
    if not history:
        return (
            f"{runs} because it is the baseline"
            if goal and goal.rollout
            else f"{runs}: no rollout included this device"
        )
    last = history[-1]
    version, state = last.version, last.assignment.state
    match state:
        case _S.HEALTHY:
            return f"{runs} because rollout {last.id} put it there and its probes passed"
        case _S.ROLLED_BACK:
            return f"{runs} because {version} did not pass here and was rolled back; a rollout tries a version once"
        case _S.FAILED:
            return f"{runs} because {version} failed here: {last.assignment.reason}"
        case _S.PENDING:
            why = why_not_served(last, view.hold) or "it is handed over at the next heartbeat"
            return f"{runs}; {version} waits: {why}"
        case _S.REVERTED | _S.REVERTING:
            return f"{runs} because rollout {last.id} of {version} was aborted with revert"
        case _S.REVERT_FAILED:
            return f"{runs} because going back from {version} failed: {last.assignment.reason}"
        case _S.SKIPPED | _S.SUPERSEDED:
            return f"{runs}; rollout {last.id} of {version} did not take place here: {last.assignment.reason}"
        case _:
            return f"{runs}; {version} is on its way: {state}"
