"""What runs where over a whole fleet: counted by one set query, walked device by device in bounded pieces."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeVarTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.store import paging
from tidegate.control.store.schema import ACTIVE, artifacts, device_artifacts, devices
from tidegate.ids import FleetId

Ts = TypeVarTuple("Ts")
#: What is asked for: every device, those whose version drifted, those that run a withdrawn one, those that have
#: reported none.
Show = Literal["all", "drifted", "withdrawn", "unreported"]
_GOAL = artifacts.alias("goal")
_RUNNING = artifacts.alias("running")
_SHOWN = (
    devices.c.id, devices.c.name, devices.c.last_seen_at, device_artifacts.c.artifact_name,
    device_artifacts.c.running_version, device_artifacts.c.drift_since, device_artifacts.c.restore_state,
    device_artifacts.c.reported_at, _RUNNING.c.withdrawn_at, _GOAL.c.version.label("should_version"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filter:
    """Empty leaves a question out; `among`: only devices whose ids these statements give."""

    artifact: str = ""
    version: str = ""
    show: Show = "all"
    among: tuple[sa.Select[Any], ...] = ()


@dataclass(frozen=True, slots=True)
class VersionCount:
    """`published` False: no version of the catalog, by what the device says it runs."""

    artifact: str
    version: str
    devices: int
    drifted: int
    published: bool
    withdrawn: bool


@dataclass(frozen=True, slots=True)
class Totals:
    """Of living devices: all, those that have reported to run something, and what of that is not as it should be."""

    devices: int
    reported: int
    drifted: int
    withdrawn: int

    @property
    def unreported(self) -> int:
        return self.devices - self.reported


@dataclass(frozen=True, slots=True)
class RunRow:
    """One artifact name on one device; `artifact` is empty where the device has reported none."""

    device_id: int
    device: str
    artifact: str
    running_version: str
    should_version: str
    withdrawn: bool
    drift_since: datetime | None
    restore: str
    reported_at: datetime | None
    last_seen_at: datetime | None

    @property
    def place(self) -> tuple[str, int, str]:
        """Where a walk goes on behind it."""
        return (self.device, self.device_id, self.artifact)


def counted(
    tx: Connection, fleet_id: FleetId, wanted: Filter, *, after: tuple[str, str] | None, limit: int, offset: int
) -> tuple[list[VersionCount], int]:
    """How many devices run each version, by artifact name and version, and how many versions there are."""
    grouped = _by_version(fleet_id, wanted, drifted=wanted.show == "drifted").subquery()
    drift = _by_version(fleet_id, wanted, drifted=True).subquery()
    same = sa.and_(
        drift.c.artifact_name == grouped.c.artifact_name, drift.c.running_version == grouped.c.running_version
    )
    known = sa.and_(
        _RUNNING.c.fleet_id == fleet_id,
        _RUNNING.c.name == grouped.c.artifact_name,
        _RUNNING.c.version == grouped.c.running_version,
    )
    query = sa.select(
        grouped,
        sa.func.coalesce(drift.c.devices, 0).label("drifted"),
        _RUNNING.c.id.is_not(None).label("published"),
        _RUNNING.c.withdrawn_at.is_not(None).label("withdrawn"),
    ).select_from(grouped.join(drift, same, isouter=True).join(_RUNNING, known, isouter=True))
    if wanted.show == "withdrawn":
        query = query.where(_RUNNING.c.withdrawn_at.is_not(None))
    place = (grouped.c.artifact_name, grouped.c.running_version)
    wider = query if after is None else query.where(sa.tuple_(*place) > sa.tuple_(*map(sa.literal, after)))
    rows = tx.execute(wider.order_by(*place).limit(limit).offset(offset)).all()
    found = [
        VersionCount(
            row.artifact_name, row.running_version, row.devices, row.drifted, bool(row.published), bool(row.withdrawn)
        )
        for row in rows
    ]
    whole = after is None and offset == 0 and len(rows) < limit
    return found, len(rows) if whole else paging.total(tx, query)


def totals(tx: Connection, fleet_id: FleetId, wanted: Filter) -> Totals:
    """Of the fleet's living devices; only `artifact` and `among` of the filter count."""
    reported = sa.select(device_artifacts.c.device_id).where(device_artifacts.c.running_version.is_not(None))
    if wanted.artifact:
        reported = reported.where(device_artifacts.c.artifact_name == wanted.artifact)
    drifted = reported.where(device_artifacts.c.device_id == devices.c.id, device_artifacts.c.drift_since.is_not(None))
    withdrawn = reported.join(_RUNNING, _is_running(fleet_id)).where(_RUNNING.c.withdrawn_at.is_not(None))
    living = _living(sa.select(sa.func.count()).select_from(devices), fleet_id, wanted)
    asked = {
        "reported": devices.c.id.in_(reported),
        "drifted": drifted.correlate(devices).exists(),
        "withdrawn": devices.c.id.in_(withdrawn),
    }
    query = sa.select(
        living.scalar_subquery().label("devices"),
        *(living.where(condition).scalar_subquery().label(name) for name, condition in asked.items()),
    )
    row = tx.execute(query).one()
    return Totals(int(row.devices), int(row.reported), int(row.drifted), int(row.withdrawn))


