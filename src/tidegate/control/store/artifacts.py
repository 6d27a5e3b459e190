"""Published versions as rows."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.artifacts import Artifact
from tidegate.control.store import paging
from tidegate.control.store.schema import ACTIVE, artifacts, device_artifacts, devices
from tidegate.ids import ArtifactId, FleetId

#: Every hash that a descriptor may name; more than it does only keeps a blob longer.
_SHA256_TEXT = re.compile(r"[0-9a-f]{64}")
_COLUMNS = tuple(artifacts.c[field.name] for field in fields(Artifact))


def insert(
    tx: Connection,
    fleet_id: FleetId,
    *,
    name: str,
    version: str,
    kind: str,
    descriptor: str,
    descriptor_sha256: str,
    size_bytes: int,
    published_at: datetime,
    published_by: str,
) -> Artifact:
    """Raises `IntegrityError` when the fleet has this version."""
    values: dict[str, Any] = {
        "fleet_id": fleet_id,
        "name": name,
        "version": version,
        "kind": kind,
        "descriptor": descriptor,
        "descriptor_sha256": descriptor_sha256,
        "size_bytes": size_bytes,
        "published_at": published_at,
        "published_by": published_by,
        "withdrawn_at": None,
        "withdrawn_reason": None,
    }
    new = int(tx.execute(sa.insert(artifacts).values(values).returning(artifacts.c.id)).scalar_one())
    return Artifact(id=ArtifactId(new), **values)


def find(tx: Connection, fleet_id: FleetId, name: str, version: str) -> Artifact | None:
    query = sa.select(*_COLUMNS).where(
        artifacts.c.fleet_id == fleet_id, artifacts.c.name == name, artifacts.c.version == version
    )
    return _artifact(tx.execute(query).one_or_none())


def by_id(tx: Connection, artifact_id: ArtifactId) -> Artifact | None:
    return _artifact(tx.execute(sa.select(*_COLUMNS).where(artifacts.c.id == artifact_id)).one_or_none())


def kind_of(tx: Connection, fleet_id: FleetId, name: str) -> str | None:
    """The kind of a name's versions; None when there are none."""
    query = sa.select(artifacts.c.kind).where(artifacts.c.fleet_id == fleet_id, artifacts.c.name == name).limit(1)
    return tx.execute(query).scalar_one_or_none()


def withdraw(tx: Connection, artifact_id: ArtifactId, reason: str, at: datetime) -> None:
    tx.execute(
        sa.update(artifacts).where(artifacts.c.id == artifact_id).values(withdrawn_at=at, withdrawn_reason=reason)
    )


def listed(
    tx: Connection,
    fleet_id: FleetId,
    *,
    search: str,
    name: str,
    withdrawn: bool | None,
    before: int | None,
    limit: int,
    offset: int,
) -> tuple[list[Artifact], int]:
    """Newest first, and how many there are; `before`: ids below it; `withdrawn` None: both."""
    query = sa.select(*_COLUMNS).where(artifacts.c.fleet_id == fleet_id)
    if search:
        query = query.where(artifacts.c.name.contains(search, autoescape=True))
    if name:
        query = query.where(artifacts.c.name == name)
    if withdrawn is not None:
        query = query.where(artifacts.c.withdrawn_at.is_not(None) if withdrawn else artifacts.c.withdrawn_at.is_(None))
    total = paging.total(tx, query)
    page = query if before is None else query.where(artifacts.c.id < before)
    rows = tx.execute(page.order_by(artifacts.c.id.desc()).limit(limit).offset(offset))
    return [found for row in rows if (found := _artifact(row))], total


def count(tx: Connection, fleet_id: FleetId) -> int:
    """Artifact names, exact to what a total is exact to."""
    return paging.total(tx, sa.select(artifacts.c.name).where(artifacts.c.fleet_id == fleet_id).distinct())


def named_blobs(tx: Connection) -> set[str]:
    """Every hash that a version of any fleet has as a file or as its descriptor."""
    found: set[str] = set()
    query = sa.select(artifacts.c.descriptor, artifacts.c.descriptor_sha256).execution_options(yield_per=500)
    for row in tx.execute(query):
        found.add(row.descriptor_sha256)
        found.update(_SHA256_TEXT.findall(row.descriptor))
    return found


@dataclass(frozen=True, slots=True)
class Named:
    """One artifact name: how many versions it has, and the newest that was not withdrawn (None: all were)."""

    name: str
    kind: str
    versions: int
    withdrawn: int
    newest: str | None
    published_at: datetime


def names(
    tx: Connection, fleet_id: FleetId, *, search: str, kind: str, limit: int, offset: int
) -> tuple[list[Named], int]:
    """By name, and how many there are."""
    living = sa.func.max(sa.case((artifacts.c.withdrawn_at.is_(None), artifacts.c.id)))
    query = (
        sa.select(
            artifacts.c.name,
            sa.func.min(artifacts.c.kind).label("kind"),
            sa.func.count().label("versions"),
            sa.func.count(artifacts.c.withdrawn_at).label("withdrawn"),
            living.label("newest"),
            sa.func.max(artifacts.c.published_at).label("published_at"),
        )
        .where(artifacts.c.fleet_id == fleet_id)
        .group_by(artifacts.c.name)
    )
    if search:
        query = query.where(artifacts.c.name.contains(search, autoescape=True))
    if kind:
        query = query.where(artifacts.c.kind == kind)
    total = paging.total(tx, query)
    rows = tx.execute(query.order_by(artifacts.c.name).limit(limit).offset(offset)).all()
    ids = [row.newest for row in rows if row.newest is not None]
    found = tx.execute(sa.select(artifacts.c.id, artifacts.c.version).where(artifacts.c.id.in_(ids)))
    version = {row.id: row.version for row in found}
    return [
        Named(row.name, row.kind, row.versions, row.withdrawn, version.get(row.newest), row.published_at)
        for row in rows
    ], total


def running_on(tx: Connection, artifact: Artifact, limit: int) -> tuple[list[str], int]:
    """Names of living devices that last reported to run this version, at most `limit`, and how many there are."""
    query = (
        sa.select(devices.c.name)
        .join(device_artifacts, device_artifacts.c.device_id == devices.c.id)
        .where(
            devices.c.fleet_id == artifact.fleet_id,
            devices.c.state == ACTIVE,
            device_artifacts.c.artifact_name == artifact.name,
            device_artifacts.c.running_descriptor_sha256 == artifact.descriptor_sha256,
        )
    )
    total = paging.total(tx, query)
    return [row.name for row in tx.execute(query.order_by(devices.c.name).limit(limit))], total


def uses_blob(tx: Connection, sha256: str) -> bool:
    """Whether any version of any fleet has a file with these bytes."""
    matching = sa.or_(artifacts.c.descriptor_sha256 == sha256, artifacts.c.descriptor.contains(f'"{sha256}"'))
    return tx.execute(sa.select(artifacts.c.id).where(matching).limit(1)).first() is not None


def _artifact(row: Any | None) -> Artifact | None:
    return None if row is None else Artifact(**row._mapping)
