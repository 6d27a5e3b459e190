"""What is kept for a time only, and when it is forgotten. The audit log is never pruned.

Each kind goes in batches of its own transactions, so that a first pass over years of history holds nobody up.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection

from tidegate.control.domain.people import BROWSER_LIFE, SESSION_IDLE
from tidegate.control.services import logs, uploads
from tidegate.control.services.attempts import MOST_ROWS
from tidegate.control.services.node import Node
from tidegate.control.store import (
    attempts,
    device_events,
    engine,
    fleets,
    idempotency,
    second_factors,
    sessions,
    sheets,
)

#: Rows a transaction, and transactions a kind and pass: what is left goes with the next pass, an hour later.
BATCH = 5_000
MOST_BATCHES = 200


def forget(node: Node) -> None:
    """One pass over everything that has had its time."""
    settings = node.settings
    with node.db.write() as tx:
        now = engine.now(tx)
        sessions.prune_sessions(tx, now, now - SESSION_IDLE)
        sessions.prune_browsers(tx, now - BROWSER_LIFE)
        second_factors.prune_begun(tx, now)
        attempts.prune(tx, now, MOST_ROWS)
        sheets.prune(tx, now - timedelta(days=1))
        by_fleet = fleets.events_days(tx)
    answered = now - timedelta(hours=settings.idempotency_hours)
    _in_batches(node, lambda tx: idempotency.prune(tx, answered, BATCH))
    for fleet_id, days in by_fleet.items():
        oldest: datetime = now - timedelta(days=settings.device_events_days if days is None else days)

        def prune(tx: Connection, fleet_id: int = fleet_id, oldest: datetime = oldest) -> int:
            return device_events.prune(tx, fleet_id, oldest, BATCH)

        _in_batches(node, prune)
    uploads.purge(node)
    logs.tidy(node)


def _in_batches(node: Node, prune: Callable[[Connection], int]) -> None:
    for _ in range(MOST_BATCHES):
        with node.db.write() as tx:
            if prune(tx) < BATCH:
                return
