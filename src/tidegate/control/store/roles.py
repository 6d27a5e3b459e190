"""Own roles as rows. Grants and API keys name a role; what it holds is read with them, so a change counts at once."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from tidegate.control.domain.roles import Role
from tidegate.control.store import engine
from tidegate.control.store.schema import api_keys, operator_roles, operators, roles
from tidegate.ids import FleetId


def with_permissions(query: sa.Select[Any], role: sa.ColumnElement[str]) -> sa.Select[Any]:
    """The query with `role_permissions`, for `own`: what the role in that column holds if it is an own one."""
    return query.add_columns(roles.c.permissions.label("role_permissions")).join(
        roles, roles.c.name == role, isouter=True
    )


def own(stored: str | None) -> frozenset[str]:
    return frozenset(json.loads(stored)) if stored else frozenset()


def insert(tx: Connection, role: Role) -> None:
    tx.execute(
        sa.insert(roles).values(
            name=role.name,
            description=role.description,
            permissions=_stored(role.permissions),
            created_at=role.made_at,
            created_by=role.made_by,
            changed_at=role.changed_at,
        )
    )


def by_name(tx: Connection, name: str, *, lock: bool = False) -> Role | None:
    query = sa.select(roles).where(roles.c.name == name)
    row = tx.execute(engine.for_update(query) if lock else query).one_or_none()
    return None if row is None else _role(row)


def every(tx: Connection) -> list[Role]:
    """By name; there are few."""
    return [_role(row) for row in tx.execute(sa.select(roles).order_by(roles.c.name))]


def change(tx: Connection, name: str, description: str, permissions: frozenset[str], at: datetime) -> None:
    values = {"description": description, "permissions": _stored(permissions), "changed_at": at}
    tx.execute(sa.update(roles).where(roles.c.name == name).values(values))


def delete(tx: Connection, name: str) -> None:
    tx.execute(sa.delete(roles).where(roles.c.name == name))


def holders(tx: Connection, name: str, fleet_id: FleetId | None, *, limit: int) -> list[tuple[str, FleetId]]:
    """Operators who were given the role, and where; `fleet_id`: only in it and in all. By name."""
    query = (
        sa.select(operators.c.name, operator_roles.c.fleet_id)
        .join(operators, operators.c.id == operator_roles.c.operator_id)
        .where(operator_roles.c.role == name, *_there(operator_roles.c.fleet_id, fleet_id))
        .order_by(operators.c.name, operator_roles.c.fleet_id)
    )
    return [(row.name, FleetId(row.fleet_id)) for row in tx.execute(query.limit(limit))]


def key_holders(
    tx: Connection, name: str, fleet_id: FleetId | None, now: datetime, *, limit: int
) -> list[tuple[str, FleetId]]:
    """Living API keys with the role, as `holders`."""
    query = (
        sa.select(api_keys.c.name, api_keys.c.fleet_id)
        .where(api_keys.c.role == name, *_living(now), *_there(api_keys.c.fleet_id, fleet_id))
        .order_by(api_keys.c.name)
    )
    return [(row.name, FleetId(row.fleet_id)) for row in tx.execute(query.limit(limit))]


def counts(tx: Connection, fleet_id: FleetId | None, now: datetime) -> dict[str, tuple[int, int]]:
    """Operators and living API keys per role; `fleet_id`: only those with it there or in all fleets."""
    given = sa.select(operator_roles.c.role, sa.func.count(operator_roles.c.operator_id.distinct()).label("held"))
    given = given.where(*_there(operator_roles.c.fleet_id, fleet_id)).group_by(operator_roles.c.role)
    borne = sa.select(api_keys.c.role, sa.func.count().label("held"))
    borne = borne.where(*_living(now), *_there(api_keys.c.fleet_id, fleet_id)).group_by(api_keys.c.role)
    people: dict[str, int] = {row.role: row.held for row in tx.execute(given)}
    machines: dict[str, int] = {row.role: row.held for row in tx.execute(borne)}
    return {name: (people.get(name, 0), machines.get(name, 0)) for name in {*people, *machines}}


def _living(now: datetime) -> list[sa.ColumnElement[bool]]:
    return [api_keys.c.revoked_at.is_(None), sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now)]


def _there(column: sa.ColumnElement[int], fleet_id: FleetId | None) -> list[sa.ColumnElement[bool]]:
    return [] if fleet_id is None else [column.in_((fleet_id, 0))]


def _stored(permissions: frozenset[str]) -> str:
    return json.dumps(sorted(permissions))


def _role(row: Row[Any]) -> Role:
    return Role(
        row.name, row.description, own(row.permissions), made_at=row.created_at, made_by=row.created_by,
        changed_at=row.changed_at,
    )  # fmt: skip
