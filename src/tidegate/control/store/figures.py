"""Counts for metrics."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.store.schema import rollouts


def rollouts_by_state(tx: Connection) -> dict[str, int]:
    rows = tx.execute(sa.select(rollouts.c.state, sa.func.count()).group_by(rollouts.c.state))
    return {row[0]: row[1] for row in rows}