def rows(
    tx: Connection, fleet_id: FleetId, wanted: Filter, *, after: tuple[str, int, str] | None, limit: int, offset: int
) -> list[RunRow]:
    """By device, then artifact name; behind `after`. A device that has reported nothing is one row too."""
    query = _scoped(_rows(fleet_id, wanted, *_SHOWN), fleet_id, wanted)
    name = sa.func.coalesce(device_artifacts.c.artifact_name, "")
    if after is not None:
        place = sa.tuple_(devices.c.name, devices.c.id, name)
        behind = place > sa.tuple_(sa.literal(after[0]), sa.literal(after[1]), sa.literal(after[2]))
        # Said twice: the first is what an index can be entered with.
        query = query.where(devices.c.name >= after[0], behind)
    query = query.order_by(devices.c.name, devices.c.id, name).limit(limit).offset(offset)
    return [_row(row) for row in tx.execute(query)]


def count(tx: Connection, fleet_id: FleetId, wanted: Filter) -> int:
    """How many rows there are, exact as far as lists count."""
    # Of one column: what is joined only to be shown is then not looked up.
    return paging.total(tx, _scoped(_rows(fleet_id, wanted, devices.c.id), fleet_id, wanted))


def by_version(tx: Connection, fleet_id: FleetId, name: str) -> dict[str, int]:
    """How many living devices run each version of one name."""
    query = _by_version(fleet_id, Filter(artifact=name))
    return {row.running_version: int(row.devices) for row in tx.execute(query)}


def by_name(tx: Connection, fleet_id: FleetId) -> list[tuple[str, str, int]]:
    """Artifact name, version, and how many living devices run it: by name, the most frequent first."""
    query = _by_version(fleet_id, Filter()).order_by(device_artifacts.c.artifact_name, sa.func.count().desc())
    return [(row.artifact_name, row.running_version, int(row.devices)) for row in tx.execute(query)]


def _row(row: Any) -> RunRow:
    return RunRow(
        device_id=row.id,
        device=row.name,
        artifact=row.artifact_name or "",
        running_version=row.running_version or "",
        should_version=row.should_version or "",
        withdrawn=row.withdrawn_at is not None,
        drift_since=row.drift_since,
        restore=row.restore_state or "",
        reported_at=row.reported_at,
        last_seen_at=row.last_seen_at,
    )


def _rows(fleet_id: FleetId, wanted: Filter, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    mine = device_artifacts.c.device_id == devices.c.id
    if wanted.artifact:
        mine = sa.and_(mine, device_artifacts.c.artifact_name == wanted.artifact)
    return (
        sa.select(*columns)
        .select_from(devices)
        .join(device_artifacts, mine, isouter=True)
        .join(_GOAL, _GOAL.c.id == device_artifacts.c.goal_artifact_id, isouter=True)
        .join(_RUNNING, _is_running(fleet_id), isouter=True)
    )


def _is_running(fleet_id: FleetId) -> sa.ColumnElement[bool]:
    """The catalog's version that a device says it runs: by name and version, as people know it."""
    return sa.and_(
        _RUNNING.c.fleet_id == fleet_id,
        _RUNNING.c.name == device_artifacts.c.artifact_name,
        _RUNNING.c.version == device_artifacts.c.running_version,
    )


def _by_version(fleet_id: FleetId, wanted: Filter, *, drifted: bool = False) -> sa.Select[Any]:
    """Name, version and how many living devices run it, answered by the index on what runs.

    Its devices' ids are an expression: by a bare column SQLite would enter through each living device and read all that
    is known of what it runs. Of the few that drifted it is to enter so.
    """
    running = device_artifacts.c
    living = _living(sa.select(devices.c.id), fleet_id, wanted)
    some = running.device_id if drifted else running.device_id + 0
    query = (
        sa.select(running.artifact_name, running.running_version, sa.func.count().label("devices"))
        .where(running.running_version.is_not(None), some.in_(living))
        .group_by(running.artifact_name, running.running_version)
    )
    if wanted.artifact:
        query = query.where(running.artifact_name == wanted.artifact)
    if wanted.version:
        query = query.where(running.running_version == wanted.version)
    if wanted.show == "unreported":
        query = query.where(sa.false())
    return query.where(running.drift_since.is_not(None)) if drifted else query


def _living(query: sa.Select[*Ts], fleet_id: FleetId, wanted: Filter) -> sa.Select[*Ts]:
    query = query.where(devices.c.fleet_id == fleet_id, devices.c.state == ACTIVE)
    for some in wanted.among:
        query = query.where(devices.c.id.in_(some))
    return query


def _scoped(query: sa.Select[Any], fleet_id: FleetId, wanted: Filter) -> sa.Select[Any]:
    query = _living(query, fleet_id, wanted)
    if wanted.artifact and wanted.show != "unreported":
        query = query.where(device_artifacts.c.artifact_name == wanted.artifact)
    if wanted.version:
        query = query.where(device_artifacts.c.running_version == wanted.version)
    for asked, condition in _CONDITIONS.items():
        if wanted.show == asked:
            query = query.where(condition)
    return query


_CONDITIONS: dict[Show, sa.ColumnElement[bool]] = {
    "drifted": device_artifacts.c.drift_since.is_not(None),
    "withdrawn": _RUNNING.c.withdrawn_at.is_not(None),
    "unreported": device_artifacts.c.running_version.is_(None),
}
