"""Audit chains as rows. Locks the chain's head row; nothing here decides."""

from __future__ import annotations

from collections.abc import Iterator
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
        rows = tx.execute(
            sa.select(records)
            .where(records.c.chain == chain, records.c.sequence > after)
            .order_by(records.c.sequence)
            .limit(_BATCH)
        ).all()
        for row in rows:
            yield _record(row)
        if len(rows) < _BATCH:
            return
        after = rows[-1].sequence


def _record(row: Row[Any]) -> Record:
    return Record(row.chain, row.sequence, row.at, row.actor, row.action, row.subject, row.data, row.hash)
