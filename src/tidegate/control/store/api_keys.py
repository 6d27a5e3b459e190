"""API keys as rows. Their secrets are stored as SHA-256 only."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from tidegate.control.domain.access import EVERY_FLEET, Grant
from tidegate.control.domain.people import ApiKey, Operator
from tidegate.control.store import people, roles
from tidegate.control.store.schema import api_keys
from tidegate.ids import ApiKeyId, FleetId


def insert_api_key(
    tx: Connection, *, name: str, secret_sha256: str, grant: Grant, at: datetime, by: str, expires_at: datetime | None
) -> ApiKeyId:
    result = tx.execute(
        sa.insert(api_keys).values(
            name=name,
            secret_sha256=secret_sha256,
            role=grant.role,
            fleet_id=grant.fleet_id,
            created_at=at,
            created_by=by,
            expires_at=expires_at,
        )
    )
    assert result.inserted_primary_key is not None
    return ApiKeyId(result.inserted_primary_key[0])


def api_key_by_secret(tx: Connection, secret_sha256: str) -> ApiKey | None:
    return _one_key(tx, api_keys.c.secret_sha256 == secret_sha256)


def api_key_by_id(tx: Connection, key_id: ApiKeyId) -> ApiKey | None:
    return _one_key(tx, api_keys.c.id == key_id)


def name_taken(tx: Connection, name: str, fleet_id: FleetId) -> bool:
    """Whether a key that is not revoked has the name where a key of this fleet could act; 0: in any fleet."""
    living = sa.and_(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
    there = sa.true() if fleet_id == EVERY_FLEET else api_keys.c.fleet_id.in_((fleet_id, EVERY_FLEET))
    return tx.execute(sa.select(sa.true()).where(living, there).limit(1)).scalar() is not None


def keys_of_fleet(fleet_id: FleetId) -> sa.Select[Any]:
    """The keys that reach this fleet: its own, and those for all."""
    return sa.select(api_keys).where(api_keys.c.fleet_id.in_((fleet_id, 0)))


def list_api_keys(tx: Connection, fleet_id: FleetId, *, after: int, offset: int, limit: int) -> list[ApiKey]:
    """In the order of their ids, beginning after the id `after`."""
    query = keys_of_fleet(fleet_id).where(api_keys.c.id > after).order_by(api_keys.c.id).offset(offset).limit(limit)
    return _keys(tx, query)


def count_of_maker(tx: Connection, name: str, now: datetime) -> int:
    """Keys of this operator that are neither revoked nor expired."""
    living = sa.and_(
        api_keys.c.revoked_at.is_(None), sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now)
    )
    return tx.execute(sa.select(sa.func.count()).where(api_keys.c.created_by == name, living)).scalar_one()


def revoke_api_key(tx: Connection, key_id: ApiKeyId, at: datetime) -> None:
    tx.execute(sa.update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=at))


def touch_api_key(tx: Connection, key_id: ApiKeyId, at: datetime) -> None:
    tx.execute(sa.update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=at))


def _one_key(tx: Connection, chosen: sa.ColumnElement[bool]) -> ApiKey | None:
    return next(iter(_keys(tx, sa.select(api_keys).where(chosen))), None)


def _keys(tx: Connection, query: sa.Select[Any]) -> list[ApiKey]:
    rows = tx.execute(roles.with_permissions(query, api_keys.c.role)).all()
    makers = people.operators_by_name(tx, {row.created_by for row in rows})
    return [_key(row, makers.get(row.created_by)) for row in rows]


def _key(row: Row[Any], maker: Operator | None) -> ApiKey:
    return ApiKey(
        id=ApiKeyId(row.id),
        name=row.name,
        secret_sha256=row.secret_sha256,
        grant=Grant(row.role, FleetId(row.fleet_id), roles.own(row.role_permissions)),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        maker=maker,
    )
