"""Rollouts and assignments as people list them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.devices import ChannelUp, offline_cutoff
from tidegate.control.domain.rollouts.listing import (
    AssignmentFilter,
    AssignmentPage,
    AssignmentView,
    RolloutFilter,
    TimelineEntry,
    WayBackCount,
)
from tidegate.control.domain.rollouts.model import ENDED, IN_FLIGHT, OPEN, OUTCOMES, AssignmentState
from tidegate.control.domain.rollouts.record import RolloutRecord
from tidegate.control.store import paging
from tidegate.control.store.devices import channel_up
from tidegate.control.store.schema import (
    ACTIVE,
    artifacts,
    assignments,
    audit_records,
    device_artifacts,
    device_events,
    devices,
    fleets,
    rollouts,
)
from tidegate.errors import FieldError, Invalid
from tidegate.ids import FleetId, RolloutId

_S = AssignmentState

#: What needs attention first; the same in every list.
_ATTENTION = (
    ({_S.FAILED, _S.REVERT_FAILED}, 0),
    ({_S.ROLLED_BACK}, 1),
    (IN_FLIGHT | {_S.REVERTING}, 3),
    ({_S.HEALTHY, _S.REVERTED}, 4),
    ({_S.PENDING}, 5),
)
_DRIFTED, _LAST = 2, 6


def page(tx: Connection, fleet_id: FleetId, wanted: RolloutFilter) -> tuple[list[RolloutId], int]:
    """Ids of one page and one more, newest first; and how many there are."""
    query = sa.select(rollouts.c.id).where(rollouts.c.fleet_id == fleet_id)
    if wanted.states:
        query = query.where(rollouts.c.state.in_(sorted(wanted.states)))
    if wanted.open_only:
        query = query.where(rollouts.c.state.not_in(sorted(ENDED)))
    if wanted.artifact:
        query = query.where(rollouts.c.artifact_name == wanted.artifact)
    if wanted.group:
        query = query.where(rollouts.c.target == json.dumps({"group": wanted.group}))
    total = paging.total(tx, query)
    if wanted.before is not None:
        query = query.where(rollouts.c.id < wanted.before)
    rows = tx.execute(query.order_by(rollouts.c.id.desc()).limit(wanted.limit + 1).offset(wanted.offset))
    return [RolloutId(row.id) for row in rows], total


def count_states(tx: Connection, fleet_id: FleetId) -> dict[str, int]:
    query = sa.select(rollouts.c.state, sa.func.count().label("rollouts")).where(rollouts.c.fleet_id == fleet_id)
    return {row.state: int(row.rollouts) for row in tx.execute(query.group_by(rollouts.c.state))}


def _rank() -> sa.ColumnElement[int]:
    whens: list[Any] = [(assignments.c.state.in_(sorted(states)), rank) for states, rank in _ATTENTION[:2]]
    whens.append((assignments.c.drifted, _DRIFTED))
    whens += [(assignments.c.state.in_(sorted(states)), rank) for states, rank in _ATTENTION[2:]]
    return sa.case(*whens, else_=_LAST)


def _shown(wanted: AssignmentFilter) -> sa.ColumnElement[bool] | None:
    match wanted.show:
        case "all":
            return None
        case "attention":
            return _rank() <= _DRIFTED
        case "open":
            return assignments.c.state.in_(sorted(OPEN | {_S.REVERTING}))
        case state if state in set(AssignmentState):
            return assignments.c.state == state
    rule = "must be all, attention, open or a state"
    raise Invalid(f"cannot show {wanted.show}: it {rule}", (FieldError("/show", rule),))


def assignments_page(tx: Connection, record: RolloutRecord, wanted: AssignmentFilter) -> AssignmentPage:
    """One page of a rollout's devices, by wave or what needs attention first.

    Raises:
        Invalid: `show` is none of the choices.
    """
    place = (assignments.c.wave, assignments.c.device_id)
    key = place if wanted.by_wave else (_rank(), *place)
    query = _assignments().where(assignments.c.rollout_id == record.id).add_columns(_rank().label("rank"))
    shown = _shown(wanted)
    if shown is not None:
        query = query.where(shown)
    if wanted.search:
        query = query.where(devices.c.name.contains(wanted.search, autoescape=True))
    total = paging.total(tx, query)
    if wanted.after is not None:
        query = query.where(sa.tuple_(*key) > sa.tuple_(*map(sa.literal, wanted.after)))
    rows = tx.execute(query.order_by(*key).limit(wanted.limit + 1).offset(wanted.offset)).all()
    more = len(rows) > wanted.limit
    rows = rows[: wanted.limit]
    last = (rows[-1].rank, rows[-1].wave, rows[-1].device_id)[-len(key) :] if more else None
    return AssignmentPage(tuple(_views(rows)), total, last)


def of_device(
    tx: Connection, fleet_id: FleetId, name: str, *, before: int | None, limit: int, offset: int
) -> AssignmentPage | None:
    """A device's assignments, newest rollout first; None when the fleet has no such device.

    `before` is where a walk goes on: at rollouts with smaller ids.
    """
    known = sa.select(devices.c.id).where(devices.c.fleet_id == fleet_id, devices.c.name == name)
    device_id = tx.scalar(known.order_by(devices.c.state, devices.c.id.desc()).limit(1))
    if device_id is None:
        return None
    query = _assignments().where(assignments.c.device_id == device_id)
    total = paging.total(tx, query)
    if before is not None:
        query = query.where(assignments.c.rollout_id < before)
    rows = tx.execute(query.order_by(assignments.c.rollout_id.desc()).limit(limit + 1).offset(offset)).all()
    more = len(rows) > limit
    rows = rows[:limit]
    return AssignmentPage(tuple(_views(rows)), total, (rows[-1].rollout_id,) if more else None)


def _assignments() -> sa.Select[Any]:
    previous = artifacts.alias("previous")
    return (
        sa.select(
            assignments,
            devices.c.name.label("device"),
            devices.c.last_seen_at,
            devices.c.waiting_on,
            rollouts.c.released_wave,
            artifacts.c.name.label("artifact"),
            artifacts.c.version,
            previous.c.version.label("previous"),
        )
        .join(devices, devices.c.id == assignments.c.device_id)
        .join(rollouts, rollouts.c.id == assignments.c.rollout_id)
        .join(artifacts, artifacts.c.id == rollouts.c.artifact_id)
        .join(previous, previous.c.id == assignments.c.previous_artifact_id, isouter=True)
    )


def _views(rows: Iterable[Any]) -> Iterable[AssignmentView]:
    for row in rows:
        state = AssignmentState(row.state)
        yield AssignmentView(
            device=row.device,
            rollout=RolloutId(row.rollout_id),
            artifact=row.artifact,
            version=row.version,
            wave=row.wave,
            state=state,
            state_since=row.state_since,
            reason=row.reason,
            output=row.output,
            drifted=row.drifted,
            served_at=row.served_at,
            last_seen_at=row.last_seen_at,
            previous_version=row.previous,
            why_waiting=row.waiting_on if state in IN_FLIGHT else "",
            released=row.wave <= row.released_wave,
        )


# -- consequences of an abort with revert -----------------------------------------------------------------------------


def ways_back(tx: Connection, record: RolloutRecord) -> tuple[WayBackCount, ...]:
    """Devices that run the rollout's version because it put it there, by what they ran at leave."""
    cutoff = _cutoff(tx, record.fleet_id)
    offline: sa.ColumnElement[Any] = sa.literal(0)
    if cutoff is not None:
        offline = sa.case((sa.func.coalesce(devices.c.last_seen_at, devices.c.enrolled_at) < cutoff, 1), else_=0)
    runs_it = device_artifacts.c.running_descriptor_sha256 == record.artifact.descriptor_sha256
    query = (
        sa.select(
            artifacts.c.version,
            artifacts.c.withdrawn_at.is_not(None).label("withdrawn"),
            sa.func.count().label("devices"),
            sa.func.sum(offline).label("offline"),
        )
        .select_from(assignments)
        .join(devices, devices.c.id == assignments.c.device_id)
        .join(
            device_artifacts,
            (device_artifacts.c.device_id == assignments.c.device_id)
            & (device_artifacts.c.artifact_name == record.artifact.name),
        )
        .join(artifacts, artifacts.c.id == assignments.c.previous_artifact_id, isouter=True)
        .where(assignments.c.rollout_id == record.id, assignments.c.leave_at.is_not(None), runs_it)
        .where(assignments.c.state.in_(sorted(OUTCOMES)), devices.c.state == ACTIVE)
        .group_by(artifacts.c.version, artifacts.c.withdrawn_at.is_not(None))
        .order_by(sa.func.count().desc())
    )
    return tuple(
        WayBackCount(row.version, int(row.devices), int(row.offline or 0), bool(row.withdrawn))
        for row in tx.execute(query)
    )


