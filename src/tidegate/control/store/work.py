"""What a device should run and does run, per artifact name; holds and requirements that bear on its work."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from tidegate.control.domain.rollouts.desired import Goal
from tidegate.control.domain.rollouts.record import ArtifactVersion, RolloutRecord
from tidegate.control.domain.rollouts.serve import Hold
from tidegate.control.store import engine, groups, holds
from tidegate.control.store.schema import (
    ACTIVE,
    artifacts,
    assignments,
    device_artifacts,
    devices,
    fleets,
    rollouts,
)
from tidegate.ids import ArtifactId, DeviceId, FleetId, RolloutId


def _goal(row: Row[Any]) -> Goal:
    return Goal(
        device=DeviceId(row.device_id),
        name=row.artifact_name,
        goal=None if row.goal_artifact_id is None else ArtifactId(row.goal_artifact_id),
        rollout=None if row.goal_rollout_id is None else RolloutId(row.goal_rollout_id),
        generation=row.goal_generation,
        running_version=row.running_version,
        running_sha256=row.running_descriptor_sha256,
        previous_version=row.previous_version,
        reported_at=row.reported_at,
        restore=row.restore_state,
        restore_reason=row.restore_reason,
        drift_since=row.drift_since,
        drift_reason=row.drift_reason,
    )


def goals(tx: Connection, device_ids: Collection[DeviceId]) -> dict[tuple[DeviceId, str], Goal]:
    query = sa.select(device_artifacts).where(device_artifacts.c.device_id.in_(sorted(device_ids)))
    return {(DeviceId(row.device_id), row.artifact_name): _goal(row) for row in tx.execute(query)}


#: What a baseline sets; the rest of a goal is the device's to tell.
SHOULD_RUN = ("goal_artifact_id", "goal_rollout_id", "goal_generation", "restore_state")


def write(tx: Connection, changed: Iterable[Goal], only: Collection[str] = ()) -> None:
    """Write these goals whole, or of those that are on record `only` some columns."""
    rows = [
        {
            "device_id": one.device,
            "artifact_name": one.name,
            "goal_artifact_id": one.goal,
            "goal_rollout_id": one.rollout,
            "goal_generation": one.generation,
            "running_version": one.running_version,
            "running_descriptor_sha256": one.running_sha256,
            "previous_version": one.previous_version,
            "reported_at": one.reported_at,
            "restore_state": one.restore,
            "restore_reason": one.restore_reason,
            "drift_since": one.drift_since,
            "drift_reason": one.drift_reason,
        }
        for one in sorted(changed, key=lambda one: (one.device, one.name))
    ]
    if rows:
        columns = [name for name in rows[0] if name not in ("device_id", "artifact_name")]
        columns = [name for name in columns if not only or name in only]
        engine.upsert(tx, device_artifacts, rows, key=("device_id", "artifact_name"), update=columns)


def forget(tx: Connection, device_id: DeviceId, names: Collection[str]) -> None:
    """Keep nothing of these names on that device."""
    if names:
        gone = (device_artifacts.c.device_id == device_id) & device_artifacts.c.artifact_name.in_(sorted(names))
        tx.execute(device_artifacts.delete().where(gone))


def with_restores(tx: Connection, fleet_id: FleetId) -> set[DeviceId]:
    query = (
        sa.select(device_artifacts.c.device_id)
        .join(devices, devices.c.id == device_artifacts.c.device_id)
        .where(devices.c.fleet_id == fleet_id, devices.c.state == ACTIVE)
        .where(device_artifacts.c.restore_state.is_not(None), device_artifacts.c.restore_state != "failed")
    )
    return {DeviceId(row.device_id) for row in tx.execute(query)}


def await_holds(tx: Connection, fleet_id: FleetId) -> None:
    """Wait for a hold that is being set or released, and keep the next one waiting until the commit.

    Every change of a hold raises the fleet's generation (store/devices.py `bump`), which locks the same row.
    """
    tx.execute(engine.for_share(sa.select(fleets.c.id).where(fleets.c.id == fleet_id)))


def hold(tx: Connection, fleet_id: FleetId, device_id: DeviceId, now: datetime) -> Hold | None:
    """What holds the device now: itself, a group, or the freeze of its fleet."""
    query = sa.select(devices.c.hold_reason, devices.c.hold_until).where(devices.c.id == device_id)
    row = tx.execute(query).one()
    if row.hold_reason is not None and (row.hold_until is None or row.hold_until > now):
        return Hold("device", row.hold_reason, row.hold_until)
    for name, found in groups.holds_on(tx, fleet_id, device_id):
        if found.in_force(now):
            return Hold(f"group {name}", found.reason, found.until)
    freeze = holds.freeze(tx, fleet_id)
    if freeze is not None and freeze.in_force(now):
        return Hold("fleet", freeze.reason, freeze.until)
    return None


# -- artifacts --------------------------------------------------------------------------------------------------------


def _version(row: Any) -> ArtifactVersion:
    return ArtifactVersion(
        ArtifactId(row.id), row.name, row.version, row.kind, row.descriptor_sha256, row.withdrawn_at is not None
    )


_VERSION = (
    artifacts.c.id,
    artifacts.c.name,
    artifacts.c.version,
    artifacts.c.kind,
    artifacts.c.descriptor_sha256,
    artifacts.c.withdrawn_at,
)


def versions(tx: Connection, ids: Collection[ArtifactId]) -> dict[ArtifactId, ArtifactVersion]:
    if not ids:
        return {}
    query = sa.select(*_VERSION).where(artifacts.c.id.in_(sorted(ids)))
    return {ArtifactId(row.id): _version(row) for row in tx.execute(query)}


def version(tx: Connection, fleet_id: FleetId, name: str, version: str) -> ArtifactVersion | None:
    query = sa.select(*_VERSION).where(
        artifacts.c.fleet_id == fleet_id, artifacts.c.name == name, artifacts.c.version == version
    )
    row = tx.execute(query).one_or_none()
    return None if row is None else _version(row)


def descriptors(tx: Connection, ids: Collection[ArtifactId]) -> dict[ArtifactId, str]:
    """The signed descriptors' texts."""
    if not ids:
        return {}
    query = sa.select(artifacts.c.id, artifacts.c.descriptor).where(artifacts.c.id.in_(sorted(ids)))
    return {ArtifactId(row.id): row.descriptor for row in tx.execute(query)}


