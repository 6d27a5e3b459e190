"""Devices as a sheet: what is known of many by name, writing many changes, and the sheet that somebody previewed."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.device_import import Change, Known
from tidegate.control.store import engine
from tidegate.control.store.devices import chunks, ids_by_names
from tidegate.control.store.schema import ACTIVE, device_imports, device_tags, devices, group_members, groups
from tidegate.ids import DeviceId, FleetId, GroupId


def known(tx: Connection, fleet_id: FleetId, names: Collection[str]) -> dict[str, Known]:
    """The active devices among `names`, with tags and static groups; a few statements for hundreds of them."""
    ids = ids_by_names(tx, fleet_id, names)
    tags: dict[DeviceId, dict[str, str]] = {one: {} for one in ids.values()}
    listed: dict[DeviceId, set[str]] = {one: set() for one in ids.values()}
    for some in chunks(tags):
        for row in tx.execute(sa.select(device_tags).where(device_tags.c.device_id.in_(some))):
            tags[DeviceId(row.device_id)][row.key] = row.value
        query = sa.select(group_members.c.device_id, groups.c.name).join(
            groups, groups.c.id == group_members.c.group_id
        )
        for row in tx.execute(query.where(group_members.c.device_id.in_(some), groups.c.selector.is_(None))):
            listed[DeviceId(row.device_id)].add(row.name)
    return {name: Known(one, tags[one], frozenset(listed[one])) for name, one in ids.items()}


def apply(tx: Connection, changes: Sequence[Change], group_ids: Mapping[str, GroupId]) -> None:
    """Write them all: four statements at most, each executed for its rows."""
    put = [{"device_id": one.device, "key": key, "value": value} for one in changes for key, value in one.put.items()]
    engine.upsert(tx, device_tags, put, key=("device_id", "key"), update=("value",))
    gone = [{"b_device": one.device, "b_key": key} for one in changes for key in one.remove]
    if gone:
        tag = sa.and_(device_tags.c.device_id == sa.bindparam("b_device"), device_tags.c.key == sa.bindparam("b_key"))
        tx.execute(device_tags.delete().where(tag), gone)
    joined = [{"group_id": group_ids[name], "device_id": one.device} for one in changes for name in one.join]
    engine.upsert(tx, group_members, joined, key=("group_id", "device_id"), update=())
    left = [{"b_device": one.device, "b_group": group_ids[name]} for one in changes for name in one.leave]
    if left:
        member = sa.and_(
            group_members.c.device_id == sa.bindparam("b_device"), group_members.c.group_id == sa.bindparam("b_group")
        )
        tx.execute(group_members.delete().where(member), left)


def tag_keys(tx: Connection, fleet_id: FleetId) -> list[str]:
    """Every key that a living device of the fleet has."""
    query = sa.select(device_tags.c.key).distinct().join(devices, devices.c.id == device_tags.c.device_id)
    return sorted(tx.scalars(query.where(devices.c.fleet_id == fleet_id, devices.c.state == ACTIVE)))


def held_groups(tx: Connection, fleet_id: FleetId) -> bool:
    """Whether any group is on hold: then tags and membership decide who is served."""
    query = sa.select(sa.literal(1)).where(groups.c.fleet_id == fleet_id, groups.c.hold_reason.is_not(None)).limit(1)
    return tx.scalar(query) is not None


# -- what was previewed -----------------------------------------------------------------------------------------------


def keep(tx: Connection, fleet_id: FleetId, actor: str, sha256: str, sheet: bytes, now: datetime) -> None:
    """Instead of what this actor previewed before."""
    row = {
        "fleet_id": fleet_id,
        "actor": actor,
        "sha256": sha256,
        "sheet": zlib.compress(sheet, 6),
        "created_at": now,
    }
    engine.upsert(tx, device_imports, [row], key=("fleet_id", "actor"), update=("sha256", "sheet", "created_at"))


def kept(tx: Connection, fleet_id: FleetId, actor: str, sha256: str) -> bytes | None:
    """The sheet, where it is still the one."""
    mine = sa.and_(device_imports.c.fleet_id == fleet_id, device_imports.c.actor == actor)
    found = tx.scalar(sa.select(device_imports.c.sheet).where(mine, device_imports.c.sha256 == sha256))
    return None if found is None else zlib.decompress(found)


def forget(tx: Connection, fleet_id: FleetId, actor: str) -> None:
    tx.execute(device_imports.delete().where(device_imports.c.fleet_id == fleet_id, device_imports.c.actor == actor))


def prune(tx: Connection, before: datetime) -> None:
    """Forget what was previewed and never imported."""
    tx.execute(device_imports.delete().where(device_imports.c.created_at < before))
