"""Devices: rows in, domain values out; presence in batches; the generations by which replicas notice changes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.devices import ChannelUp, Device, DeviceEvent, DeviceRef, Hold, InProgress
from tidegate.control.store import engine
from tidegate.control.store.facts import subject_of
from tidegate.control.store.schema import (
    ACTIVE,
    device_events,
    device_tags,
    devices,
    fleets,
    group_members,
    groups,
    node_state,
)
from tidegate.ids import DeviceId, FleetId
from tidegate.wire.selector import Expression, matches, parse

T = TypeVar("T")

_CHANNEL_KEY = "device_channel"
#: Below the number of bound parameters that either database takes in one statement.
CHUNK = 500


def chunks(values: Collection[T]) -> Iterable[list[T]]:
    """`values` in lists short enough for one IN (…)."""
    listed = list(values)
    return (listed[start : start + CHUNK] for start in range(0, len(listed), CHUNK))


# -- generations ------------------------------------------------------------------------------------------------------


def bump(tx: Connection, fleet_id: FleetId, device_ids: Collection[DeviceId] = ()) -> int:
    """Raise the fleet's device generation and stamp it on `device_ids`: replicas re-read what is newer than they know.

    Locks the fleet's row until the commit, so that generations become visible in their order; call it late.
    """
    raised = fleets.update().where(fleets.c.id == fleet_id).values(device_generation=fleets.c.device_generation + 1)
    generation = int(tx.execute(raised.returning(fleets.c.device_generation)).scalar_one())
    for some in chunks(device_ids):
        tx.execute(devices.update().where(devices.c.id.in_(some)).values(generation=generation))
    return generation


def generations(tx: Connection) -> dict[FleetId, int]:
    """The device generation of every fleet."""
    rows = tx.execute(sa.select(fleets.c.id, fleets.c.device_generation))
    return {FleetId(row.id): int(row.device_generation) for row in rows}


# -- one device -------------------------------------------------------------------------------------------------------


def insert(tx: Connection, fleet_id: FleetId, name: str, now: datetime) -> DeviceId:
    """A new active device. Raises `IntegrityError` when a living one bears the name."""
    values = {"fleet_id": fleet_id, "name": name, "state": "active", "created_at": now, "enrolled_at": now}
    return DeviceId(int(tx.execute(devices.insert().values(values).returning(devices.c.id)).scalar_one()))


def update(tx: Connection, device_id: DeviceId, **values: Any) -> None:
    tx.execute(devices.update().where(devices.c.id == device_id).values(**values))


def lock(tx: Connection, device_id: DeviceId) -> None:
    """Keep everybody else from this device's certificates until the commit."""
    tx.execute(engine.for_update(sa.select(devices.c.id).where(devices.c.id == device_id)))


def facts(tx: Connection, device_id: DeviceId) -> dict[str, str]:
    """What the device last said of itself when it registered, as the texts on record."""
    query = sa.select(devices.c.agent_version, devices.c.hardware, devices.c.declared_tags, devices.c.log_sources)
    return dict(tx.execute(query.where(devices.c.id == device_id)).one()._mapping)


def identity_conflict_at(tx: Connection, device_id: DeviceId) -> datetime | None:
    """When a retired certificate of the device was last noted."""
    found: datetime | None = tx.scalar(sa.select(devices.c.identity_conflict_at).where(devices.c.id == device_id))
    return found


def set_hold(tx: Connection, device_id: DeviceId, hold: Hold | None) -> None:
    update(tx, device_id, hold_reason=hold.reason if hold else None, hold_until=hold.until if hold else None)


def find(tx: Connection, fleet_id: FleetId, name: str, *, lock: bool = False) -> Device | None:
    """The living device of that name, else the one decommissioned last."""
    query = (
        sa.select(devices)
        .where(devices.c.fleet_id == fleet_id, devices.c.name == name)
        .order_by(devices.c.state, devices.c.id.desc())
        .limit(1)
    )
    row = tx.execute(engine.for_update(query) if lock else query).first()
    return None if row is None else _with_tags_and_groups(tx, [_device(row)])[0]


def ref(tx: Connection, device_id: DeviceId) -> DeviceRef | None:
    query = (
        sa.select(devices.c.id, devices.c.name, devices.c.fleet_id, fleets.c.name.label("fleet"))
        .join(fleets, fleets.c.id == devices.c.fleet_id)
        .where(devices.c.id == device_id)
    )
    row = tx.execute(query).first()
    return row and DeviceRef(DeviceId(row.id), row.name, FleetId(row.fleet_id), row.fleet)


