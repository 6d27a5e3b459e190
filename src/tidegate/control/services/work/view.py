"""Reading everything that decides about one device's work."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.devices import DeviceRef
from tidegate.control.domain.rollouts.desired import View
from tidegate.control.domain.rollouts.record import RolloutRecord
from tidegate.control.domain.rollouts.report import Assignment
from tidegate.control.domain.rollouts.serve import Candidate
from tidegate.control.store import assignments, rollouts, work
from tidegate.control.store.schema import devices
from tidegate.ids import ArtifactId, RolloutId


def load(tx: Connection, device: DeviceRef, now: datetime) -> tuple[View, dict[RolloutId, RolloutRecord]]:
    """The device's whole history of assignments with their rollouts, goals and holds."""
    own = assignments.of_device(tx, device.id)
    records = rollouts.by_ids(tx, {one.rollout for one in own})
    in_flight = in_flight_counts(tx, own)
    candidates = [candidate(one, records[one.rollout], in_flight.get(one.rollout, 0)) for one in own]
    goals = {name: goal for (_, name), goal in work.goals(tx, [device.id]).items()}
    named = {one.artifact for one in candidates} | {
        other for one in own for other in (one.previous_artifact, one.revert_artifact) if other is not None
    }
    named |= {goal.goal for goal in goals.values() if goal.goal is not None}
    withdrawn = {one: version.withdrawn for one, version in work.versions(tx, named).items()}
    active = tx.scalar(sa.select(devices.c.state).where(devices.c.id == device.id)) == "active"
    hold = work.hold(tx, device.fleet_id, device.id, now)
    return View(candidates, goals, hold, withdrawn, active), records


def in_flight_counts(tx: Connection, own: list[Assignment]) -> dict[RolloutId, int]:
    """Devices at work per rollout, for those in which this device is still pending."""
    pending = {one.rollout for one in own if one.state.value == "pending"}
    return {one: rollouts.tally(rows).in_flight for one, rows in rollouts.waves(tx, pending).items()}


def candidate(one: Assignment, record: RolloutRecord, in_flight: int) -> Candidate:
    artifact = record.artifact
    return Candidate(
        assignment=one,
        rollout=record.rollout,
        artifact=ArtifactId(artifact.id),
        artifact_name=artifact.name,
        version=artifact.version,
        descriptor_sha256=artifact.descriptor_sha256,
        withdrawn=artifact.withdrawn,
        in_flight=in_flight,
    )
