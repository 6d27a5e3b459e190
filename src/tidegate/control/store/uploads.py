"""Uploads as rows; their bytes are files until they are sealed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.artifacts import Upload
from tidegate.control.store import paging
from tidegate.control.store.schema import tuf_repositories, uploads
from tidegate.ids import FleetId


def insert(tx: Connection, upload: Upload) -> None:
    tx.execute(
        sa.insert(uploads).values(
            id=upload.id,
            fleet_id=upload.fleet_id,
            length=upload.length,
            received=upload.received,
            sha256=upload.sha256,
            file_name=upload.file_name,
            created_at=upload.created_at,
            created_by=upload.created_by,
            touched_at=upload.created_at,
        )
    )


def find(tx: Connection, fleet_id: FleetId, upload_id: str) -> Upload | None:
    row = tx.execute(sa.select(uploads).where(uploads.c.fleet_id == fleet_id, uploads.c.id == upload_id)).one_or_none()
    return None if row is None else _upload(row)


def listed(tx: Connection, fleet_id: FleetId, limit: int) -> tuple[list[Upload], int]:
    """Those of a fleet, the newest first, and how many there are."""
    query = sa.select(uploads).where(uploads.c.fleet_id == fleet_id)
    total = paging.total(tx, query)
    rows = tx.execute(query.order_by(uploads.c.created_at.desc(), uploads.c.id).limit(limit))
    return [_upload(row) for row in rows], total


def advance(tx: Connection, upload_id: str, received: int, at: datetime) -> None:
    tx.execute(sa.update(uploads).where(uploads.c.id == upload_id).values(received=received, touched_at=at))


def seal(tx: Connection, upload_id: str, sha256: str, at: datetime) -> None:
    tx.execute(sa.update(uploads).where(uploads.c.id == upload_id).values(sha256=sha256, touched_at=at))


def delete(tx: Connection, upload_id: str) -> None:
    tx.execute(sa.delete(uploads).where(uploads.c.id == upload_id))


def stale(tx: Connection, before: datetime) -> list[Upload]:
    """Those that nobody touched since `before`, of every fleet."""
    return [_upload(row) for row in tx.execute(sa.select(uploads).where(uploads.c.touched_at < before))]


def known_ids(tx: Connection) -> set[str]:
    """Those that still have a file of their own."""
    return {row.id for row in tx.execute(sa.select(uploads.c.id).where(uploads.c.sha256.is_(None)))}


def named_blobs(tx: Connection) -> set[str]:
    """Every hash that a row here names."""
    return set(tx.scalars(sa.select(uploads.c.sha256).where(uploads.c.sha256.is_not(None))))


def uses_blob(tx: Connection, sha256: str) -> bool:
    return tx.execute(sa.select(uploads.c.id).where(uploads.c.sha256 == sha256).limit(1)).first() is not None


def lock_publishing(tx: Connection) -> None:
    """Nobody publishes until the transaction ends, in any fleet (always locked in the order of their ids)."""
    query = sa.select(tuf_repositories.c.fleet_id).order_by(tuf_repositories.c.fleet_id)
    tx.execute(query.with_for_update()).all()


def _upload(row: Any) -> Upload:
    return Upload(
        id=row.id,
        fleet_id=FleetId(row.fleet_id),
        file_name=row.file_name,
        length=row.length,
        received=row.received,
        sha256=row.sha256,
        created_at=row.created_at,
        created_by=row.created_by,
    )
