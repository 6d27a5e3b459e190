"""Groups and what they hold: by row where they are static, by one set query where a selector says."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.devices import Hold
from tidegate.control.domain.groups import Group, Uses
from tidegate.control.store import engine, facts, selectors
from tidegate.control.store.devices import chunks
from tidegate.control.store.schema import ACTIVE, devices, enrollment_tokens, group_members, groups, rollouts
from tidegate.ids import DeviceId, FleetId, GroupId, RolloutId, TokenId
from tidegate.wire.selector import matches, parse


def insert(tx: Connection, fleet_id: FleetId, name: str, now: datetime, selector: str | None = None) -> GroupId:
    """A new group, static without a selector. Raises `IntegrityError` when the fleet has one of that name."""
    values = {"fleet_id": fleet_id, "name": name, "selector": selector, "created_at": now}
    return GroupId(int(tx.execute(groups.insert().values(values).returning(groups.c.id)).scalar_one()))


def update(tx: Connection, group_id: GroupId, **values: Any) -> None:
    tx.execute(groups.update().where(groups.c.id == group_id).values(**values))


def delete(tx: Connection, group_id: GroupId) -> None:
    tx.execute(group_members.delete().where(group_members.c.group_id == group_id))
    tx.execute(groups.delete().where(groups.c.id == group_id))


def find(tx: Connection, fleet_id: FleetId, name: str, *, lock: bool = False) -> Group | None:
    query = sa.select(groups).where(groups.c.fleet_id == fleet_id, groups.c.name == name)
    row = tx.execute(engine.for_update(query) if lock else query).first()
    if row is None:
        return None
    size = tx.scalar(sa.select(sa.func.count()).select_from(_members(row).subquery()))
    return _group(row, int(size or 0))


def by_names(tx: Connection, fleet_id: FleetId, names: Collection[str]) -> dict[str, GroupId]:
    """The static groups among `names`."""
    query = sa.select(groups.c.name, groups.c.id).where(groups.c.fleet_id == fleet_id, groups.c.selector.is_(None))
    found: dict[str, GroupId] = {}
    for some in chunks(names):  # a sheet may name more than one statement takes
        found |= {row.name: GroupId(row.id) for row in tx.execute(query.where(groups.c.name.in_(some)))}
    return found


def listed(
    tx: Connection, fleet_id: FleetId, *, search: str, after: str | None, limit: int, offset: int
) -> list[Group]:
    """By name; `after`: names greater than it."""
    query = _matching(sa.select(groups, _static_size().label("size")), fleet_id, search).order_by(groups.c.name)
    if after is not None:
        query = query.where(groups.c.name > after)
    rows = tx.execute(query.limit(limit).offset(offset)).all()
    computed = [row for row in rows if row.selector is not None]
    sizes: dict[int, int] = {}
    if computed:
        found = tx.execute(selectors.counted(fleet_id, [parse(row.selector) for row in computed])).one()
        sizes = {row.id: int(size) for row, size in zip(computed, found, strict=True)}
    return [_group(row, sizes.get(row.id, int(row.size))) for row in rows]


def names(tx: Connection, fleet_id: FleetId, *, static_only: bool, limit: int) -> list[str]:
    """The first of them by name, without counting whom they hold."""
    query = sa.select(groups.c.name).where(groups.c.fleet_id == fleet_id).order_by(groups.c.name).limit(limit)
    return list(tx.scalars(query.where(groups.c.selector.is_(None)) if static_only else query))


def count(tx: Connection, fleet_id: FleetId, search: str) -> int:
    return int(tx.execute(_matching(sa.select(sa.func.count()).select_from(groups), fleet_id, search)).scalar_one())


# -- members ----------------------------------------------------------------------------------------------------------


def members(group: Group) -> sa.Select[Any]:
    """The ids of the living devices that the group holds now: for IN, or to be read."""
    return _members(group)


def members_by_name(tx: Connection, fleet_id: FleetId, name: str) -> sa.Select[Any] | None:
    """The same by the group's name; None when there is none."""
    row = tx.execute(sa.select(groups).where(groups.c.fleet_id == fleet_id, groups.c.name == name)).first()
    return None if row is None else _members(row)


def member_ids(tx: Connection, group: Group) -> list[DeviceId]:
    return sorted(DeviceId(one) for one in tx.scalars(members(group)))


def names_holding(tx: Connection, fleet_id: FleetId, device_id: DeviceId) -> set[str]:
    """The names of all groups that hold this device."""
    return {row.name for row in _holding(tx, fleet_id, device_id, sa.true())}


def holds_on(tx: Connection, fleet_id: FleetId, device_id: DeviceId) -> list[tuple[str, Hold]]:
    """The holds on groups that hold the device, by the group's name.

    One statement; the device's facts are read only where a group with a selector is held.
    """
    found = _holding(tx, fleet_id, device_id, groups.c.hold_reason.is_not(None))
    return [(row.name, Hold(row.hold_reason, row.hold_until)) for row in found]


def held(tx: Connection, fleet_id: FleetId, now: datetime) -> dict[str, Hold]:
    """The groups on hold now, by name."""
    query = sa.select(groups.c.name, groups.c.hold_reason, groups.c.hold_until).where(
        groups.c.fleet_id == fleet_id,
        groups.c.hold_reason.is_not(None),
        sa.or_(groups.c.hold_until.is_(None), groups.c.hold_until > now),
    )
    return {row.name: Hold(row.hold_reason, row.hold_until) for row in tx.execute(query)}


