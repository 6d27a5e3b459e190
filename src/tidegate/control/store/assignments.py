"""Assignments: sets, not loops. Every caller holds the rollouts' rows (store/rollouts.py `lock`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from tidegate.control.domain.devices import ChannelUp
from tidegate.control.domain.rollouts.model import (
    IN_FLIGHT,
    OPEN,
    OUTCOMES,
    SERVING,
    UNCOUNTED,
    WITH_LEAVE,
    WITHOUT_LEAVE,
    AssignmentState,
    RolloutState,
)
from tidegate.control.domain.rollouts.record import RolloutRecord
from tidegate.control.domain.rollouts.report import Assignment
from tidegate.control.store import engine, selectors
from tidegate.control.store import groups as group_store
from tidegate.control.store.rollouts import Deltas
from tidegate.control.store.schema import assignments, device_events, devices, group_members, groups, rollouts
from tidegate.ids import ArtifactId, DeviceId, FleetId, RolloutId
from tidegate.wire.selector import parse

_S = AssignmentState
#: Below the number of bound parameters that either database takes in one statement.
CHUNK = 500
#: How many never-served devices one pass ends; more passes follow at once.
CANCEL_AT_ONCE = 20_000


# -- rows and values --------------------------------------------------------------------------------------------------


def assignment(row: Row[Any]) -> Assignment:
    return Assignment(
        rollout=RolloutId(row.rollout_id),
        device=DeviceId(row.device_id),
        wave=row.wave,
        state=AssignmentState(row.state),
        state_since=row.state_since,
        served_at=row.served_at,
        deadline_at=row.deadline_at,
        leave_at=row.leave_at,
        previous_artifact=None if row.previous_artifact_id is None else ArtifactId(row.previous_artifact_id),
        previous_known=row.previous_known,
        revert_artifact=None if row.revert_artifact_id is None else ArtifactId(row.revert_artifact_id),
        failed_resume_count=row.failed_resume_count,
        terminal_by_server=row.terminal_by_server,
        drifted=row.drifted,
        reason=row.reason,
        output=row.output,
    )


_WRITTEN = (
    "state", "state_since", "served_at", "deadline_at", "leave_at", "previous_artifact_id", "previous_known",
    "revert_artifact_id", "failed_resume_count", "terminal_by_server", "drifted", "reason", "output",
)  # fmt: skip


def write(tx: Connection, changed: Iterable[Assignment]) -> None:
    """Write these assignments whole: one statement, executed for all of them."""
    rows = [
        {
            "b_rollout": one.rollout,
            "b_device": one.device,
            "b_state": one.state,
            "b_state_since": one.state_since,
            "b_served_at": one.served_at,
            "b_deadline_at": one.deadline_at,
            "b_leave_at": one.leave_at,
            "b_previous_artifact_id": one.previous_artifact,
            "b_previous_known": one.previous_known,
            "b_revert_artifact_id": one.revert_artifact,
            "b_failed_resume_count": one.failed_resume_count,
            "b_terminal_by_server": one.terminal_by_server,
            "b_drifted": one.drifted,
            "b_reason": one.reason,
            "b_output": one.output,
        }
        for one in sorted(changed, key=lambda one: (one.rollout, one.device))
    ]
    if rows:
        tx.execute(_UPDATE, rows)


_UPDATE = (
    assignments.update()
    .where(assignments.c.rollout_id == sa.bindparam("b_rollout"), assignments.c.device_id == sa.bindparam("b_device"))
    .values({name: sa.bindparam(f"b_{name}") for name in _WRITTEN})
)


def insert(tx: Connection, rollout_id: RolloutId, cohorts: Sequence[Sequence[DeviceId]], now: datetime) -> None:
    """Every device of every cohort as pending: one statement a wave, by device, which is the order of the index."""
    columns = ("rollout_id", "device_id", "wave", "state", "state_since")
    for number, cohort in enumerate(cohorts, start=1):
        same = [
            sa.literal(value, assignments.c[name].type)
            for name, value in (
                ("rollout_id", rollout_id),
                ("wave", number),
                ("state", _S.PENDING),
                ("state_since", now),
            )
        ]
        device = engine.numbers(tx, sorted(cohort))
        tx.execute(assignments.insert().from_select(columns, sa.select(same[0], device, *same[1:])))


# -- reading ----------------------------------------------------------------------------------------------------------


def of_device(tx: Connection, device_id: DeviceId) -> list[Assignment]:
    """All of a device's assignments, by rollout."""
    query = sa.select(assignments).where(assignments.c.device_id == device_id).order_by(assignments.c.rollout_id)
    return [assignment(row) for row in tx.execute(query)]


