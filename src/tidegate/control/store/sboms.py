"""SBOMs and their components as rows; their bytes are blobs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.sboms import CLAIM, Sbom
from tidegate.control.store import engine, paging
from tidegate.control.store.schema import sbom_components, sboms
from tidegate.ids import ArtifactId, FleetId

_COLUMNS = tuple(sboms.c[field.name] for field in fields(Sbom))
_BATCH = 1_000


def _sbom(row: Any) -> Sbom:
    values = dict(row._mapping)
    for name in ("licenses", "reasons"):
        values[name] = tuple(tuple(one) for one in json.loads(values[name]))
    return Sbom(**values)


def insert(
    tx: Connection, fleet_id: FleetId, artifact_id: ArtifactId, *, sha256: str, size_bytes: int, file_name: str,
    at: datetime, by: str,
) -> Sbom:  # fmt: skip
    """Raises `IntegrityError` when the version has one that was not ended."""
    values = {
        "fleet_id": fleet_id, "artifact_id": artifact_id, "state": "received", "sha256": sha256,
        "size_bytes": size_bytes, "file_name": file_name, "received_at": at, "received_by": by,
    }  # fmt: skip
    return _sbom(tx.execute(sa.insert(sboms).values(values).returning(*_COLUMNS)).one())


def current(tx: Connection, artifact_id: ArtifactId) -> Sbom | None:
    query = sa.select(*_COLUMNS).where(sboms.c.artifact_id == artifact_id, sboms.c.ended_at.is_(None))
    row = tx.execute(query).one_or_none()
    return None if row is None else _sbom(row)


def states(tx: Connection, artifact_ids: Sequence[ArtifactId]) -> dict[ArtifactId, str]:
    """The state of the current one of each version that has one."""
    query = sa.select(sboms.c.artifact_id, sboms.c.state).where(
        sboms.c.artifact_id.in_(artifact_ids), sboms.c.ended_at.is_(None)
    )
    return {ArtifactId(row.artifact_id): row.state for row in tx.execute(query)}


def ended(tx: Connection, artifact_id: ArtifactId, limit: int) -> list[Sbom]:
    """Those that were replaced or removed, the latest first."""
    query = sa.select(*_COLUMNS).where(sboms.c.artifact_id == artifact_id, sboms.c.ended_at.is_not(None))
    return [_sbom(row) for row in tx.execute(query.order_by(sboms.c.id.desc()).limit(limit))]


def with_bytes(tx: Connection, artifact_id: ArtifactId, sha256: str) -> Sbom | None:
    """The latest of the version's that has these bytes, ended or not."""
    query = sa.select(*_COLUMNS).where(sboms.c.artifact_id == artifact_id, sboms.c.sha256 == sha256)
    row = tx.execute(query.order_by(sboms.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else _sbom(row)


def end(tx: Connection, sbom_id: int, at: datetime, by: str, reason: str) -> None:
    """It is the version's no more; its components are forgotten, its bytes are not."""
    values = {"ended_at": at, "ended_by": by, "ended_reason": reason, "claimed_until": None}
    tx.execute(sa.update(sboms).where(sboms.c.id == sbom_id).values(values))
    tx.execute(sa.delete(sbom_components).where(sbom_components.c.sbom_id == sbom_id))


# -- the job ----------------------------------------------------------------------------------------------------------


def claim(tx: Connection, now: datetime) -> Sbom | None:
    """The oldest that waits for its check and that no worker has at hand; counted as one more attempt."""
    query = (
        sa.select(*_COLUMNS)
        .where(sboms.c.state == "received", sboms.c.ended_at.is_(None))
        .where(sa.or_(sboms.c.claimed_until.is_(None), sboms.c.claimed_until <= now))
        .order_by(sboms.c.id)
        .limit(1)
    )
    row = tx.execute(engine.for_update(query, skip_locked=True)).one_or_none()
    if row is None:
        return None
    values = {"claimed_until": now + CLAIM, "attempts": sboms.c.attempts + 1}
    return _sbom(tx.execute(sa.update(sboms).where(sboms.c.id == row.id).values(values).returning(*_COLUMNS)).one())


def still_waiting(tx: Connection, sbom_id: int) -> bool:
    """Locked: whether it is neither checked nor ended by somebody else meanwhile."""
    query = sa.select(sboms.c.id).where(
        sboms.c.id == sbom_id, sboms.c.state == "received", sboms.c.ended_at.is_(None)
    )  # fmt: skip
    return tx.execute(engine.for_update(query)).first() is not None


def release(tx: Connection, sbom_id: int) -> None:
    """It waits for the next attempt."""
    tx.execute(sa.update(sboms).where(sboms.c.id == sbom_id).values(claimed_until=None))


def settle(
    tx: Connection, sbom_id: int, at: datetime, *, state: str, format_: str = "", spec_version: str = "",
    component_count: int = 0, licenses: Sequence[tuple[str, int]] = (), reasons: Sequence[tuple[str, str]] = (),
) -> None:  # fmt: skip
    values = {
        "state": state, "checked_at": at, "claimed_until": None, "format": format_, "spec_version": spec_version,
        "component_count": component_count, "licenses": json.dumps(licenses), "reasons": json.dumps(reasons),
    }  # fmt: skip
    tx.execute(sa.update(sboms).where(sboms.c.id == sbom_id).values(values))


def add_components(tx: Connection, sbom_id: int, rows: Sequence[tuple[str, str, str, str]]) -> None:
    """Name, version, purl and licence of each, in their order."""
    for start in range(0, len(rows), _BATCH):
        batch = [
            {"sbom_id": sbom_id, "position": start + index, "name": name, "version": version, "purl": purl,
             "license": license_}
            for index, (name, version, purl, license_) in enumerate(rows[start : start + _BATCH])
        ]  # fmt: skip
        tx.execute(sa.insert(sbom_components), batch)


def components(
    tx: Connection, sbom_id: int, *, search: str, after: int | None, limit: int, offset: int
) -> tuple[list[Any], int]:
    """In the order of the document; `search`: part of the name or the purl."""
    found = sbom_components
    query = sa.select(found).where(found.c.sbom_id == sbom_id)
    if search:
        query = query.where(
            sa.or_(found.c.name.contains(search, autoescape=True), found.c.purl.contains(search, autoescape=True))
        )
    total = paging.total(tx, query)
    if after is not None:
        query = query.where(found.c.position > after)
    return list(tx.execute(query.order_by(found.c.position).limit(limit).offset(offset))), total


def named_blobs(tx: Connection) -> set[str]:
    """Every hash that a row here names."""
    return set(tx.scalars(sa.select(sboms.c.sha256).where(sboms.c.sha256.is_not(None))))


def uses_blob(tx: Connection, sha256: str) -> bool:
    return tx.execute(sa.select(sboms.c.id).where(sboms.c.sha256 == sha256).limit(1)).first() is not None
