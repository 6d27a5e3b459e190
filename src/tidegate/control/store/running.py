"""What runs where, for people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.store import runs
from tidegate.control.store.schema import ACTIVE, artifacts, device_artifacts, devices
from tidegate.ids import DeviceId, FleetId


@dataclass(frozen=True, slots=True)
class Installed:
    """One artifact name on one device: what runs by its word, what should."""

    device: str
    artifact: str
    kind: str
    running_version: str | None
    previous_version: str | None
    goal_version: str | None
    rollout: int | None
    drift_since: datetime | None
    restore: str | None
    restore_reason: str
    reported_at: datetime | None
    drift_reason: str = ""


@dataclass(frozen=True, slots=True)
class InTheField:
    artifact: str
    version: str
    devices: int


def _installed() -> sa.Select[Any]:
    return (
        sa.select(device_artifacts, devices.c.name.label("device"), artifacts.c.version.label("goal"), artifacts.c.kind)
        .join(devices, devices.c.id == device_artifacts.c.device_id)
        .join(artifacts, artifacts.c.id == device_artifacts.c.goal_artifact_id, isouter=True)
    )


def _row(row: Any) -> Installed:
    return Installed(
        device=row.device,
        artifact=row.artifact_name,
        kind=row.kind or "",
        running_version=row.running_version,
        previous_version=row.previous_version,
        goal_version=row.goal,
        rollout=row.goal_rollout_id,
        drift_since=row.drift_since,
        restore=row.restore_state,
        restore_reason=row.restore_reason,
        reported_at=row.reported_at,
        drift_reason=row.drift_reason,
    )


def installed(tx: Connection, device_id: DeviceId) -> tuple[Installed, ...]:
    query = _installed().where(device_artifacts.c.device_id == device_id).order_by(device_artifacts.c.artifact_name)
    return tuple(_row(row) for row in tx.execute(query))


def drifted(tx: Connection, fleet_id: FleetId, limit: int) -> tuple[Installed, ...]:
    """The latest first."""
    # The fleet as an expression: by a bare column SQLite would walk its devices and ask each whether it drifted.
    mine = devices.c.fleet_id + 0 == fleet_id
    query = _installed().where(mine, devices.c.state == ACTIVE, device_artifacts.c.drift_since.is_not(None))
    found = tx.execute(query.order_by(device_artifacts.c.drift_since.desc()).limit(limit))
    return tuple(_row(row) for row in found)


def in_the_field(tx: Connection, fleet_id: FleetId) -> tuple[InTheField, ...]:
    """How many living devices run each version, by artifact name."""
    return tuple(InTheField(*one) for one in runs.by_name(tx, fleet_id))
