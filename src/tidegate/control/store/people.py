"""Operators and the roles granted to them, as rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from tidegate.control.domain.access import Grant
from tidegate.control.domain.people import Operator
from tidegate.control.store import engine, roles
from tidegate.control.store.schema import operator_roles, operators
from tidegate.ids import FleetId, OperatorId


def insert_operator(
    tx: Connection, name: str, password_hash: str, at: datetime, *, sign_on: tuple[str, str] | None = None
) -> OperatorId:
    """`sign_on`: issuer and subject of who has no password here."""
    issuer, subject = sign_on or (None, None)
    values = {"name": name, "password_hash": password_hash, "oidc_issuer": issuer, "oidc_subject": subject}
    result = tx.execute(sa.insert(operators).values(values | {"created_at": at}))
    assert result.inserted_primary_key is not None
    return OperatorId(result.inserted_primary_key[0])


def operator_by_name(tx: Connection, name: str, *, lock: bool = False) -> Operator | None:
    return _one_operator(tx, operators.c.name == name, lock)


def operator_by_id(tx: Connection, operator_id: OperatorId) -> Operator | None:
    return _one_operator(tx, operators.c.id == operator_id, False)


def operator_by_sign_on(tx: Connection, issuer: str, subject: str, *, lock: bool = False) -> Operator | None:
    return _one_operator(tx, sa.and_(operators.c.oidc_issuer == issuer, operators.c.oidc_subject == subject), lock)


def list_operators(
    tx: Connection, fleet_id: FleetId | None, *, text: str = "", after: str, offset: int, limit: int
) -> list[Operator]:
    """By name, beginning after the name `after`; otherwise as `operators_of`."""
    query = operators_of(fleet_id, text).where(operators.c.name > after)
    rows = tx.execute(query.order_by(operators.c.name).offset(offset).limit(limit)).all()
    grants = _grants(tx, [row.id for row in rows])
    return [_operator(row, grants.get(row.id, ())) for row in rows]


def operators_of(fleet_id: FleetId | None, text: str = "") -> sa.Select[Any]:
    """Those with a role in the fleet, or in every one; None: all. `text` is a part of the name."""
    query = sa.select(operators)
    if text:
        query = query.where(operators.c.name.contains(text, autoescape=True))
    if fleet_id is None:
        return query
    having = sa.select(operator_roles.c.operator_id).where(operator_roles.c.fleet_id.in_((fleet_id, 0)))
    return query.where(operators.c.id.in_(having))


def set_password(tx: Connection, operator_id: OperatorId, password_hash: str) -> None:
    tx.execute(sa.update(operators).where(operators.c.id == operator_id).values(password_hash=password_hash))


def set_disabled(tx: Connection, operator_id: OperatorId, at: datetime | None) -> None:
    tx.execute(sa.update(operators).where(operators.c.id == operator_id).values(disabled_at=at))


def set_grants_until(tx: Connection, operator_id: OperatorId, until: datetime | None) -> None:
    tx.execute(sa.update(operators).where(operators.c.id == operator_id).values(grants_until=until))


def replace_grants(tx: Connection, operator_id: OperatorId, grants: Iterable[Grant]) -> None:
    tx.execute(sa.delete(operator_roles).where(operator_roles.c.operator_id == operator_id))
    rows = [{"operator_id": operator_id, "role": grant.role, "fleet_id": grant.fleet_id} for grant in grants]
    if rows:
        tx.execute(sa.insert(operator_roles), rows)


def lock_administrators(tx: Connection) -> list[OperatorId]:
    """Operators who administer all fleets with a password of this node and are not disabled, their rows locked, in the
    order of their ids. Who signs on elsewhere does not count: the provider may be down."""
    statement = (
        sa.select(operators.c.id)
        .join(operator_roles, operator_roles.c.operator_id == operators.c.id)
        .where(operator_roles.c.role == "admin", operator_roles.c.fleet_id == 0, operators.c.disabled_at.is_(None))
        .where(operators.c.oidc_issuer.is_(None))
        .order_by(operators.c.id)
    )
    return [OperatorId(row) for row in tx.scalars(engine.for_update(statement))]


def operators_by_name(tx: Connection, names: Collection[str]) -> dict[str, Operator]:
    """Those of these names that there are."""
    if not names:
        return {}
    rows = tx.execute(sa.select(operators).where(operators.c.name.in_(names))).all()
    grants = _grants(tx, [row.id for row in rows])
    return {row.name: _operator(row, grants.get(row.id, ())) for row in rows}


def _one_operator(tx: Connection, chosen: sa.ColumnElement[bool], lock: bool) -> Operator | None:
    statement = sa.select(operators).where(chosen)
    row = tx.execute(engine.for_update(statement) if lock else statement).one_or_none()
    return None if row is None else _operator(row, _grants(tx, [row.id]).get(row.id, ()))


def _grants(tx: Connection, ids: list[int]) -> dict[int, tuple[Grant, ...]]:
    rows = tx.execute(
        roles.with_permissions(sa.select(operator_roles), operator_roles.c.role)
        .where(operator_roles.c.operator_id.in_(ids))
        .order_by(operator_roles.c.fleet_id, operator_roles.c.role)
    )
    found: dict[int, tuple[Grant, ...]] = {}
    for row in rows:
        grant = Grant(row.role, FleetId(row.fleet_id), roles.own(row.role_permissions))
        found[row.operator_id] = (*found.get(row.operator_id, ()), grant)
    return found


def _operator(row: Row[Any], grants: tuple[Grant, ...]) -> Operator:
    return Operator(
        id=OperatorId(row.id),
        name=row.name,
        password_hash=row.password_hash,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        grants=grants,
        sign_on=None if row.oidc_issuer is None else (row.oidc_issuer, row.oidc_subject),
        grants_until=row.grants_until,
    )