def ids_by_names(tx: Connection, fleet_id: FleetId, names: Collection[str]) -> dict[str, DeviceId]:
    """Ids of the living devices among `names`."""
    found: dict[str, DeviceId] = {}
    for some in chunks(names):
        query = sa.select(devices.c.name, devices.c.id).where(
            devices.c.fleet_id == fleet_id, devices.c.state == ACTIVE, devices.c.name.in_(some)
        )
        found.update({row.name: DeviceId(row.id) for row in tx.execute(query)})
    return found


# -- tags -------------------------------------------------------------------------------------------------------------


def set_tags(tx: Connection, device_id: DeviceId, tags: Mapping[str, str]) -> None:
    rows = [{"device_id": device_id, "key": key, "value": value} for key, value in tags.items()]
    engine.upsert(tx, device_tags, rows, key=("device_id", "key"), update=("value",))


def tags_of(tx: Connection, found: Mapping[str, DeviceId]) -> dict[str, dict[str, str]]:
    """The tags of each of these devices, by its name."""
    names = {device_id: name for name, device_id in found.items()}
    tags: dict[str, dict[str, str]] = {name: {} for name in found}
    for some in chunks(names):
        for row in tx.execute(sa.select(device_tags).where(device_tags.c.device_id.in_(some))):
            tags[names[DeviceId(row.device_id)]][row.key] = row.value
    return tags


def tag_some(tx: Connection, ids: Collection[DeviceId], put: Mapping[str, str], remove: Collection[str]) -> None:
    """Take away and set the same tags on all of them."""
    for some in chunks(ids):
        gone = device_tags.c.device_id.in_(some) & device_tags.c.key.in_(list(remove))
        tx.execute(device_tags.delete().where(gone))
    rows = [{"device_id": one, "key": key, "value": value} for one in ids for key, value in put.items()]
    engine.upsert(tx, device_tags, rows, key=("device_id", "key"), update=("value",))


def update_some(tx: Connection, ids: Collection[DeviceId], **values: Any) -> None:
    """The same values in every one of their rows."""
    for some in chunks(ids):
        tx.execute(devices.update().where(devices.c.id.in_(some)).values(**values))


def remove_tags(tx: Connection, device_id: DeviceId, keys: Collection[str]) -> None:
    tx.execute(device_tags.delete().where(device_tags.c.device_id == device_id, device_tags.c.key.in_(list(keys))))


# -- history ----------------------------------------------------------------------------------------------------------


def add_event(
    tx: Connection,
    fleet_id: FleetId,
    device_id: DeviceId,
    kind: str,
    detail: str,
    at: datetime,
    rollout_id: int | None = None,
) -> None:
    """Append one line to the device's history."""
    values = {
        "fleet_id": fleet_id,
        "device_id": device_id,
        "at": at,
        "kind": kind,
        "detail": detail,
        "rollout_id": rollout_id,
    }
    tx.execute(device_events.insert().values(values))


def events(tx: Connection, device_id: DeviceId, limit: int) -> list[DeviceEvent]:
    """The last `limit` lines of a device's history, newest first."""
    query = sa.select(device_events).where(device_events.c.device_id == device_id).order_by(device_events.c.id.desc())
    return [DeviceEvent(row.at, row.kind, row.detail, row.rollout_id) for row in tx.execute(query.limit(limit))]


# -- presence and the channel's time of service -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """What one heartbeat leaves to be written; the two texts only where they changed (None: as they were)."""

    device_id: DeviceId
    at: datetime
    waiting_on: str | None = None
    in_progress: str | None = None


def flush_presence(tx: Connection, seen: Sequence[Seen]) -> None:
    """Write many devices' presence with two statements at most, each executed for all its rows; never back in time."""
    plain = devices.update().where(
        devices.c.id == sa.bindparam("b_id"),
        sa.or_(devices.c.last_seen_at.is_(None), devices.c.last_seen_at < sa.bindparam("b_at")),
    )
    # Devices are locked in one order by every replica.
    ordered = sorted(seen, key=lambda one: one.device_id)
    quiet = [{"b_id": one.device_id, "b_at": one.at} for one in ordered if one.in_progress is None]
    if quiet:
        tx.execute(plain.values(last_seen_at=sa.bindparam("b_at")), quiet)
    said = [
        {"b_id": one.device_id, "b_at": one.at, "b_waiting": one.waiting_on or "", "b_progress": one.in_progress}
        for one in ordered
        if one.in_progress is not None
    ]
    if said:
        values: dict[str, Any] = {
            "last_seen_at": sa.bindparam("b_at"),
            "waiting_on": sa.bindparam("b_waiting"),
            "in_progress": sa.bindparam("b_progress"),
        }
        tx.execute(plain.values(**values), said)


