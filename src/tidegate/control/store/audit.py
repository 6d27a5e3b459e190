"""Audit chains as rows. Locks the chain's head row; nothing here decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from tidegate.control.domain.audit import EMPTY, Head, Record
from tidegate.control.store import engine
from tidegate.control.store.schema import audit_heads as heads
from tidegate.control.store.schema import audit_records as records

_BATCH = 1_000


def lock_head(tx: Connection, chain: int) -> Head:
    """Lock the end of a chain until the transaction ends; a chain that nobody wrote to yet is begun."""
    engine.upsert(
        tx, heads, [{"chain": chain, "sequence": EMPTY.sequence, "hash": EMPTY.hash}], key=["chain"], update=[]
    )
    row = tx.execute(engine.for_update(sa.select(heads).where(heads.c.chain == chain))).one()
    return Head(row.sequence, row.hash)


def append(tx: Connection, record: Record) -> None:
    """Write the record and move the head to it; the head must have been locked in this transaction."""
    tx.execute(
        sa.insert(records).values(
            chain=record.chain,
            sequence=record.sequence,
            at=record.at,
            actor=record.actor,
            action=record.action,
            subject=record.subject,
            data=record.data,
            hash=record.hash,
        )
    )
    tx.execute(sa.update(heads).where(heads.c.chain == record.chain).values(sequence=record.sequence, hash=record.hash))


def head(tx: Connection, chain: int) -> Head:
    """Where the chain says it ends."""
    row = tx.execute(sa.select(heads).where(heads.c.chain == chain)).one_or_none()
    return EMPTY if row is None else Head(row.sequence, row.hash)


def chains(tx: Connection) -> list[int]:
    """Every chain that was begun."""
    return list(tx.scalars(sa.select(heads.c.chain).order_by(heads.c.chain)))


def walk(tx: Connection, chain: int, *, after: int = 0) -> Iterator[Record]:
    """The chain's records in order, from the one after `after`, a batch at a time."""
    while True:
        found = batch(tx, chain, after=after)
        yield from found
        if len(found) < _BATCH:
            return
        after = found[-1].sequence


def batch(tx: Connection, chain: int, *, after: int, until: int | None = None) -> list[Record]:
    """Some of the chain's records in order, from the one after `after`, none beyond `until`."""
    chosen = sa.and_(records.c.chain == chain, records.c.sequence > after)
    if until is not None:
        chosen = sa.and_(chosen, records.c.sequence <= until)
    rows = tx.execute(sa.select(records).where(chosen).order_by(records.c.sequence).limit(_BATCH))
    return [_record(row) for row in rows]


@dataclass(frozen=True, slots=True)
class Filter:
    """What to look for; empty and None mean any. `action` and `subject` may end in ``*``: what begins like that."""

    action: str = ""
    actor: str = ""
    subject: str = ""
    since: datetime | None = None
    before: datetime | None = None


def matching(chain: int, wanted: Filter) -> sa.Select[Any]:
    chosen = [records.c.chain == chain]
    for column, text in ((records.c.action, wanted.action), (records.c.subject, wanted.subject)):
        if text.endswith("*"):
            chosen.append(column.startswith(text[:-1], autoescape=True))
        elif text:
            chosen.append(column == text)
    if wanted.actor:
        chosen.append(records.c.actor == wanted.actor)
    if wanted.since is not None:
        chosen.append(records.c.at >= wanted.since)
    if wanted.before is not None:
        chosen.append(records.c.at < wanted.before)
    return sa.select(records).where(*chosen)


def search(tx: Connection, chain: int, wanted: Filter, *, before: int | None, offset: int, limit: int) -> list[Record]:
    """The newest first, beginning before the sequence `before`."""
    statement = matching(chain, wanted).order_by(records.c.sequence.desc()).offset(offset).limit(limit)
    if before is not None:
        statement = statement.where(records.c.sequence < before)
    return [_record(row) for row in tx.execute(statement)]


def _record(row: Row[Any]) -> Record:
    return Record(row.chain, row.sequence, row.at, row.actor, row.action, row.subject, row.data, row.hash)