def of_devices(tx: Connection, pairs: Collection[tuple[RolloutId, DeviceId]]) -> dict[tuple[int, int], Assignment]:
    """The assignments with these keys, as far as there are any."""
    found: dict[tuple[int, int], Assignment] = {}
    listed = sorted(pairs)
    for start in range(0, len(listed), CHUNK):
        key = sa.tuple_(assignments.c.rollout_id, assignments.c.device_id)
        query = sa.select(assignments).where(key.in_(listed[start : start + CHUNK]))
        found.update({(row.rollout_id, row.device_id): assignment(row) for row in tx.execute(query)})
    return found


def states_of(tx: Connection, ids: Collection[DeviceId]) -> dict[AssignmentState, int]:
    """How many assignments of these devices are in each state."""
    query = sa.select(assignments.c.state, sa.func.count().label("assignments"))
    query = query.where(assignments.c.device_id.in_(list(ids))).group_by(assignments.c.state)
    return {AssignmentState(row.state): int(row.assignments) for row in tx.execute(query)}


def with_work(tx: Connection, fleet_id: FleetId) -> set[DeviceId]:
    """Devices that have been, or may now be, told to do something by a rollout of this fleet."""
    serving = rollouts.c.state.in_(sorted(SERVING)) & (assignments.c.wave <= rollouts.c.released_wave)
    reverting = (
        (rollouts.c.state == RolloutState.ABORTED)
        & (rollouts.c.abort_policy == "revert")
        & assignments.c.leave_at.is_not(None)
        & assignments.c.state.in_(sorted(OUTCOMES | UNCOUNTED))
    )
    query = (
        sa.select(assignments.c.device_id)
        .distinct()
        .join(rollouts, rollouts.c.id == assignments.c.rollout_id)
        .where(rollouts.c.fleet_id == fleet_id)
        .where(
            sa.or_(
                (assignments.c.state == _S.PENDING) & serving,
                assignments.c.state.in_(sorted(IN_FLIGHT | {_S.REVERTING})),
                reverting,
            )
        )
    )
    return {DeviceId(row.device_id) for row in tx.execute(query)}


# -- counting beside the counters -------------------------------------------------------------------------------------


def on_hold(tx: Connection, fleet_id: FleetId, now: datetime) -> sa.ColumnElement[bool]:
    """The condition on `devices` of this fleet that the device, or a group it is in, is held."""
    # A set of its own, not asked for each device: few groups are held.
    of_group = (
        sa.select(group_members.c.device_id)
        .select_from(groups.join(group_members, groups.c.id == group_members.c.group_id))
        .where(groups.c.fleet_id == fleet_id, groups.c.hold_reason.is_not(None))
        .where(sa.or_(groups.c.hold_until.is_(None), groups.c.hold_until > now))
    )
    own = devices.c.hold_reason.is_not(None) & sa.or_(devices.c.hold_until.is_(None), devices.c.hold_until > now)
    selected = [
        devices.c.id.in_(selectors.matching(fleet_id, parse(text)))
        for text in group_store.held_selectors(tx, fleet_id, now)
    ]
    return sa.or_(own, devices.c.id.in_(of_group), *selected)


def _pending(record: RolloutRecord) -> sa.ColumnElement[bool]:
    return sa.and_(
        assignments.c.rollout_id == record.id,
        assignments.c.state == _S.PENDING,
        assignments.c.wave <= record.rollout.released_wave,
    )


def _pending_where(tx: Connection, record: RolloutRecord, condition: sa.ColumnElement[bool]) -> dict[int, int]:
    query = (
        sa.select(assignments.c.wave, sa.func.count())
        .join(devices, devices.c.id == assignments.c.device_id)
        .where(_pending(record), condition)
        .group_by(assignments.c.wave)
    )
    return {row[0]: row[1] for row in tx.execute(query)}


def absent(tx: Connection, record: RolloutRecord, channel: ChannelUp | None) -> dict[int, int]:
    """Never-served devices of released waves, away longer than `offline_after` while the channel was up, per wave.

    A device that was decommissioned while the rollout was being created is away for good.
    """
    away = devices.c.state != "active"
    if channel is not None:
        cutoff = channel.until - timedelta(seconds=record.rollout.strategy.offline_after_seconds)
        if cutoff > channel.since:
            away = sa.or_(away, sa.func.coalesce(devices.c.last_seen_at, devices.c.enrolled_at) < cutoff)
    return _pending_where(tx, record, away)


def held(tx: Connection, record: RolloutRecord, now: datetime) -> dict[int, int]:
    """Never-served devices of released waves that are on hold, per wave."""
    return _pending_where(tx, record, on_hold(tx, record.fleet_id, now))


