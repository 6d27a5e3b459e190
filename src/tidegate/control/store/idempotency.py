"""Answers of creating calls, by actor and Idempotency-Key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.store import engine
from tidegate.control.store.schema import idempotency as table

#: A call that began and has not answered: under way in another request, or cut off by a crash.
BEGUN = 0


@dataclass(frozen=True, slots=True)
class Stored:
    """`status` is `BEGUN` or the HTTP status answered; `body` is None where the answer bore a secret."""

    request_sha256: str
    status: int
    body: bytes | None
    subject: str


def begin(tx: Connection, actor: str, key: str, request_sha256: str, at: datetime) -> Stored | None:
    """Note the intent; gives what is stored already when the key was used before."""
    row = tx.execute(
        engine.for_update(sa.select(table).where(table.c.actor == actor, table.c.key == key))
    ).one_or_none()
    if row is not None:
        return Stored(row.request_sha256, row.status, row.body, row.subject)
    tx.execute(
        sa.insert(table).values(
            actor=actor, key=key, request_sha256=request_sha256, status=BEGUN, body=None, subject="", created_at=at
        )
    )
    return None


def finish(tx: Connection, actor: str, key: str, *, status: int, body: bytes | None, subject: str) -> None:
    chosen = sa.and_(table.c.actor == actor, table.c.key == key)
    tx.execute(sa.update(table).where(chosen).values(status=status, body=body, subject=subject))


def forget(tx: Connection, actor: str, key: str) -> None:
    tx.execute(sa.delete(table).where(table.c.actor == actor, table.c.key == key))


def prune(tx: Connection, before: datetime, most: int) -> int:
    """Forget at most so many keys first used before this time; gives how many."""
    chosen = sa.select(table.c.actor, table.c.key).where(table.c.created_at < before).limit(most)
    return int(tx.execute(sa.delete(table).where(sa.tuple_(table.c.actor, table.c.key).in_(chosen))).rowcount)
