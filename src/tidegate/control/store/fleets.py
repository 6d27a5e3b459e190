"""Fleets as rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from tidegate.control.domain.fleets import Fleet
from tidegate.control.store.schema import fleets
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


def _fleet(row: Row[Any] | None) -> Fleet | None:
    if row is None:
        return None
    return Fleet(
        FleetId(row.id), row.name, row.interval_seconds, row.frozen_reason, row.frozen_until, row.device_generation
    )
