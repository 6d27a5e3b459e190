"""Walking and counting a fleet's devices."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.devices import Device, DeviceState, Presence
from tidegate.control.store import devices as store
from tidegate.control.store.schema import device_artifacts, device_tags, devices
from tidegate.ids import DeviceId, FleetId

#: A total is exact up to here; beyond, it says this and one more.
COUNT_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Filter:
    """Which devices; None and empty leave a question out. `offline_cutoff` is domain.devices.offline_cutoff's.

    `among`: ids of devices, such as a group's members or what a selector matches; in all of them.
    """

    state: DeviceState | None = "active"
    search: str = ""
    presence: Presence | None = None
    offline_cutoff: datetime | None = None
    among: tuple[sa.Select[Any], ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    artifact: str | None = None
    version: str | None = None
    held: bool | None = None
    drifted: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """Of the living devices of a fleet, by presence; `held` ones are counted there too."""

    total: int
    online: int
    offline: int
    never: int
    held: int
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
    living = devices.c.state == "active"
    seen = devices.c.last_seen_at
    never = sa.and_(living, seen.is_(None))
    offline = sa.and_(living, seen < offline_cutoff) if offline_cutoff is not None else sa.false()
    held = sa.and_(living, devices.c.hold_reason.is_not(None), _not_past(devices.c.hold_until, now))
    query = sa.select(
        _count_if(living).label("total"),
        _count_if(never).label("never"),
        _count_if(offline).label("offline"),
        _count_if(held).label("held"),
        _count_if(sa.not_(living)).label("decommissioned"),
    ).where(devices.c.fleet_id == fleet_id)
    row = tx.execute(query).one()
    return Counts(
        total=int(row.total),
        online=int(row.total - row.never - row.offline),
        offline=int(row.offline),
        never=int(row.never),
        held=int(row.held),
        decommissioned=int(row.decommissioned),
    )


def _count_if(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)


def _not_past(until: sa.ColumnElement[Any], now: datetime) -> sa.ColumnElement[bool]:
    return sa.or_(until.is_(None), until > now)


def _where(query: sa.Select[Any], fleet_id: FleetId, wanted: Filter) -> sa.Select[Any]:
    query = query.where(devices.c.fleet_id == fleet_id)
    if wanted.state is not None:
        query = query.where(devices.c.state == wanted.state)
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
        drifted = sa.select(device_artifacts.c.device_id).where(device_artifacts.c.drift_since.is_not(None))
        query = query.where(devices.c.id.in_(drifted))
    if wanted.held is not None:
        held = devices.c.hold_reason.is_not(None)
        query = query.where(held if wanted.held else sa.not_(held))
    return query


def _has_presence(presence: Presence, cutoff: datetime | None) -> sa.ColumnElement[bool]:
    seen = devices.c.last_seen_at
    if presence == "never":
        return seen.is_(None)
    if cutoff is None:  # nobody is offline yet
        return sa.false() if presence == "offline" else seen.is_not(None)
    return seen < cutoff if presence == "offline" else seen >= cutoff