# -- baseline ---------------------------------------------------------------------------------------------------------


def baselines(tx: Connection, fleet_id: FleetId) -> list[tuple[RolloutId, ArtifactVersion, str]]:
    """The newest completed baseline rollout per artifact name and target: id, version (not withdrawn), target."""
    query = (
        sa.select(rollouts.c.id.label("rollout"), rollouts.c.target, *_VERSION)
        .join(artifacts, artifacts.c.id == rollouts.c.artifact_id)
        .where(rollouts.c.fleet_id == fleet_id, rollouts.c.baseline, rollouts.c.state == "completed")
        .where(artifacts.c.withdrawn_at.is_(None))
        .order_by(rollouts.c.id.desc())
    )
    newest: dict[tuple[str, str], tuple[RolloutId, ArtifactVersion, str]] = {}
    for row in tx.execute(query):
        newest.setdefault((row.name, row.target), (RolloutId(row.rollout), _version(row), row.target))
    return list(newest.values())


def newcomers(tx: Connection, record: RolloutRecord, among: Iterable[sa.Select[Any]]) -> list[DeviceId]:
    """Devices enrolled since the rollout was created, not in it, never told what to run of its name.

    `among`: ids of devices; in all of them.
    """
    known = sa.select(device_artifacts.c.device_id).where(
        device_artifacts.c.device_id == devices.c.id,
        device_artifacts.c.artifact_name == record.artifact.name,
        device_artifacts.c.goal_generation > 0,
    )
    member = sa.select(assignments.c.device_id).where(
        assignments.c.rollout_id == record.id, assignments.c.device_id == devices.c.id
    )
    query = sa.select(devices.c.id).where(
        devices.c.fleet_id == record.fleet_id,
        devices.c.state == ACTIVE,
        devices.c.created_at > record.created_at,
        ~known.exists(),
        ~member.exists(),
    )
    for some in among:
        query = query.where(devices.c.id.in_(some))
    return [DeviceId(row.id) for row in tx.execute(query.order_by(devices.c.id))]


# -- the reports' ledger ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ledger:
    """How far a device's reports are taken."""

    device: DeviceId
    installation: str | None
    sequence: int


def lock_ledgers(tx: Connection, device_ids: Sequence[DeviceId]) -> dict[DeviceId, Ledger]:
    """Hold these devices' rows, in one order, and read how far their reports are taken."""
    query = (
        sa.select(devices.c.id, devices.c.installation, devices.c.report_sequence)
        .where(devices.c.id.in_(sorted(device_ids)))
        .order_by(devices.c.id)
    )
    found = tx.execute(engine.for_update(query))
    return {DeviceId(row.id): Ledger(DeviceId(row.id), row.installation, row.report_sequence) for row in found}


def write_ledgers(tx: Connection, ledgers: Collection[Ledger]) -> None:
    if ledgers:
        statement = (
            devices.update()
            .where(devices.c.id == sa.bindparam("b_id"))
            .values(installation=sa.bindparam("b_installation"), report_sequence=sa.bindparam("b_sequence"))
        )
        ordered = sorted(ledgers, key=lambda one: one.device)
        rows = [{"b_id": one.device, "b_installation": one.installation, "b_sequence": one.sequence} for one in ordered]
        tx.execute(statement, rows)
