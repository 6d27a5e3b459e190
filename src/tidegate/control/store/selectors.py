"""A selector's tree as SQL: one statement for the whole fleet, bound parameters only, the same on both databases.

What is compiled here is what `tidegate.wire.selector.matches` says: every comparison is true or false, never null, so
that `not` means the same in both.
"""

from __future__ import annotations

import operator as python
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.store.schema import ACTIVE, device_fact_items, device_facts, device_tags, devices
from tidegate.ids import FleetId
from tidegate.versions import sort_key
from tidegate.wire.selector import DEVICE, All, Compare, Contains, Expression, Not, OneOf, Some
from tidegate.wire.selector.columns import ORDER, Operator, kind_of

Condition = sa.ColumnElement[bool]
#: Questions to other tables that PostgreSQL may join with; the time that it takes to order joins grows without bound
#: with their number, and anybody who may look may ask as many as a selector holds.
_JOINED = 3
_SIGNS = {
    "==": python.eq,
    "!=": python.ne,
    "<": python.lt,
    "<=": python.le,
    ">": python.gt,
    ">=": python.ge,
}


def matching(fleet_id: FleetId, expression: Expression) -> sa.Select[Any]:
    """The ids of the fleet's living devices that match: for IN, or to be read."""
    table = _Table()
    return (
        sa.select(table.device.c.id)
        .select_from(table.joined)
        .where(table.device.c.fleet_id == fleet_id, table.device.c.state == ACTIVE, table.condition(expression))
    )


def counted(fleet_id: FleetId, expressions: list[Expression]) -> sa.Select[Any]:
    """How many living devices match each, in one pass over the fleet."""
    table = _Table()
    sums = [sa.func.coalesce(sa.func.sum(sa.case((table.condition(one), 1), else_=0)), 0) for one in expressions]
    query = sa.select(*(one.label(f"n{number}") for number, one in enumerate(sums))).select_from(table.joined)
    return query.where(table.device.c.fleet_id == fleet_id, table.device.c.state == ACTIVE)


def named(tx: Connection, fleet_id: FleetId, expression: Expression, limit: int) -> tuple[int, tuple[str, ...]]:
    """How many living devices match, and the names of the first."""
    ids = matching(fleet_id, expression).subquery()
    count = tx.scalar(sa.select(sa.func.count()).select_from(ids))
    names = sa.select(devices.c.name).where(devices.c.id.in_(sa.select(ids.c.id))).order_by(devices.c.name)
    return int(count or 0), tuple(tx.scalars(names.limit(limit)))


class _Table:
    """Devices with their facts, under names of their own, so that a statement may hold several."""

    def __init__(self) -> None:
        self.device = devices.alias()
        self._facts = device_facts.alias()
        self.joined = self.device.join(self._facts, self._facts.c.device_id == self.device.c.id, isouter=True)
        self._asked = 0

    def condition(self, expression: Expression) -> Condition:
        match expression:
            case All(of=parts):
                return sa.and_(*(self.condition(part) for part in parts))
            case Some(of=parts):
                return sa.or_(*(self.condition(part) for part in parts))
            case Not(of=part):
                return sa.not_(self.condition(part))
            case Contains(name=name, value=value):
                held = sa.select(device_fact_items.c.device_id).where(
                    device_fact_items.c.kind == name, device_fact_items.c.key == value
                )
                return self._among(held)
            case OneOf(name=name, values=values, negated=negated):
                return self._about(name, lambda column: column.not_in(values) if negated else column.in_(values))
            case Compare(name=name, operator=operator, value=value):
                if operator in ORDER and kind_of(name, DEVICE) == "version":
                    return self._about(f"{name}_order", lambda column: _SIGNS[operator](column, sort_key(str(value))))
                return self._about(name, lambda column: _compared(column, operator, value))

    def _about(self, name: str, compared: Any) -> Condition:
        """True where the fact is known and compares so; false, never null, otherwise."""
        prefix, dot, key = name.partition(".")
        if dot and prefix == "tags":
            told = sa.select(device_tags.c.device_id).where(device_tags.c.key == key, compared(device_tags.c.value))
            return self._among(told)
        if dot:
            told = sa.select(device_fact_items.c.device_id).where(
                device_fact_items.c.kind == "declared",
                device_fact_items.c.key == key,
                compared(device_fact_items.c.value),
            )
            return self._among(told)
        if name == "name":
            return compared(self.device.c.name)  # type: ignore[no-any-return]
        column = self._facts.c[name]
        return sa.and_(column.is_not(None), compared(column))

    def _among(self, ids: sa.Select[Any]) -> Condition:
        """Whether the device is one of these; beyond the first few as a case, which is looked up and never joined."""
        found: Condition = self.device.c.id.in_(ids)
        self._asked += 1
        return found if self._asked <= _JOINED else sa.case((found, sa.true()), else_=sa.false())


def _compared(column: sa.ColumnElement[Any], operator: Operator, value: str | int) -> Condition:
    if operator == "startswith":
        text = str(value)
        return sa.func.substr(column, 1, len(text)) == text
    compared: Condition = _SIGNS[operator](column, value)
    return compared