def next_to_serve(
    tx: Connection, record: RolloutRecord, limit: int, now: datetime, seen_after: datetime | None
) -> list[DeviceId]:
    """Pending devices of released waves that are there and not held, at most `limit`."""
    query = (
        sa.select(assignments.c.device_id)
        .join(devices, devices.c.id == assignments.c.device_id)
        .where(_pending(record), sa.not_(on_hold(tx, record.fleet_id, now)), devices.c.last_seen_at.is_not(None))
        .order_by(assignments.c.wave, assignments.c.device_id)
        .limit(limit)
    )
    if seen_after is not None:
        query = query.where(devices.c.last_seen_at >= seen_after)
    return [DeviceId(row.device_id) for row in tx.execute(query)]


# -- sets that change together ----------------------------------------------------------------------------------------


def _overdue(record: RolloutRecord, now: datetime) -> sa.ColumnElement[bool]:
    """What has passed its deadline: before leave on the rollout's clock, after leave on plain time.

    A rollout that is halted serves nobody, so the first kind stands still there.
    """
    after_leave = assignments.c.state.in_(sorted(WITH_LEAVE)) & (assignments.c.deadline_at <= now)
    overdue: sa.ColumnElement[bool] = after_leave
    if record.rollout.state in SERVING:
        running = sorted(WITHOUT_LEAVE - {_S.READY})
        own_clock = now - timedelta(seconds=record.halted_seconds)
        overdue = sa.or_(after_leave, assignments.c.state.in_(running) & (assignments.c.deadline_at <= own_clock))
    return (assignments.c.rollout_id == record.id) & overdue


def overdue(tx: Connection, record: RolloutRecord, now: datetime) -> bool:
    """Whether any device at work has passed its deadline."""
    return tx.execute(sa.select(sa.literal(1)).where(_overdue(record, now)).limit(1)).first() is not None


def expire(tx: Connection, record: RolloutRecord, now: datetime) -> int:
    """End as failed what has passed its deadline; gives how many."""
    where = _overdue(record, now)
    columns = (assignments.c.device_id, assignments.c.wave, assignments.c.state, assignments.c.reason)
    found = tx.execute(sa.select(*columns).where(where)).all()
    if not found:
        return 0
    tx.execute(
        assignments.update()
        .where(where)
        .values(
            state=_S.FAILED,
            state_since=now,
            deadline_at=None,
            terminal_by_server=True,
            failed_resume_count=record.rollout.resume_count,
            reason=sa.case((assignments.c.reason == "", "silent"), else_=assignments.c.reason),
        )
    )
    deltas = Deltas()
    for row in found:
        deltas.move(record.id, row.wave, AssignmentState(row.state), _S.FAILED)
        deltas.unacknowledged(record.id, row.wave, 1)
    deltas.write(tx)
    details = {DeviceId(row.device_id): f"failed: {row.reason or 'silent'}; its deadline passed" for row in found}
    add_events(tx, record.fleet_id, record.id, "failed", details, now)
    return len(found)


def cancel(
    tx: Connection, record: RolloutRecord, states: Collection[AssignmentState], reason: str, now: datetime, limit: int
) -> int:
    """Skip up to `limit` assignments in these states; gives how many."""
    among = (assignments.c.rollout_id == record.id) & assignments.c.state.in_(sorted(states))
    some = sa.select(assignments.c.device_id, assignments.c.wave, assignments.c.state).where(among)
    found = tx.execute(some.order_by(assignments.c.device_id).limit(limit)).all()
    if not found:
        return 0
    tx.execute(
        assignments.update()
        .where(among, assignments.c.device_id <= found[-1].device_id)
        .values(state=_S.SKIPPED, state_since=now, deadline_at=None, terminal_by_server=True, reason=reason)
    )
    deltas = Deltas()
    for row in found:
        deltas.move(record.id, row.wave, AssignmentState(row.state), _S.SKIPPED)
    deltas.write(tx)
    return len(found)


def open_of_device(tx: Connection, device_id: DeviceId) -> list[Assignment]:
    states = sorted(OPEN | {_S.REVERTING})
    query = sa.select(assignments).where(assignments.c.device_id == device_id, assignments.c.state.in_(states))
    return [assignment(row) for row in tx.execute(query.order_by(assignments.c.rollout_id))]


# -- history ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    fleet_id: FleetId
    device_id: DeviceId
    rollout_id: RolloutId | None
    kind: str
    detail: str


def add_events(
    tx: Connection,
    fleet_id: FleetId,
    rollout_id: RolloutId | None,
    kind: str,
    details: Mapping[DeviceId, str],
    now: datetime,
) -> None:
    """One line of history for each of these devices."""
    write_events(tx, [Event(fleet_id, one, rollout_id, kind, detail) for one, detail in details.items()], now)


def write_events(tx: Connection, events: Sequence[Event], now: datetime) -> None:
    if events:
        rows = [
            {
                "fleet_id": one.fleet_id,
                "device_id": one.device_id,
                "rollout_id": one.rollout_id,
                "at": now,
                "kind": one.kind,
                "detail": one.detail[:1024],
            }
            for one in events
        ]
        tx.execute(device_events.insert(), rows)
