"""TUF metadata as rows: the current document of each role, and older ones for devices in the middle of a refresh."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.store import engine
from tidegate.control.store.schema import tuf_metadata, tuf_repositories
from tidegate.ids import FleetId
from tidegate.trust.tuf.roles import Row

_COLUMNS = (tuf_metadata.c.role, tuf_metadata.c.version, tuf_metadata.c.data, tuf_metadata.c.expires_at)
#: Bound variables per statement, well below both databases' limits.
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Repository:
    """`generation` grows by one with every change; `convenience`: the offline keys were made on the node."""

    fleet_id: FleetId
    convenience: bool
    publisher_on_node: bool
    bins: int
    generation: int


def insert(tx: Connection, fleet_id: FleetId, *, convenience: bool) -> None:
    tx.execute(sa.insert(tuf_repositories).values(fleet_id=fleet_id, convenience=convenience))


def find(tx: Connection, fleet_id: FleetId, *, lock: bool = False) -> Repository | None:
    """The repository of a fleet; `lock`: nobody else changes it until the transaction ends."""
    query = sa.select(tuf_repositories).where(tuf_repositories.c.fleet_id == fleet_id)
    row = tx.execute(engine.for_update(query) if lock else query).one_or_none()
    if row is None:
        return None
    return Repository(FleetId(row.fleet_id), row.convenience, row.publisher_on_node, row.bins, row.generation)


def changed(tx: Connection, repository: Repository, *, publisher_on_node: bool, bins: int) -> int:
    """Count one change; gives the new generation."""
    generation = repository.generation + 1
    tx.execute(
        sa.update(tuf_repositories)
        .where(tuf_repositories.c.fleet_id == repository.fleet_id)
        .values(generation=generation, publisher_on_node=publisher_on_node, bins=bins)
    )
    return generation


def current(tx: Connection, fleet_id: FleetId, roles: Collection[str]) -> dict[str, Row]:
    """The current documents of these roles; those that do not exist are left out."""
    names = sorted(roles)
    found: dict[str, Row] = {}
    for start in range(0, len(names), _CHUNK):
        query = sa.select(*_COLUMNS).where(
            tuf_metadata.c.fleet_id == fleet_id,
            tuf_metadata.c.current,
            tuf_metadata.c.role.in_(names[start : start + _CHUNK]),
        )
        found |= {row.role: _row(row) for row in tx.execute(query)}
    return found


@dataclass(frozen=True, slots=True)
class Head:
    """A current document without its bytes."""

    version: int
    expires_at: datetime


def heads(tx: Connection, fleet_id: FleetId) -> dict[str, Head]:
    """Version and expiry of every role's current document."""
    query = sa.select(tuf_metadata.c.role, tuf_metadata.c.version, tuf_metadata.c.expires_at).where(
        tuf_metadata.c.fleet_id == fleet_id, tuf_metadata.c.current
    )
    return {row.role: Head(row.version, row.expires_at) for row in tx.execute(query)}


def document(tx: Connection, fleet_id: FleetId, role: str, version: int | None) -> bytes | None:
    """The bytes of one document; the current one when `version` is None."""
    query = sa.select(tuf_metadata.c.data).where(tuf_metadata.c.fleet_id == fleet_id, tuf_metadata.c.role == role)
    chosen = tuf_metadata.c.current if version is None else tuf_metadata.c.version == version
    data = tx.execute(query.where(chosen)).scalar_one_or_none()
    return None if data is None else bytes(data)


def root_chain(tx: Connection, fleet_id: FleetId) -> tuple[bytes, ...]:
    """Every root version, oldest first."""
    query = sa.select(tuf_metadata.c.data).where(tuf_metadata.c.fleet_id == fleet_id, tuf_metadata.c.role == "root")
    return tuple(bytes(row.data) for row in tx.execute(query.order_by(tuf_metadata.c.version)))


def put(tx: Connection, fleet_id: FleetId, rows: Iterable[Row], at: datetime) -> None:
    """Make these the current documents of their roles."""
    new = list(rows)
    for start in range(0, len(new), _CHUNK):
        tx.execute(
            sa.update(tuf_metadata)
            .where(
                tuf_metadata.c.fleet_id == fleet_id,
                tuf_metadata.c.current,
                tuf_metadata.c.role.in_([row.role for row in new[start : start + _CHUNK]]),
            )
            .values(current=False)
        )
    values = [
        {
            "fleet_id": fleet_id,
            "role": row.role,
            "version": row.version,
            "data": row.data,
            "expires_at": row.expires_at,
            "created_at": at,
            "current": True,
        }
        for row in new
    ]
    if values:
        tx.execute(sa.insert(tuf_metadata), values)


def prune(tx: Connection, fleet_id: FleetId, before: datetime) -> int:
    """Forget documents made before `before` that are no longer current; roots are kept for ever. Gives how many."""
    statement = sa.delete(tuf_metadata).where(
        tuf_metadata.c.fleet_id == fleet_id,
        sa.not_(tuf_metadata.c.current),
        tuf_metadata.c.role != "root",
        tuf_metadata.c.created_at < before,
    )
    return int(tx.execute(statement).rowcount)


def _row(row: Any) -> Row:
    return Row(row.role, row.version, bytes(row.data), row.expires_at)