def _cutoff(tx: Connection, fleet_id: FleetId) -> Any:
    interval = tx.scalar(sa.select(fleets.c.interval_seconds).where(fleets.c.id == fleet_id))
    channel: ChannelUp | None = channel_up(tx)
    return offline_cutoff(channel, int(interval or 30))


# -- history ----------------------------------------------------------------------------------------------------------


def timeline(tx: Connection, record: RolloutRecord, limit: int) -> tuple[TimelineEntry, ...]:
    """Acts from the audit log and events of devices, newest first."""
    acts = sa.select(audit_records).where(
        audit_records.c.chain == record.fleet_id, audit_records.c.subject == f"rollout:{record.id}"
    )
    found = [
        TimelineEntry(row.at, row.action, _said(row.data), None, row.actor, json.loads(row.data))
        for row in tx.execute(acts.order_by(audit_records.c.sequence.desc()).limit(limit))
    ]
    happened = (
        sa.select(device_events, devices.c.name)
        .join(devices, devices.c.id == device_events.c.device_id)
        .where(device_events.c.rollout_id == record.id)
        .order_by(device_events.c.id.desc())
        .limit(limit)
    )
    found += [TimelineEntry(row.at, row.kind, row.detail, row.name) for row in tx.execute(happened)]
    return tuple(sorted(found, key=lambda one: one.at, reverse=True)[:limit])


def _said(data: str) -> str:
    """The words in an act's data."""
    values = json.loads(data)
    return next((str(values[key]) for key in ("why", "reason", "waiting_on") if values.get(key)), "")
