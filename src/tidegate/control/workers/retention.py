"""Forgets what is kept for a time only; the audit log is never pruned."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from tidegate.control.domain.people import BROWSER_LIFE, SESSION_IDLE
from tidegate.control.services import logs, uploads
from tidegate.control.services.idempotency import KEEP_HOURS
from tidegate.control.services.node import Node
from tidegate.control.store import engine, idempotency, sessions, sheets
from tidegate.control.store.schema import device_events
from tidegate.control.workers.runner import Reconciler


def run(node: Node) -> None:
    """Ended sessions, unused browsers, old Idempotency-Keys, devices' history beyond its days, abandoned uploads,
    sheets that were previewed a day ago.
    """
    with node.db.write() as tx:
        now = engine.now(tx)
        sessions.prune_sessions(tx, now, now - SESSION_IDLE)
        sessions.prune_browsers(tx, now - BROWSER_LIFE)
        idempotency.prune(tx, now - timedelta(hours=KEEP_HOURS))
        sheets.prune(tx, now - timedelta(days=1))
        oldest = now - timedelta(days=node.settings.device_events_days)
        tx.execute(sa.delete(device_events).where(device_events.c.at < oldest))
    uploads.purge(node)
    logs.tidy(node)


RECONCILER = Reconciler("retention", 3600, run)
