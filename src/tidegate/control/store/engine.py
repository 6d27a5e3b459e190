"""Opening the database; the only dialect-aware file.

SQLite is both the default and the test double: the driver's own transactions are off, every transaction of ours that
writes starts with BEGIN IMMEDIATE, WAL, foreign keys on, `synchronous=FULL` because what is acknowledged must survive a
power cut. PostgreSQL runs READ COMMITTED with row locks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Table, event
from sqlalchemy.dialects import postgresql, sqlite

from tidegate.errors import TidegateError

BUSY_SECONDS = 15
#: PostgreSQL ends a statement that takes longer: no one question stops everybody else's.
STATEMENT_SECONDS = 120

#: A server whose machine went away says nothing more: the system's own limits are minutes and hours.
_WAITS = {
    "options": f"-c statement_timeout={STATEMENT_SECONDS * 1000}",
    "connect_timeout": 10,
    "tcp_user_timeout": 30_000,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}


class Database:
    """An engine with the two ways to use it: `write()` for one transaction, `read()` for consistent reading."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self.url = sa.make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if not self.is_sqlite:
            self.url = self.url.set(drivername="postgresql+psycopg")
        self.engine = _sqlite(self.url) if self.is_sqlite else _postgresql(self.url, pool_size)
        #: Hears of each transaction that ended: "read" or "write", its seconds, and whether an error ended it.
        self.observer: Callable[[str, float, bool], None] = _nobody

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that may write; commits at the end, rolls back on any exception."""
        with self._observed("write"), self.engine.connect() as tx:
            if self.is_sqlite:
                tx.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield tx
            except BaseException:
                tx.rollback()
                raise
            tx.commit()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction that only reads, on one snapshot."""
        with self._observed("read"), self.engine.connect() as tx:
            if self.is_sqlite:
                tx.exec_driver_sql("BEGIN")
            else:
                tx.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                yield tx
            finally:
                tx.rollback()

    def dispose(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _observed(self, kind: str) -> Iterator[None]:
        began, failed = perf_counter(), True
        try:
            yield
            failed = False
        except TidegateError:  # a refusal, not the database's trouble
            failed = False
            raise
        finally:
            self.observer(kind, perf_counter() - began, failed)


def _nobody(_kind: str, _seconds: float, _failed: bool) -> None:
    pass


def _sqlite(url: sa.URL) -> Engine:
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={BUSY_SECONDS * 1000}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def _postgresql(url: sa.URL, pool_size: int) -> Engine:
    return sa.create_engine(
        url, pool_size=pool_size, max_overflow=pool_size, pool_pre_ping=True, pool_timeout=10, connect_args=_WAITS
    )


def now(tx: Connection) -> datetime:
    """The database's clock: all times that decide anything are taken from it."""
    if tx.dialect.name == "sqlite":
        text = tx.scalar(sa.text("SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')"))
        return datetime.fromisoformat(str(text)).replace(tzinfo=UTC)
    return _aware(tx.scalar(sa.text("SELECT clock_timestamp()")))


def _aware(value: Any) -> datetime:
    assert isinstance(value, datetime)
    return value.astimezone(UTC)


def for_update(statement: sa.Select[Any], *, skip_locked: bool = False) -> sa.Select[Any]:
    """Lock the rows read until the transaction ends; on SQLite the write transaction itself is the lock.

    FOR NO KEY UPDATE: it keeps other writers out, but not the foreign keys of rows that somebody else inserts, or two
    transactions that each hold one of two rows would wait for each other by a mere reference.
    """
    return statement.with_for_update(skip_locked=skip_locked, key_share=True)


def for_share(statement: sa.Select[Any]) -> sa.Select[Any]:
    """Keep the rows read as they are until the transaction ends; many may do so at once. Nothing on SQLite."""
    return statement.with_for_update(read=True)


def numbers(tx: Connection, values: Sequence[int]) -> sa.ColumnElement[int]:
    """A column of these numbers, in their order, to select from: one parameter, however many they are."""
    if tx.dialect.name == "sqlite":
        return sa.func.json_each(json.dumps(values)).table_valued(sa.column("value", sa.BigInteger)).c.value
    listed = sa.cast(list(values), postgresql.ARRAY(sa.BigInteger))
    return sa.func.unnest(listed).column_valued("number")


def upsert(
    tx: Connection, table: Table, rows: Sequence[dict[str, Any]], *, key: Sequence[str], update: Sequence[str]
) -> None:
    """Insert `rows`, or set the columns `update` where `key` exists already; nothing when there are no rows."""
    if not rows:
        return
    insert = sqlite.insert(table) if tx.dialect.name == "sqlite" else postgresql.insert(table)
    change = {name: insert.excluded[name] for name in update}
    statement = (
        insert.on_conflict_do_update(index_elements=list(key), set_=change)
        if change
        else insert.on_conflict_do_nothing(index_elements=list(key))
    )
    tx.execute(statement, list(rows))
