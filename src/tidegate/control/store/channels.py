"""Channels and their moves as rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.channels import Channel, Move
from tidegate.control.store import engine, paging
from tidegate.control.store.schema import artifacts, channel_moves, channels
from tidegate.ids import ArtifactId, FleetId


def _channels() -> sa.Select[Any]:
    reason = (
        sa.select(channel_moves.c.reason)
        .where(
            channel_moves.c.fleet_id == channels.c.fleet_id,
            channel_moves.c.artifact_name == channels.c.artifact_name,
            channel_moves.c.channel == channels.c.name,
        )
        .order_by(channel_moves.c.id.desc())
        .limit(1)
        .correlate(channels)
        .scalar_subquery()
    )
    return sa.select(
        channels,
        artifacts.c.version,
        artifacts.c.withdrawn_at,
        artifacts.c.withdrawn_reason,
        reason.label("reason"),
    ).join_from(channels, artifacts, artifacts.c.id == channels.c.artifact_id)


def _channel(row: Any) -> Channel:
    return Channel(
        artifact=row.artifact_name,
        name=row.name,
        artifact_id=ArtifactId(row.artifact_id),
        version=row.version,
        withdrawn_at=row.withdrawn_at,
        withdrawn_reason=row.withdrawn_reason,
        created_at=row.created_at,
        moved_at=row.moved_at,
        moved_by=row.moved_by,
        reason=row.reason or "",
    )


def find(tx: Connection, fleet_id: FleetId, artifact: str, name: str) -> Channel | None:
    query = _channels().where(
        channels.c.fleet_id == fleet_id, channels.c.artifact_name == artifact, channels.c.name == name
    )
    row = tx.execute(query).one_or_none()
    return None if row is None else _channel(row)


def put(
    tx: Connection, fleet_id: FleetId, artifact: str, name: str, version: ArtifactId, at: datetime, by: str
) -> None:
    """Make the channel, or move it."""
    row = {
        "fleet_id": fleet_id, "artifact_name": artifact, "name": name, "artifact_id": version,
        "created_at": at, "moved_at": at, "moved_by": by,
    }  # fmt: skip
    key = ("fleet_id", "artifact_name", "name")
    engine.upsert(tx, channels, [row], key=key, update=("artifact_id", "moved_at", "moved_by"))


def delete(tx: Connection, fleet_id: FleetId, artifact: str, name: str) -> None:
    tx.execute(
        sa.delete(channels).where(
            channels.c.fleet_id == fleet_id, channels.c.artifact_name == artifact, channels.c.name == name
        )
    )


def add_move(
    tx: Connection, fleet_id: FleetId, artifact: str, name: str, came: str | None, went: str | None, at: datetime,
    by: str, reason: str,
) -> None:  # fmt: skip
    tx.execute(
        sa.insert(channel_moves).values(
            fleet_id=fleet_id, artifact_name=artifact, channel=name, from_version=came, to_version=went, at=at, by=by,
            reason=reason,
        )
    )  # fmt: skip


def count(tx: Connection, fleet_id: FleetId, artifact: str) -> int:
    query = sa.select(sa.func.count()).where(channels.c.fleet_id == fleet_id, channels.c.artifact_name == artifact)
    return int(tx.scalar(query) or 0)


def listed(
    tx: Connection, fleet_id: FleetId, *, artifact: str, after: tuple[str, str] | None, limit: int, offset: int
) -> tuple[list[Channel], int]:
    """By artifact name and then the channel's, and how many there are; `artifact` empty: of every name."""
    query = _channels().where(channels.c.fleet_id == fleet_id)
    if artifact:
        query = query.where(channels.c.artifact_name == artifact)
    total = paging.total(tx, query)
    if after is not None:
        place = sa.tuple_(channels.c.artifact_name, channels.c.name)
        query = query.where(place > sa.tuple_(sa.literal(after[0]), sa.literal(after[1])))
    rows = tx.execute(query.order_by(channels.c.artifact_name, channels.c.name).limit(limit).offset(offset))
    return [_channel(row) for row in rows], total


def moves(
    tx: Connection, fleet_id: FleetId, artifact: str, name: str, *, before: int | None, limit: int, offset: int
) -> tuple[list[Move], int]:
    """Newest first, those of an earlier channel of the same name too; and how many there are."""
    query = sa.select(channel_moves).where(
        channel_moves.c.fleet_id == fleet_id,
        channel_moves.c.artifact_name == artifact,
        channel_moves.c.channel == name,
    )
    total = paging.total(tx, query)
    if before is not None:
        query = query.where(channel_moves.c.id < before)
    rows = tx.execute(query.order_by(channel_moves.c.id.desc()).limit(limit).offset(offset))
    return [Move(row.id, row.from_version, row.to_version, row.at, row.by, row.reason) for row in rows], total
