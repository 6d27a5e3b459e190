"""Counting for lists."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

#: The same as wire/operator/common.py `MAX_TOTAL`: counting further would cost more than it tells.
COUNTED = 10_000


def total(tx: Connection, rows: sa.Select[Any]) -> int:
    """How many rows there are, exact up to `COUNTED`."""
    limited = rows.order_by(None).limit(COUNTED).subquery()
    return int(tx.scalar(sa.select(sa.func.count()).select_from(limited)) or 0)