def held_members(tx: Connection, fleet_id: FleetId, now: datetime) -> list[sa.Select[Any]]:
    """For each group on hold now, the ids of the living devices that it holds: for a union, or for IN."""
    query = sa.select(groups).where(
        groups.c.fleet_id == fleet_id,
        groups.c.hold_reason.is_not(None),
        sa.or_(groups.c.hold_until.is_(None), groups.c.hold_until > now),
    )
    return [_members(row) for row in tx.execute(query)]


def held_selectors(tx: Connection, fleet_id: FleetId, now: datetime) -> list[str]:
    """The selectors of the groups on hold now."""
    query = sa.select(groups.c.selector).where(
        groups.c.fleet_id == fleet_id,
        groups.c.selector.is_not(None),
        groups.c.hold_reason.is_not(None),
        sa.or_(groups.c.hold_until.is_(None), groups.c.hold_until > now),
    )
    return [row.selector for row in tx.execute(query)]


def _holding(
    tx: Connection, fleet_id: FleetId, device_id: DeviceId, among: sa.ColumnElement[bool]
) -> list[sa.Row[Any]]:
    member = (
        sa.select(sa.literal(1))
        .where(group_members.c.group_id == groups.c.id, group_members.c.device_id == device_id)
        .exists()
    )
    query = sa.select(groups).where(groups.c.fleet_id == fleet_id, among)
    rows = tx.execute(query.where(sa.or_(groups.c.selector.is_not(None), member)).order_by(groups.c.name)).all()
    if all(row.selector is None for row in rows):
        return list(rows)
    subject = facts.subjects(tx, [device_id])[device_id]
    return [row for row in rows if row.selector is None or matches(parse(row.selector), subject)]


def add(tx: Connection, group_id: GroupId, device_ids: Sequence[DeviceId]) -> int:
    """Add devices to a static group; gives how many were not in it before."""
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
    update(tx, group_id, hold_reason=hold.reason if hold else None, hold_until=hold.until if hold else None)


def _among(tx: Connection, group_id: GroupId, device_ids: Sequence[DeviceId]) -> set[DeviceId]:
    found: set[DeviceId] = set()
    for some in chunks(device_ids):
        query = sa.select(group_members.c.device_id).where(
            group_members.c.group_id == group_id, group_members.c.device_id.in_(some)
        )
        found.update(DeviceId(row.device_id) for row in tx.execute(query))
    return found


def _members(group: Group | sa.Row[Any]) -> sa.Select[Any]:
    if group.selector is not None:
        return selectors.matching(group.fleet_id, parse(group.selector))
    living = devices.alias()
    return (
        sa.select(group_members.c.device_id)
        .join(living, living.c.id == group_members.c.device_id)
        .where(group_members.c.group_id == group.id, living.c.state == ACTIVE)
    )


def _static_size() -> sa.ScalarSelect[int]:
    return (
        sa.select(sa.func.count())
        .select_from(group_members.join(devices, devices.c.id == group_members.c.device_id))
        .where(group_members.c.group_id == groups.c.id, devices.c.state == ACTIVE)
        .correlate(groups)
        .scalar_subquery()
    )


# -- what speaks of a group by its name -------------------------------------------------------------------------------


def uses(tx: Connection, fleet_id: FleetId, name: str, now: datetime) -> Uses:
    """Baseline rollouts to the group, and tokens that can still be used and name it."""
    return Uses(tuple(_baselines(tx, fleet_id, name)), tuple(one for one, _ in _tokens(tx, fleet_id, name, now)))


def follow_name(tx: Connection, fleet_id: FleetId, before: str, after: str, now: datetime) -> None:
    """What spoke of the group under its old name speaks of it under the new one."""
    found = _baselines(tx, fleet_id, before)
    for some in chunks(found):
        tx.execute(rollouts.update().where(rollouts.c.id.in_(some)).values(target=_target(after)))
    for token_id, names in _tokens(tx, fleet_id, before, now):
        renamed = json.dumps([after if name == before else name for name in names])
        tx.execute(enrollment_tokens.update().where(enrollment_tokens.c.id == token_id).values(groups=renamed))


def _target(name: str) -> str:
    return json.dumps({"group": name})


def _baselines(tx: Connection, fleet_id: FleetId, name: str) -> list[RolloutId]:
    query = sa.select(rollouts.c.id).where(
        rollouts.c.fleet_id == fleet_id, rollouts.c.baseline, rollouts.c.target == _target(name)
    )
    return [RolloutId(row.id) for row in tx.execute(query.order_by(rollouts.c.id))]


def _tokens(tx: Connection, fleet_id: FleetId, name: str, now: datetime) -> list[tuple[TokenId, list[str]]]:
    query = sa.select(enrollment_tokens.c.id, enrollment_tokens.c.groups).where(
        enrollment_tokens.c.fleet_id == fleet_id,
        enrollment_tokens.c.revoked_at.is_(None),
        enrollment_tokens.c.expires_at > now,
        enrollment_tokens.c.groups.contains(json.dumps(name), autoescape=True),
    )
    return [(TokenId(row.id), json.loads(row.groups)) for row in tx.execute(query.order_by(enrollment_tokens.c.id))]


def _matching(query: sa.Select[Any], fleet_id: FleetId, search: str) -> sa.Select[Any]:
    query = query.where(groups.c.fleet_id == fleet_id)
    return query.where(groups.c.name.contains(search, autoescape=True)) if search else query


def _group(row: sa.Row[Any], size: int) -> Group:
    hold = None if row.hold_reason is None else Hold(row.hold_reason, row.hold_until)
    return Group(GroupId(row.id), FleetId(row.fleet_id), row.name, row.selector, row.created_at, size, hold)
