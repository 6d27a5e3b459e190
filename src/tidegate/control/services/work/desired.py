"""The desired state of one device: decided on a read; where it hands something over, decided again under locks."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection

from tidegate.control.domain.devices import DeviceRef
from tidegate.control.domain.rollouts.desired import Decided, Item, decide, ordered
from tidegate.control.domain.rollouts.model import SERVING, AssignmentState
from tidegate.control.domain.rollouts.record import ArtifactVersion, RolloutRecord
from tidegate.control.domain.rollouts.report import Assignment
from tidegate.control.domain.rollouts.serve import Candidate, Hold, WayBack
from tidegate.control.services.node import Node
from tidegate.control.services.work.view import load
from tidegate.control.store import assignments, engine, rollouts, work
from tidegate.control.store.rollouts import Deltas
from tidegate.errors import Unavailable
from tidegate.ids import ArtifactId, DeviceId, FleetId, RolloutId
from tidegate.wire import descriptor
from tidegate.wire.device import DesiredState, Probe, Work

_S = AssignmentState
#: Rounds of deciding before the device is asked to come back.
ATTEMPTS = 5
_PROBES = msgspec.json.Decoder(tuple[Probe, ...])


def desired(node: Node, device: DeviceRef) -> DesiredState:
    """All open work of `device`, in the order to take it up; hands over what may be served, in one transaction.

    Raises:
        Unavailable: its rollouts changed again and again while it was decided.
    """
    for _ in range(ATTEMPTS):
        with node.db.read() as tx:
            view, records = load(tx, device, engine.now(tx))
            decided = decide(view)
            if not decided.writes:
                return _state(tx, device, decided.items, records, view.hold)
            touched = _touched(decided)
        with node.db.write() as tx:
            # Devices before rollouts, as everywhere: its goals are written whole, and a report may be about them.
            work.lock_ledgers(tx, [device.id])
            rollouts.lock(tx, touched)
            now = engine.now(tx)
            view, records = load(tx, device, now)
            decided = decide(view)
            # What became possible only between the two reads is not locked: decide once more.
            if _touched(decided) <= touched:
                _write(tx, device, decided, records, now)
                return _state(tx, device, decided.items, records, view.hold)
    raise Unavailable(f"cannot decide the desired state of {device.name}: its rollouts keep changing")


def devices_with_work(node: Node, fleet_id: FleetId) -> set[DeviceId]:
    """Devices of the fleet whose desired state is, or may be, not empty."""
    with node.db.read() as tx:
        return assignments.with_work(tx, fleet_id) | work.with_restores(tx, fleet_id)


def generation(node: Node) -> dict[FleetId, int]:
    """A number per fleet that changes whenever desired states may: what replicas and restarts look at."""
    with node.db.read() as tx:
        return rollouts.generations(tx)


def _touched(decided: Decided) -> set[RolloutId]:
    named = [*decided.serve, *(one for one, _ in decided.supersede), *(one for one, _ in decided.revert)]
    return {one.id for one in named}


def _write(
    tx: Connection, device: DeviceRef, decided: Decided, records: dict[RolloutId, RolloutRecord], now: datetime
) -> None:
    deltas = Deltas()
    changed: list[Assignment] = []
    events: list[assignments.Event] = []

    def end(one: Candidate, after: Assignment, kind: str, detail: str) -> None:
        deltas.move(one.id, one.assignment.wave, one.assignment.state, after.state)
        changed.append(after)
        events.append(assignments.Event(device.fleet_id, device.id, one.id, kind, detail))

    for one in decided.serve:
        end(one, _served(one, records[one.id], now), "assigned", f"{one.artifact_name} {one.version} handed over")
        rollouts.note_served(tx, one.id, now)
    for one, newer in decided.supersede:
        reason = f"rollout {newer} of {one.artifact_name} was served"
        after = replace(
            one.assignment,
            state=_S.SUPERSEDED,
            state_since=now,
            deadline_at=None,
            terminal_by_server=True,
            reason=reason,
        )
        end(one, after, "superseded", f"by rollout {newer}")
    for one, back in decided.revert:
        after = _reverting(one, back, now)
        end(one, after, after.state.value, after.reason or f"rollout {one.id} was aborted with revert")
    assignments.write(tx, changed)
    deltas.write(tx)
    work.write(tx, [replace(goal, restore="assigned") for goal in decided.restore])
    assignments.write_events(tx, events, now)


def _served(one: Candidate, record: RolloutRecord, now: datetime) -> Assignment:
    deadline = now + timedelta(seconds=record.rollout.strategy.deadline_seconds - record.halted_seconds)
    return replace(one.assignment, state=_S.ASSIGNED, state_since=now, served_at=now, deadline_at=deadline, reason="")


def _reverting(one: Candidate, back: WayBack, now: datetime) -> Assignment:
    common = replace(one.assignment, state_since=now, deadline_at=None, revert_artifact=back.artifact)
    if back.unknown:
        return replace(common, state=_S.REVERT_FAILED, terminal_by_server=True, reason=back.unknown)
    if back.artifact == one.artifact:
        reason = "it ran this version before the rollout"
        return replace(common, state=_S.REVERTED, terminal_by_server=True, reason=reason)
    return replace(common, state=_S.REVERTING, terminal_by_server=False, reason="")


# -- as the device reads it -------------------------------------------------------------------------------------------


def _state(
    tx: Connection, device: DeviceRef, items: list[Item], records: dict[RolloutId, RolloutRecord], hold: Hold | None
) -> DesiredState:
    if not items:
        return DesiredState()
    ids = {item.artifact for item in items if item.artifact is not None}
    versions = work.versions(tx, ids)
    requires = {
        one: [need.artifact for need in descriptor.decode(text.encode()).requires]
        for one, text in work.descriptors(tx, ids).items()
    }
    foreign = {item.probes_of for item in items if item.probes_of is not None} - records.keys()
    known = records | rollouts.by_ids(tx, foreign)
    notice = _notice(items, records, hold)
    return DesiredState(tuple(_work(device, item, versions, known) for item in ordered(items, requires)), notice)


def _notice(items: list[Item], records: dict[RolloutId, RolloutRecord], hold: Hold | None) -> str:
    """What keeps work from being given leave until a person acts.

    When it changes the digest does, so that a resume or a release wakes a device that was told to ask again much later.
    """
    named = [records[item.rollout] for item in items if item.kind == "install" and item.rollout in records]
    waits = [f"rollout {one.id} is {one.rollout.state}" for one in named if one.rollout.state not in SERVING]
    return "; ".join(([str(hold)] if hold is not None else []) + waits)


def _work(
    device: DeviceRef,
    item: Item,
    versions: dict[ArtifactId, ArtifactVersion],
    records: dict[RolloutId, RolloutRecord],
) -> Work:
    probes = () if item.probes_of is None else _PROBES.decode(records[item.probes_of].probes)
    if item.kind == "install":
        work_id = f"r{item.rollout}"
    elif item.kind == "revert":
        work_id = f"v{item.rollout}"
    else:
        work_id = f"s{item.goal_generation}-{item.name}"
    if item.artifact is None:
        return Work(work_id, "remove", item.name, rollout=item.rollout)
    version = versions[item.artifact]
    return Work(
        id=work_id,
        kind=item.kind,
        artifact=item.name,
        version=version.version,
        descriptor_path=descriptor.target_path(device.fleet, version.name, version.version, descriptor.DESCRIPTOR_FILE),
        descriptor_sha256=version.descriptor_sha256,
        probes=probes,
        rollout=item.rollout,
    )
