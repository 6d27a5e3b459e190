"""What a device says it runs, when that changed: drift, a wiped device, and what a revert has to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from tidegate.control.domain.devices import DeviceRef
from tidegate.control.domain.rollouts.desired import Goal
from tidegate.control.domain.rollouts.model import WITH_LEAVE, AssignmentState
from tidegate.control.domain.rollouts.record import ArtifactVersion
from tidegate.control.domain.rollouts.report import drifted
from tidegate.control.services import history
from tidegate.control.services.node import Node
from tidegate.control.store import assignments, engine, rollouts, work
from tidegate.control.store.rollouts import Deltas
from tidegate.ids import ArtifactId
from tidegate.wire.device import Installed

#: A heartbeat that crossed a report on the way tells what was; after this long it can be no such one.
SETTLING_SECONDS = 10


def observe(node: Node, device: DeviceRef, installed: Sequence[Installed]) -> bool:
    """Record what `device` says it runs.

    Gives False when a report of the last seconds contradicts it: then it may be older than the report, nothing is
    recorded, and it must be looked at again at the next heartbeat.
    """
    said = {one.artifact: one for one in installed}
    with node.db.read() as tx:
        goals = work.goals(tx, [device.id])
        if not any(_differs(goal, said.get(goal.name)) for goal in goals.values()) and all(
            (device.id, name) in goals for name in said
        ):
            return True
    with node.db.write() as tx:
        work.lock_ledgers(tx, [device.id])
        goals = work.goals(tx, [device.id])
        now = engine.now(tx)
        settled = now - timedelta(seconds=SETTLING_SECONDS)
        differing = [goal for goal in goals.values() if _differs(goal, said.get(goal.name))]
        if any(goal.reported_at is not None and goal.reported_at > settled for goal in differing):
            return False
        _record(tx, node, device, said, {goal.name: goal for goal in goals.values()}, now)
    node.hub.nudge("rollouts", device.fleet_id, [device.id])
    return True


def _differs(goal: Goal, said: Installed | None) -> bool:
    """Whether the device says something else than is on record, or ends what was waited for."""
    now = (said.version, said.descriptor_sha256, said.drift) if said else (None, None, "")
    return (goal.running_version, goal.running_sha256, goal.drift_reason) != now or goal.restore == "pending"


def _record(
    tx: Connection, node: Node, device: DeviceRef, said: dict[str, Installed], known: dict[str, Goal], now: datetime
) -> None:
    wiped = not said and any(goal.goal is not None and goal.running_version is not None for goal in known.values())
    versions = work.versions(tx, {goal.goal for goal in known.values() if goal.goal is not None})
    switching = _switching(tx, device, known)
    changed: list[Goal] = []
    gone: list[Goal] = []
    for name in sorted(known.keys() | said.keys()):
        before = known.get(name) or Goal(device.id, name)
        after = _observed(before, said.get(name), now)
        should = versions.get(before.goal) if before.goal is not None else None
        if _as_it_should(after, should) or before.generation == 0:
            after = replace(after, drift_since=None, restore=None if _as_it_should(after, should) else after.restore)
        elif wiped and should is not None:
            after = replace(after, restore=after.restore or "pending")
        elif after.restore is None and name not in switching and before.drift_since is None:
            after = replace(after, drift_since=now)
            gone.append(after)
        changed.append(after)
    # What a device said once is not kept: it may say other names each time.
    work.write(tx, [one for one in changed if not one.tells_nothing])
    work.forget(tx, device.id, [one.name for one in changed if one.tells_nothing])
    _mark_drift(tx, node, device, gone, versions, now)


def _observed(goal: Goal, said: Installed | None, now: datetime) -> Goal:
    return replace(
        goal,
        running_version=said.version if said else None,
        running_sha256=said.descriptor_sha256 if said else None,
        previous_version=said.previous_version if said else goal.running_version,
        reported_at=now,
        drift_reason=said.drift if said else "",
    )


def _as_it_should(goal: Goal, should: ArtifactVersion | None) -> bool:
    return goal.running_sha256 == (should.descriptor_sha256 if should else None) and not goal.drift_reason


def _switching(tx: Connection, device: DeviceRef, known: dict[str, Goal]) -> set[str]:
    """Artifact names of which a switch may be under way, forward or back: what runs is theirs to tell.

    An end that the server made leaves that open only until a later rollout has put something there.
    """
    begun = [one for one in assignments.of_device(tx, device.id) if one.leave_at is not None]
    moving = [
        one
        for one in begun
        if one.state in WITH_LEAVE or one.state is AssignmentState.REVERTING or one.terminal_by_server
    ]
    found = set()
    for rollout, record in rollouts.by_ids(tx, {one.rollout for one in moving}).items():
        goal = known.get(record.artifact.name)
        by_server = next(one.terminal_by_server for one in moving if one.rollout == rollout)
        if not by_server or goal is None or goal.rollout is None or rollout > goal.rollout:
            found.add(record.artifact.name)
    return found


def _mark_drift(
    tx: Connection,
    node: Node,
    device: DeviceRef,
    gone: Sequence[Goal],
    versions: dict[ArtifactId, ArtifactVersion],
    now: datetime,
) -> None:
    """Tell it in the history, and in the rollouts that put there what is gone."""
    if not gone:
        return
    records = rollouts.lock(tx, {goal.rollout for goal in gone if goal.rollout is not None})
    own = assignments.of_devices(tx, {(rollout, device.id) for rollout in records})
    deltas = Deltas()
    events = []
    for goal in gone:
        should = versions[goal.goal].version if goal.goal is not None else "nothing"
        runs = goal.drift_reason or f"runs {goal.running_version or 'nothing'}, should run {should}"
        detail = f"{goal.name}: {runs}"
        events.append(assignments.Event(device.fleet_id, device.id, goal.rollout, "drift", detail))
        mine = own.get((goal.rollout, device.id)) if goal.rollout is not None else None
        if mine is not None and goal.rollout is not None:
            effect = drifted(mine, detail, records[goal.rollout].context())
            assignments.write(tx, [effect.after])
            deltas.unacknowledged(goal.rollout, mine.wave, effect.unacknowledged)
    deltas.write(tx)
    history.tell(tx, node, events, now)
