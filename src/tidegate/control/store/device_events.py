"""The history of devices: forgetting it."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.store.schema import device_events


def prune(tx: Connection, fleet_id: int, before: datetime, most: int) -> int:
    """Forget at most so many events of a fleet from before this time, the oldest first; gives how many."""
    chosen = (
        sa.select(device_events.c.id)
        .where(device_events.c.fleet_id == fleet_id, device_events.c.at < before)
        .order_by(device_events.c.id)
        .limit(most)
    )
    return int(tx.execute(sa.delete(device_events).where(device_events.c.id.in_(chosen))).rowcount)
