"""Walking and counting a fleet's devices."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.devices import Device, DeviceState, Presence
from tidegate.control.store import devices as store
from tidegate.control.store import groups as group_store
from tidegate.control.store.assignments import on_hold
from tidegate.control.store.schema import ACTIVE, device_artifacts, device_tags, devices
from tidegate.ids import DeviceId, FleetId

#: A total is exact up to here; beyond, it says this and one more.
COUNT_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Filter:
    """Which devices; None and empty leave a question out. `offline_cutoff` is domain.devices.offline_cutoff's.

    `among`: ids of devices, such as a group's members or what a selector matches; in all of them. `held`: the condition
    itself, from `store.assignments.on_hold`.
    """

    state: DeviceState | None = "active"
    search: str = ""
    presence: Presence | None = None
    offline_cutoff: datetime | None = None
    among: tuple[sa.Select[Any], ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    artifact: str | None = None
    version: str | None = None
    held: sa.ColumnElement[bool] | None = None
    drifted: bool = False
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """Of the living devices of a fleet, by presence; those held (by themselves or a group), drifted, or with an
    identity conflict are counted there too."""

    total: int
    online: int
    offline: int
    never: int
    held: int
    drifted: int
    conflict: int
    decommissioned: int


def page(
    tx: Connection, fleet_id: FleetId, wanted: Filter, *, limit: int, offset: int, after: tuple[str, DeviceId] | None
) -> list[Device]:
    """By name and then id; `after` is the last pair already walked."""
    query = _where(sa.select(devices), fleet_id, wanted).order_by(devices.c.name, devices.c.id)
    if after is not None:
        query = query.where(
            sa.tuple_(devices.c.name, devices.c.id) > sa.tuple_(sa.literal(after[0]), sa.literal(after[1]))
        )
    return store.from_rows(tx, tx.execute(query.limit(limit).offset(offset)).all())


def count(tx: Connection, fleet_id: FleetId, wanted: Filter) -> int:
    """Exact up to `COUNT_LIMIT`, then one more than it."""
    some = _where(sa.select(devices.c.id), fleet_id, wanted).limit(COUNT_LIMIT + 1).subquery()
    return int(tx.execute(sa.select(sa.func.count()).select_from(some)).scalar_one())


def counts(tx: Connection, fleet_id: FleetId, offline_cutoff: datetime | None, now: datetime) -> Counts:
    """One pass over the fleet's devices."""
    living = devices.c.state == ACTIVE
    seen = devices.c.last_seen_at
    never = sa.and_(living, seen.is_(None))
    offline = sa.and_(living, seen < offline_cutoff) if offline_cutoff is not None else sa.false()
    query = sa.select(
        _count_if(living).label("total"),
        _count_if(never).label("never"),
        _count_if(offline).label("offline"),
        _count_if(sa.and_(living, on_hold(tx, fleet_id, now))).label("held"),
        _count_if(sa.and_(living, _drifted())).label("drifted"),
        _count_if(sa.and_(living, devices.c.identity_conflict_at.is_not(None))).label("conflict"),
        _count_if(sa.not_(living)).label("decommissioned"),
    ).where(devices.c.fleet_id == fleet_id)
    row = tx.execute(query).one()
    return Counts(
        total=int(row.total),
        online=int(row.total - row.never - row.offline),
        offline=int(row.offline),
        never=int(row.never),
        held=int(row.held),
        drifted=int(row.drifted),
        conflict=int(row.conflict),
        decommissioned=int(row.decommissioned),
    )


def living_and_held(tx: Connection, fleet_id: FleetId, now: datetime) -> tuple[int, int]:
    """How many living devices there are, and how many of them are held: by what holds them, not by looking at each."""
    living = sa.select(sa.func.count()).where(devices.c.fleet_id == fleet_id, devices.c.state == ACTIVE)
    own = sa.select(devices.c.id).where(
        devices.c.fleet_id == fleet_id,
        devices.c.state == ACTIVE,
        devices.c.hold_reason.is_not(None),
        sa.or_(devices.c.hold_until.is_(None), devices.c.hold_until > now),
    )
    held = sa.union(own, *group_store.held_members(tx, fleet_id, now)).subquery()
    return (
        int(tx.execute(living).scalar_one()),
        int(tx.execute(sa.select(sa.func.count()).select_from(held)).scalar_one()),
    )


def own_holds(tx: Connection, ids: Collection[DeviceId]) -> set[DeviceId]:
    """Those of these devices that are held themselves, not by a group."""
    query = sa.select(devices.c.id).where(devices.c.id.in_(list(ids)), devices.c.hold_reason.is_not(None))
    return {DeviceId(row.id) for row in tx.execute(query)}


def held_among(tx: Connection, fleet_id: FleetId, ids: Collection[DeviceId], now: datetime) -> tuple[int, int]:
    """How many of these devices are held now, and how many of them by a hold of their own."""
    held = sa.select(devices.c.id).where(devices.c.id.in_(list(ids)), on_hold(tx, fleet_id, now))
    found = {DeviceId(row.id) for row in tx.execute(held)}
    return len(found), len(own_holds(tx, found))


def drifted_among(tx: Connection, ids: Collection[DeviceId]) -> set[DeviceId]:
    """Those of these devices on which something else runs than a rollout left there."""
    query = sa.select(device_artifacts.c.device_id).distinct()
    query = query.where(device_artifacts.c.drift_since.is_not(None), device_artifacts.c.device_id.in_(list(ids)))
    return {DeviceId(row.device_id) for row in tx.execute(query)}


def _drifted() -> sa.ColumnElement[bool]:
    some = sa.select(device_artifacts.c.device_id).where(device_artifacts.c.drift_since.is_not(None))
    return devices.c.id.in_(some)


def _count_if(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)


def _where(query: sa.Select[Any], fleet_id: FleetId, wanted: Filter) -> sa.Select[Any]:
    query = query.where(devices.c.fleet_id == fleet_id)
    if wanted.state is not None:
        query = query.where(devices.c.state == (ACTIVE if wanted.state == "active" else wanted.state))
    if wanted.search:
        query = query.where(devices.c.name.contains(wanted.search, autoescape=True))
    if wanted.presence is not None:
        query = query.where(_has_presence(wanted.presence, wanted.offline_cutoff))
    for some in wanted.among:
        query = query.where(devices.c.id.in_(some))
    for key, value in wanted.tags.items():
        tagged = sa.select(device_tags.c.device_id).where(device_tags.c.key == key, device_tags.c.value == value)
        query = query.where(devices.c.id.in_(tagged))
    if wanted.artifact is not None:
        running = sa.select(device_artifacts.c.device_id).where(
            device_artifacts.c.artifact_name == wanted.artifact, device_artifacts.c.running_version.is_not(None)
        )
        if wanted.version is not None:
            running = running.where(device_artifacts.c.running_version == wanted.version)
        query = query.where(devices.c.id.in_(running))
    if wanted.drifted:
        query = query.where(_drifted())
    if wanted.conflict:
        query = query.where(devices.c.identity_conflict_at.is_not(None))
    if wanted.held is not None:
        query = query.where(wanted.held)
    return query


def _has_presence(presence: Presence, cutoff: datetime | None) -> sa.ColumnElement[bool]:
    seen = devices.c.last_seen_at
    if presence == "never":
        return seen.is_(None)
    if cutoff is None:  # nobody is offline yet
        return sa.false() if presence == "offline" else seen.is_not(None)
    return seen < cutoff if presence == "offline" else seen >= cutoff
