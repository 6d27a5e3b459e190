"""Static groups and what they hold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.devices import Hold
from tidegate.control.domain.groups import Group
from tidegate.control.store import engine
from tidegate.control.store.devices import chunks
from tidegate.control.store.schema import devices, group_members, groups
from tidegate.ids import DeviceId, FleetId, GroupId


def insert(tx: Connection, fleet_id: FleetId, name: str, now: datetime) -> GroupId:
    """A new static group. Raises `IntegrityError` when the fleet has one of that name."""
    values = {"fleet_id": fleet_id, "name": name, "created_at": now}
    return GroupId(int(tx.execute(groups.insert().values(values).returning(groups.c.id)).scalar_one()))


def delete(tx: Connection, group_id: GroupId) -> None:
    tx.execute(group_members.delete().where(group_members.c.group_id == group_id))
    tx.execute(groups.delete().where(groups.c.id == group_id))


def find(tx: Connection, fleet_id: FleetId, name: str, *, lock: bool = False) -> Group | None:
    query = sa.select(groups).where(groups.c.fleet_id == fleet_id, groups.c.name == name)
    row = tx.execute(engine.for_update(query) if lock else query).first()
    return None if row is None else _group(row, size(tx, GroupId(row.id)))


def by_names(tx: Connection, fleet_id: FleetId, names: Collection[str]) -> dict[str, GroupId]:
    query = sa.select(groups.c.name, groups.c.id).where(groups.c.fleet_id == fleet_id, groups.c.name.in_(list(names)))
    return {row.name: GroupId(row.id) for row in tx.execute(query)}


def listed(
    tx: Connection, fleet_id: FleetId, *, search: str, after: str | None, limit: int, offset: int
) -> list[Group]:
    """By name; `after`: names greater than it."""
    query = _matching(sa.select(groups, _size().label("size")), fleet_id, search).order_by(groups.c.name)
    if after is not None:
        query = query.where(groups.c.name > after)
    return [_group(row, int(row.size)) for row in tx.execute(query.limit(limit).offset(offset))]


def count(tx: Connection, fleet_id: FleetId, search: str) -> int:
    return int(tx.execute(_matching(sa.select(sa.func.count()).select_from(groups), fleet_id, search)).scalar_one())


def size(tx: Connection, group_id: GroupId) -> int:
    """How many living devices the group holds."""
    return int(tx.execute(sa.select(_size()).select_from(groups).where(groups.c.id == group_id)).scalar_one())


def member_ids(tx: Connection, group_id: GroupId) -> list[DeviceId]:
    """Living devices of the group, by id."""
    query = (
        sa.select(group_members.c.device_id)
        .join(devices, devices.c.id == group_members.c.device_id)
        .where(group_members.c.group_id == group_id, devices.c.state == "active")
        .order_by(group_members.c.device_id)
    )
    return [DeviceId(row.device_id) for row in tx.execute(query)]


def add(tx: Connection, group_id: GroupId, device_ids: Sequence[DeviceId]) -> int:
    """Add devices; gives how many were not in it before."""
    already = _among(tx, group_id, device_ids)
    rows = [{"group_id": group_id, "device_id": one} for one in device_ids if one not in already]
    engine.upsert(tx, group_members, rows, key=("group_id", "device_id"), update=())
    return len(rows)


def remove(tx: Connection, group_id: GroupId, device_ids: Sequence[DeviceId]) -> int:
    """Take devices out; gives how many were in it."""
    gone = 0
    for some in chunks(device_ids):
        gone += tx.execute(
            group_members.delete().where(group_members.c.group_id == group_id, group_members.c.device_id.in_(some))
        ).rowcount
    return gone


def set_hold(tx: Connection, group_id: GroupId, hold: Hold | None) -> None:
    values: dict[str, Any] = {"hold_reason": hold.reason if hold else None, "hold_until": hold.until if hold else None}
    tx.execute(groups.update().where(groups.c.id == group_id).values(**values))


def _among(tx: Connection, group_id: GroupId, device_ids: Sequence[DeviceId]) -> set[DeviceId]:
    found: set[DeviceId] = set()
    for some in chunks(device_ids):
        query = sa.select(group_members.c.device_id).where(
            group_members.c.group_id == group_id, group_members.c.device_id.in_(some)
        )
        found.update(DeviceId(row.device_id) for row in tx.execute(query))
    return found


def _size() -> sa.ScalarSelect[int]:
    return (
        sa.select(sa.func.count())
        .select_from(group_members.join(devices, devices.c.id == group_members.c.device_id))
        .where(group_members.c.group_id == groups.c.id, devices.c.state == "active")
        .correlate(groups)
        .scalar_subquery()
    )


def _matching(query: sa.Select[Any], fleet_id: FleetId, search: str) -> sa.Select[Any]:
    query = query.where(groups.c.fleet_id == fleet_id)
    return query.where(groups.c.name.contains(search, autoescape=True)) if search else query


def _group(row: sa.Row[Any], members: int) -> Group:
    hold = None if row.hold_reason is None else Hold(row.hold_reason, row.hold_until)
    return Group(GroupId(row.id), FleetId(row.fleet_id), row.name, row.created_at, members, hold)
