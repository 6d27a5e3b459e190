"""Failed attempts as rows: one a rule and key, for all replicas. Keys are stored as SHA-256."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.attempts import Failures, Rule
from tidegate.control.store import engine
from tidegate.control.store.schema import failed_attempts


def find(tx: Connection, keys: Collection[tuple[Rule, str]], now: datetime) -> dict[tuple[str, str], Failures]:
    """What still counts of these, by the rule's name and the key's hash."""
    if not keys:
        return {}
    chosen = [_is(rule, key) for rule, key in keys]
    rows = tx.execute(sa.select(failed_attempts).where(sa.or_(*chosen), failed_attempts.c.expires_at > now))
    return {(row.rule, row.key_sha256): Failures(row.failures, row.first_at, row.last_at) for row in rows}


def count(tx: Connection, rule: Rule, key_sha256: str, now: datetime) -> None:
    """One more failure; what counted no more begins anew."""
    row = {
        "rule": rule.name,
        "key_sha256": key_sha256,
        "failures": 0,
        "first_at": now,
        "last_at": now,
        "expires_at": now,
    }
    engine.upsert(tx, failed_attempts, [row], key=["rule", "key_sha256"], update=["rule"])  # locks it
    seen = tx.execute(sa.select(failed_attempts).where(_is(rule, key_sha256))).one()
    anew = seen.failures == 0 or seen.expires_at <= now
    first_at = now if anew else seen.first_at
    values = {
        "failures": 1 if anew else seen.failures + 1,
        "first_at": first_at,
        "last_at": now,
        "expires_at": rule.forgotten_at(first_at, now),
    }
    tx.execute(sa.update(failed_attempts).where(_is(rule, key_sha256)).values(values))


def forget(tx: Connection, rule: Rule, key_sha256: str) -> None:
    tx.execute(sa.delete(failed_attempts).where(_is(rule, key_sha256)))


def prune(tx: Connection, now: datetime, most: int) -> int:
    """Delete what counts no more and, of more than `most`, what failed longest ago; gives how many.

    Rows that somebody else counts at this moment are left: who waited for them could hold others that they wait for.
    """
    gone = _delete(tx, failed_attempts.c.expires_at <= now)
    if tx.execute(sa.select(sa.func.count()).select_from(failed_attempts)).scalar_one() <= most:
        return gone
    newest = sa.select(failed_attempts.c.last_at).order_by(failed_attempts.c.last_at.desc()).offset(most).limit(1)
    return gone + _delete(tx, failed_attempts.c.last_at <= tx.scalar(newest))


def _delete(tx: Connection, chosen: sa.ColumnElement[bool]) -> int:
    keys = (failed_attempts.c.rule, failed_attempts.c.key_sha256)
    free = engine.for_update(sa.select(*keys).where(chosen), skip_locked=True)
    return tx.execute(sa.delete(failed_attempts).where(sa.tuple_(*keys).in_(free))).rowcount


def _is(rule: Rule, key_sha256: str) -> sa.ColumnElement[bool]:
    return sa.and_(failed_attempts.c.rule == rule.name, failed_attempts.c.key_sha256 == key_sha256)
