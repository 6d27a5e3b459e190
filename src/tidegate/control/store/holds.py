"""The freeze of a fleet, and holds whose time is over."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.devices import Hold
from tidegate.control.store import engine
from tidegate.control.store.schema import ACTIVE, devices, fleets, groups
from tidegate.ids import FleetId


def freeze(tx: Connection, fleet_id: FleetId, *, lock: bool = False) -> Hold | None:
    statement = sa.select(fleets.c.frozen_reason, fleets.c.frozen_until).where(fleets.c.id == fleet_id)
    row = tx.execute(engine.for_update(statement) if lock else statement).first()
    return None if row is None or row.frozen_reason is None else Hold(row.frozen_reason, row.frozen_until)


def set_freeze(tx: Connection, fleet_id: FleetId, hold: Hold | None) -> None:
    values = {"frozen_reason": hold.reason if hold else None, "frozen_until": hold.until if hold else None}
    tx.execute(fleets.update().where(fleets.c.id == fleet_id).values(**values))


def expired(tx: Connection, now: datetime) -> list[tuple[FleetId, str, str, str]]:
    """Holds that ended before `now`: fleet, its name, ``device`` | ``group`` | ``fleet``, and which."""
    of_devices = (
        sa.select(devices.c.fleet_id, fleets.c.name.label("fleet"), sa.literal("device").label("kind"), devices.c.name)
        .join(fleets, fleets.c.id == devices.c.fleet_id)
        .where(devices.c.state == ACTIVE, devices.c.hold_reason.is_not(None), devices.c.hold_until <= now)
    )
    of_groups = (
        sa.select(groups.c.fleet_id, fleets.c.name.label("fleet"), sa.literal("group").label("kind"), groups.c.name)
        .join(fleets, fleets.c.id == groups.c.fleet_id)
        .where(groups.c.hold_reason.is_not(None), groups.c.hold_until <= now)
    )
    of_fleets = sa.select(fleets.c.id, fleets.c.name, sa.literal("fleet"), fleets.c.name).where(
        fleets.c.frozen_reason.is_not(None), fleets.c.frozen_until <= now
    )
    rows = [row for query in (of_devices, of_groups, of_fleets) for row in tx.execute(query)]
    return [(FleetId(row[0]), row[1], row[2], row[3]) for row in rows]
