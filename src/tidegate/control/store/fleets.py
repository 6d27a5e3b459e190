"""Fleets as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from tidegate.control.domain.fleets import Fleet, FleetSettings
from tidegate.control.store import engine
from tidegate.control.store.schema import ACTIVE, fleets
from tidegate.control.store.schema import devices as device_rows
from tidegate.ids import FleetId


def insert(tx: Connection, name: str, *, at: datetime, interval_seconds: int) -> Fleet:
    result = tx.execute(sa.insert(fleets).values(name=name, created_at=at, interval_seconds=interval_seconds))
    assert result.inserted_primary_key is not None
    return Fleet(FleetId(result.inserted_primary_key[0]), name, interval_seconds, None, None, 0)


def by_name(tx: Connection, name: str) -> Fleet | None:
    return _fleet(tx.execute(sa.select(fleets).where(fleets.c.name == name)).one_or_none())


def by_id(tx: Connection, fleet_id: FleetId) -> Fleet | None:
    return _fleet(tx.execute(sa.select(fleets).where(fleets.c.id == fleet_id)).one_or_none())


def every(tx: Connection) -> list[Fleet]:
    """All fleets, in the order of their ids."""
    return [found for row in tx.execute(sa.select(fleets).order_by(fleets.c.id)) if (found := _fleet(row))]


def lock_every(tx: Connection) -> list[Fleet]:
    """All fleets, and nobody makes another until the transaction ends: whoever would, locks the first one as well."""
    tx.execute(engine.for_update(sa.select(fleets.c.id).order_by(fleets.c.id).limit(1))).all()
    return every(tx)


def settings(tx: Connection, fleet_id: FleetId, *, lock: bool = False) -> FleetSettings:
    statement = sa.select(fleets).where(fleets.c.id == fleet_id)
    row = tx.execute(engine.for_update(statement) if lock else statement).one()
    return FleetSettings(row.interval_seconds, row.four_eyes, row.default_strategy, row.device_events_days)


def set_settings(tx: Connection, fleet_id: FleetId, chosen: FleetSettings) -> None:
    tx.execute(sa.update(fleets).where(fleets.c.id == fleet_id).values(asdict(chosen)))


def events_days(tx: Connection) -> dict[FleetId, int | None]:
    """How long each fleet keeps the history of its devices; None: as the node's settings say."""
    query = sa.select(fleets.c.id, fleets.c.device_events_days).order_by(fleets.c.id)
    return {FleetId(row.id): row.device_events_days for row in tx.execute(query)}


def devices(tx: Connection, fleet_ids: Sequence[FleetId]) -> dict[FleetId, int]:
    """Devices that are not decommissioned, by fleet."""
    query = (
        sa.select(device_rows.c.fleet_id, sa.func.count().label("counted"))
        .where(device_rows.c.fleet_id.in_(fleet_ids), device_rows.c.state == ACTIVE)
        .group_by(device_rows.c.fleet_id)
    )
    return {FleetId(row.fleet_id): row.counted for row in tx.execute(query)}


def _fleet(row: Row[Any] | None) -> Fleet | None:
    if row is None:
        return None
    return Fleet(
        FleetId(row.id), row.name, row.interval_seconds, row.frozen_reason, row.frozen_until, row.device_generation
    )