def channel_up(tx: Connection) -> ChannelUp | None:
    """The device channel's present time of service; None: it never ran."""
    text = tx.scalar(sa.select(node_state.c.value).where(node_state.c.key == _CHANNEL_KEY))
    if text is None:
        return None
    value = json.loads(text)
    return ChannelUp(
        datetime.fromtimestamp(value["since"], UTC),
        datetime.fromtimestamp(value["until"], UTC),
        value["interval_factor"],
    )


def record_channel_up(tx: Connection, channel: ChannelUp) -> None:
    value = {
        "since": channel.since.timestamp(),
        "until": channel.until.timestamp(),
        "interval_factor": channel.interval_factor,
    }
    row = {"key": _CHANNEL_KEY, "value": json.dumps(value)}
    engine.upsert(tx, node_state, [row], key=("key",), update=("value",))


# -- rows to values ---------------------------------------------------------------------------------------------------


def _device(row: sa.Row[Any]) -> Device:
    return Device(
        id=DeviceId(row.id),
        fleet_id=FleetId(row.fleet_id),
        name=row.name,
        state=row.state,
        created_at=row.created_at,
        enrolled_at=row.enrolled_at,
        decommissioned_at=row.decommissioned_at,
        stop_workloads=row.stop_workloads,
        last_seen_at=row.last_seen_at,
        agent_version=row.agent_version,
        hardware=json.loads(row.hardware),
        declared_tags=json.loads(row.declared_tags),
        log_sources=tuple(json.loads(row.log_sources)),
        waiting_on=row.waiting_on,
        in_progress=tuple(InProgress(**item) for item in json.loads(row.in_progress)),
        hold=None if row.hold_reason is None else Hold(row.hold_reason, row.hold_until),
        identity_conflict_at=row.identity_conflict_at,
    )


def _with_tags_and_groups(tx: Connection, found: Sequence[Device]) -> list[Device]:
    tags: dict[DeviceId, dict[str, str]] = {one.id: {} for one in found}
    member_of: dict[DeviceId, set[str]] = {one.id: set() for one in found}
    for some in chunks(tags):
        for row in tx.execute(
            sa.select(device_tags).where(device_tags.c.device_id.in_(some)).order_by(device_tags.c.key)
        ):
            tags[DeviceId(row.device_id)][row.key] = row.value
        query = (
            sa.select(group_members.c.device_id, groups.c.name)
            .join(groups, groups.c.id == group_members.c.group_id)
            .where(group_members.c.device_id.in_(some))
        )
        for row in tx.execute(query):
            member_of[DeviceId(row.device_id)].add(row.name)
    rules = _rules(tx, {one.fleet_id for one in found})
    return [_filled(one, tags[one.id], member_of[one.id], rules.get(one.fleet_id, {})) for one in found]


def _rules(tx: Connection, fleet_ids: Collection[FleetId]) -> dict[FleetId, dict[str, Expression]]:
    """The groups of these fleets that a selector says, by name."""
    query = sa.select(groups.c.fleet_id, groups.c.name, groups.c.selector)
    rules: dict[FleetId, dict[str, Expression]] = {}
    for row in tx.execute(query.where(groups.c.fleet_id.in_(list(fleet_ids)), groups.c.selector.is_not(None))):
        rules.setdefault(FleetId(row.fleet_id), {})[row.name] = parse(row.selector)
    return rules


def _filled(
    device: Device, tags: Mapping[str, str], listed_in: Collection[str], rules: Mapping[str, Expression]
) -> Device:
    """Groups that list the device, and those whose selector it matches; a past device is in none of these."""
    whole = replace(device, tags=tags, static_groups=tuple(sorted(listed_in)))
    subject = subject_of(whole)
    said = {name for name, rule in rules.items() if device.active and matches(rule, subject)}
    return replace(whole, groups=tuple(sorted({*listed_in, *said})))


def from_rows(tx: Connection, rows: Iterable[sa.Row[Any]]) -> list[Device]:
    """Rows of `devices` with their tags and groups."""
    return _with_tags_and_groups(tx, [_device(row) for row in rows])
