"""Operators, their roles, sessions and API keys as rows. Secrets are stored as SHA-256 only."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from tidegate.control.domain.access import Grant
from tidegate.control.domain.people import ApiKey, Operator, SessionRecord
from tidegate.control.store import engine
from tidegate.control.store.schema import api_keys, operator_roles, operators, sessions
from tidegate.ids import ApiKeyId, FleetId, OperatorId

# -- operators --------------------------------------------------------------------------------------------------------


def insert_operator(tx: Connection, name: str, password_hash: str, at: datetime) -> OperatorId:
    result = tx.execute(sa.insert(operators).values(name=name, password_hash=password_hash, created_at=at))
    assert result.inserted_primary_key is not None
    return OperatorId(result.inserted_primary_key[0])


def operator_by_name(tx: Connection, name: str, *, lock: bool = False) -> Operator | None:
    return _one_operator(tx, operators.c.name == name, lock)


def operator_by_id(tx: Connection, operator_id: OperatorId) -> Operator | None:
    return _one_operator(tx, operators.c.id == operator_id, False)


def list_operators(tx: Connection, fleet_id: FleetId | None, *, after: str, offset: int, limit: int) -> list[Operator]:
    """By name, beginning after the name `after`; `fleet_id`: only those with a role in it, or in every fleet."""
    query = operators_of(fleet_id).where(operators.c.name > after)
    rows = tx.execute(query.order_by(operators.c.name).offset(offset).limit(limit)).all()
    grants = _grants(tx, [row.id for row in rows])
    return [_operator(row, grants.get(row.id, ())) for row in rows]


def operators_of(fleet_id: FleetId | None) -> sa.Select[Any]:
    if fleet_id is None:
        return sa.select(operators)
    having = sa.select(operator_roles.c.operator_id).where(operator_roles.c.fleet_id.in_((fleet_id, 0)))
    return sa.select(operators).where(operators.c.id.in_(having))


def set_password(tx: Connection, operator_id: OperatorId, password_hash: str) -> None:
    tx.execute(sa.update(operators).where(operators.c.id == operator_id).values(password_hash=password_hash))


def set_disabled(tx: Connection, operator_id: OperatorId, at: datetime | None) -> None:
    tx.execute(sa.update(operators).where(operators.c.id == operator_id).values(disabled_at=at))


def set_failures(tx: Connection, operator_id: OperatorId, failures: int, locked_until: datetime | None) -> None:
    values = {"failures": failures, "locked_until": locked_until}
    tx.execute(sa.update(operators).where(operators.c.id == operator_id).values(values))


def replace_grants(tx: Connection, operator_id: OperatorId, grants: Iterable[Grant]) -> None:
    tx.execute(sa.delete(operator_roles).where(operator_roles.c.operator_id == operator_id))
    rows = [{"operator_id": operator_id, "role": grant.role, "fleet_id": grant.fleet_id} for grant in grants]
    if rows:
        tx.execute(sa.insert(operator_roles), rows)


def lock_administrators(tx: Connection) -> list[OperatorId]:
    """Operators who administer all fleets and are not disabled, their rows locked, in the order of their ids."""
    statement = (
        sa.select(operators.c.id)
        .join(operator_roles, operator_roles.c.operator_id == operators.c.id)
        .where(operator_roles.c.role == "admin", operator_roles.c.fleet_id == 0, operators.c.disabled_at.is_(None))
        .order_by(operators.c.id)
    )
    return [OperatorId(row) for row in tx.scalars(engine.for_update(statement))]


def _one_operator(tx: Connection, chosen: sa.ColumnElement[bool], lock: bool) -> Operator | None:
    statement = sa.select(operators).where(chosen)
    row = tx.execute(engine.for_update(statement) if lock else statement).one_or_none()
    return None if row is None else _operator(row, _grants(tx, [row.id]).get(row.id, ()))


def _grants(tx: Connection, ids: list[int]) -> dict[int, tuple[Grant, ...]]:
    rows = tx.execute(
        sa.select(operator_roles)
        .where(operator_roles.c.operator_id.in_(ids))
        .order_by(operator_roles.c.fleet_id, operator_roles.c.role)
    )
    found: dict[int, tuple[Grant, ...]] = {}
    for row in rows:
        found[row.operator_id] = (*found.get(row.operator_id, ()), Grant(row.role, FleetId(row.fleet_id)))
    return found


def _operator(row: Row[Any], grants: tuple[Grant, ...]) -> Operator:
    return Operator(
        id=OperatorId(row.id),
        name=row.name,
        password_hash=row.password_hash,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        failures=row.failures,
        locked_until=row.locked_until,
        grants=grants,
    )


# -- sessions ---------------------------------------------------------------------------------------------------------


def insert_session(tx: Connection, session: SessionRecord) -> None:
    tx.execute(
        sa.insert(sessions).values(
            secret_sha256=session.secret_sha256,
            operator_id=session.operator_id,
            csrf_sha256=session.csrf_sha256,
            created_at=session.created_at,
            expires_at=session.expires_at,
            last_used_at=session.last_used_at,
            user_agent=session.user_agent,
        )
    )


def session_by_secret(tx: Connection, secret_sha256: str) -> SessionRecord | None:
    row = tx.execute(sa.select(sessions).where(sessions.c.secret_sha256 == secret_sha256)).one_or_none()
    return None if row is None else _session(row)


def sessions_of(tx: Connection, operator_id: OperatorId) -> list[SessionRecord]:
    """Newest first; an operator has few."""
    rows = tx.execute(
        sa.select(sessions).where(sessions.c.operator_id == operator_id).order_by(sessions.c.created_at.desc())
    )
    return [_session(row) for row in rows]


def touch_session(tx: Connection, secret_sha256: str, at: datetime) -> None:
    tx.execute(sa.update(sessions).where(sessions.c.secret_sha256 == secret_sha256).values(last_used_at=at))


def delete_session(tx: Connection, secret_sha256: str) -> bool:
    return tx.execute(sa.delete(sessions).where(sessions.c.secret_sha256 == secret_sha256)).rowcount > 0


def delete_sessions_of(tx: Connection, operator_id: OperatorId, *, but: str = "") -> int:
    """End every session of the operator, but the one with this hash."""
    chosen = sa.and_(sessions.c.operator_id == operator_id, sessions.c.secret_sha256 != but)
    return tx.execute(sa.delete(sessions).where(chosen)).rowcount


def prune_sessions(tx: Connection, now: datetime, idle_before: datetime) -> int:
    ended = sa.or_(sessions.c.expires_at <= now, sessions.c.last_used_at <= idle_before)
    return tx.execute(sa.delete(sessions).where(ended)).rowcount


def _session(row: Row[Any]) -> SessionRecord:
    return SessionRecord(
        secret_sha256=row.secret_sha256,
        operator_id=OperatorId(row.operator_id),
        csrf_sha256=row.csrf_sha256,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        user_agent=row.user_agent,
    )


# -- API keys ---------------------------------------------------------------------------------------------------------


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


def living_api_key(tx: Connection, name: str) -> ApiKey | None:
    return _one_key(tx, sa.and_(api_keys.c.name == name, api_keys.c.revoked_at.is_(None)))


def keys_of_fleet(fleet_id: FleetId) -> sa.Select[Any]:
    """The keys that reach this fleet: its own, and those for all."""
    return sa.select(api_keys).where(api_keys.c.fleet_id.in_((fleet_id, 0)))


def list_api_keys(tx: Connection, fleet_id: FleetId, *, after: int, offset: int, limit: int) -> list[ApiKey]:
    """In the order of their ids, beginning after the id `after`."""
    rows = tx.execute(
        keys_of_fleet(fleet_id).where(api_keys.c.id > after).order_by(api_keys.c.id).offset(offset).limit(limit)
    )
    return [_key(row) for row in rows]


def revoke_api_key(tx: Connection, key_id: ApiKeyId, at: datetime) -> None:
    tx.execute(sa.update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=at))


def touch_api_key(tx: Connection, key_id: ApiKeyId, at: datetime) -> None:
    tx.execute(sa.update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=at))


def _one_key(tx: Connection, chosen: sa.ColumnElement[bool]) -> ApiKey | None:
    row = tx.execute(sa.select(api_keys).where(chosen)).one_or_none()
    return None if row is None else _key(row)


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=ApiKeyId(row.id),
        name=row.name,
        secret_sha256=row.secret_sha256,
        grant=Grant(row.role, FleetId(row.fleet_id)),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
