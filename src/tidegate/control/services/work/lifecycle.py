"""What enrolling, recovering and decommissioning a device means for its work; called inside those transactions."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from tidegate.control.domain.access import Scope
from tidegate.control.domain.devices import DeviceRef
from tidegate.control.domain.rollouts.desired import Goal, after_a_wipe
from tidegate.control.domain.rollouts.model import IN_FLIGHT, OPEN, AssignmentState
from tidegate.control.domain.rollouts.record import ArtifactVersion, RolloutRecord
from tidegate.control.domain.rollouts.report import Assignment
from tidegate.control.domain.rollouts.serve import aborted_with_revert
from tidegate.control.services.work.view import load
from tidegate.control.store import assignments, engine, facts, groups, rollouts, selectors, work
from tidegate.control.store.rollouts import Deltas
from tidegate.ids import DeviceId, RolloutId
from tidegate.wire import descriptor, selector

_S = AssignmentState


def enrolled(tx: Connection, scope: Scope, device_id: DeviceId) -> None:
    """A device that never was here: it gets the versions of completed baseline rollouts whose target it belongs to.

    Call after its tags, groups and hardware profile are written.
    """
    baselines = sorted(work.baselines(tx, scope.fleet_id), key=lambda one: -one[0])
    if not baselines:
        return
    known = {name for _, name in work.goals(tx, [device_id])}
    member_of = groups.names_holding(tx, scope.fleet_id, device_id)
    subject = facts.subjects(tx, [device_id])[device_id]
    given: dict[str, Goal] = {}
    for rollout, version, target in baselines:
        if version.name in known or version.name in given or not _belongs(json.loads(target), member_of, subject):
            continue
        text = work.descriptors(tx, [version.id])[version.id]
        if not selector.unmet(descriptor.decode(text.encode()).target_hardware, subject.hardware):
            given[version.name] = _as_goal(device_id, rollout, version)
    work.write(tx, given.values())


def reenrolled(tx: Connection, scope: Scope, device_id: DeviceId) -> None:
    """A device that was wiped or replaced: it is given again what it should run, and served again in the middle."""
    now = engine.now(tx)
    mine = _locked(tx, device_id, IN_FLIGHT | {_S.REVERTING, _S.HEALTHY})
    view, records = load(tx, DeviceRef(device_id, scope.actor.name, scope.fleet_id, scope.fleet), now)
    goals = [after_a_wipe(view, one) for one in view.goals.values()]
    # What it runs is not known until it says so; a device that kept everything needs nothing restored.
    work.write(
        tx,
        [
            replace(
                one,
                running_version=None,
                running_sha256=None,
                reported_at=None,
                drift_since=None,
                restore=None if one.goal is None else "pending",
                restore_reason="",
            )
            for one in goals
        ],
    )
    deltas = Deltas()
    changed = []
    for one in mine:
        if one.state is _S.HEALTHY and not aborted_with_revert(records[one.rollout].rollout):
            continue  # what it did counts, wiped since or not
        state = _S.PENDING if one.state in IN_FLIGHT else _S.SKIPPED
        deltas.move(one.rollout, one.wave, one.state, state)
        changed.append(
            replace(
                one,
                state=state,
                state_since=now,
                served_at=None,
                deadline_at=None,
                leave_at=None,
                terminal_by_server=state is _S.SKIPPED,
                reason="the device was enrolled again",
            )
        )
    assignments.write(tx, changed)
    deltas.write(tx)
    enrolled(tx, scope, device_id)


def decommissioned(tx: Connection, scope: Scope, device_id: DeviceId) -> None:
    """A device that is gone for good: its open assignments end as skipped; sizes stay as they were at release."""
    deltas = Deltas()
    changed = []
    now = engine.now(tx)
    for one in _locked(tx, device_id, OPEN | {_S.REVERTING}):
        deltas.move(one.rollout, one.wave, one.state, _S.SKIPPED)
        ended = replace(one, state=_S.SKIPPED, state_since=now, deadline_at=None, terminal_by_server=True)
        changed.append(replace(ended, reason="the device was decommissioned"))
    assignments.write(tx, changed)
    deltas.write(tx)
    goals = work.goals(tx, [device_id]).values()
    work.write(tx, [replace(one, restore=None) for one in goals if one.restore is not None])


def baseline_completed(tx: Connection, record: RolloutRecord) -> list[DeviceId]:
    """Devices that enrolled while this baseline rollout was open get its version now that it is completed."""
    target = json.loads(record.target)
    among = []
    if target.get("group") is not None:
        members = groups.members_by_name(tx, record.fleet_id, target["group"])
        if members is None:
            return []
        among.append(members)
    if target.get("selector") is not None:
        among.append(selectors.matching(record.fleet_id, selector.parse(target["selector"])))
    text = work.descriptors(tx, [record.artifact.id])[record.artifact.id]
    needs = descriptor.decode(text.encode()).target_hardware
    if needs:
        among.append(selectors.matching(record.fleet_id, selector.parse(needs, "/target_hardware", selector.HARDWARE)))
    found = work.newcomers(tx, record, among)
    known = work.goals(tx, found)
    work.write(
        tx,
        [
            replace(
                known.get((one, record.artifact.name)) or Goal(one, record.artifact.name),
                goal=record.artifact.id,
                rollout=record.id,
                generation=1,
                restore="pending",
            )
            for one in found
        ],
        only=work.SHOULD_RUN,
    )
    return found


def _as_goal(device_id: DeviceId, rollout: RolloutId, version: ArtifactVersion) -> Goal:
    return Goal(device_id, version.name, version.id, rollout, generation=1, restore="pending")


def _locked(tx: Connection, device_id: DeviceId, states: Iterable[AssignmentState]) -> list[Assignment]:
    """The device's assignments in these states, their rollouts held."""
    wanted = frozenset(states)
    rollouts.lock(tx, {one.rollout for one in assignments.of_device(tx, device_id) if one.state in wanted})
    return [one for one in assignments.of_device(tx, device_id) if one.state in wanted]


def _belongs(target: Mapping[str, Any], member_of: Collection[str], subject: selector.Subject) -> bool:
    """Whether a rollout to this target would have included the device."""
    if target.get("group") is not None:
        return target["group"] in member_of
    if target.get("selector") is not None:
        return selector.matches(selector.parse(target["selector"]), subject)
    return True
