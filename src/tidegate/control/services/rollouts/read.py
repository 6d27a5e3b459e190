"""Reading rollouts: their state, what they wait on, their devices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row

from tidegate.control.domain.access import Scope
from tidegate.control.domain.rollouts.command import PERMISSION, four_eyes, refusal
from tidegate.control.domain.rollouts.model import AssignmentState, Nothing, Reverting, RolloutState, Tally, Verb
from tidegate.control.domain.rollouts.plan import plan
from tidegate.control.domain.rollouts.record import RolloutRecord
from tidegate.control.domain.rollouts.serve import aborted_with_revert
from tidegate.control.domain.rollouts.strategy import describe
from tidegate.control.domain.rollouts.words import words
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import planning
from tidegate.control.services.rollouts.views import (
    AssignmentFilter,
    AssignmentPage,
    RolloutDetail,
    RolloutFilter,
    RolloutPage,
    TimelineEntry,
    VerbView,
    WaveView,
)
from tidegate.control.store import engine, rollout_lists, rollouts
from tidegate.errors import NotFound
from tidegate.ids import RolloutId
from tidegate.wire.device import Probe

_PROBES = msgspec.json.Decoder(tuple[Probe, ...])
#: In the order in which they stand on every page.
VERBS = (Verb.APPROVE, Verb.HALT, Verb.RESUME, Verb.ABORT_KEEP, Verb.ABORT_REVERT)


def get_rollout(scope: Scope, node: Node, rollout_id: int) -> RolloutDetail:
    """One rollout, with its waves, what it waits on, and which verbs are possible.

    Raises:
        NotFound: the fleet has no such rollout.
    """
    scope.require("rollouts.read")
    with node.db.read() as tx:
        return detail(tx, scope, require(tx, scope, rollout_id), engine.now(tx))


def list_rollouts(scope: Scope, node: Node, wanted: RolloutFilter) -> RolloutPage:
    """Rollouts, the newest first."""
    scope.require("rollouts.read")
    with node.db.read() as tx:
        now = engine.now(tx)
        ids, total = rollout_lists.page(tx, scope.fleet_id, wanted)
        more = len(ids) > wanted.limit
        ids = ids[: wanted.limit]
        records = rollouts.by_ids(tx, ids)
        waves = rollouts.waves(tx, ids)
        items = tuple(
            _detail(
                scope, records[one], rollouts.tally(waves[one]), waves[one], now, to_decide=_to_decide(tx, records[one])
            )
            for one in ids
        )
    return RolloutPage(items, total, int(ids[-1]) if more else None)


def count_states(scope: Scope, node: Node) -> dict[str, int]:
    """How many rollouts of the fleet are in each state."""
    scope.require("rollouts.read")
    with node.db.read() as tx:
        return rollout_lists.count_states(tx, scope.fleet_id)


def list_assignments(scope: Scope, node: Node, rollout_id: int, wanted: AssignmentFilter) -> AssignmentPage:
    """The devices of a rollout, what needs attention first: failed, rolled back, drifted, open, the rest."""
    scope.require("rollouts.read")
    with node.db.read() as tx:
        record = require(tx, scope, rollout_id)
        return rollout_lists.assignments_page(tx, record, wanted)


def device_rollouts(
    scope: Scope, node: Node, device_name: str, *, before: int | None = None, limit: int = 50, offset: int = 0
) -> AssignmentPage:
    """The assignments of one device, the newest rollout first; `before`: only of rollouts with smaller ids.

    Raises:
        NotFound: the fleet has no such device.
    """
    scope.require("rollouts.read")
    with node.db.read() as tx:
        found = rollout_lists.of_device(tx, scope.fleet_id, device_name, before=before, limit=limit, offset=offset)
    if found is None:
        raise NotFound(f"cannot find device {device_name} in fleet {scope.fleet}")
    return found


def rollout_timeline(scope: Scope, node: Node, rollout_id: int, limit: int = 50) -> tuple[TimelineEntry, ...]:
    """What happened, newest first: what people and the planner did, and how devices ended."""
    scope.require("rollouts.read")
    with node.db.read() as tx:
        record = require(tx, scope, rollout_id)
        return rollout_lists.timeline(tx, record, limit)


def require(tx: Connection, scope: Scope, rollout_id: int) -> RolloutRecord:
    record = rollouts.find(tx, scope.fleet_id, rollout_id)
    if record is None:
        raise NotFound(f"cannot find rollout {rollout_id} in fleet {scope.fleet}")
    return record


def detail(tx: Connection, scope: Scope, record: RolloutRecord, now: datetime) -> RolloutDetail:
    """One rollout whole, absent and held devices counted."""
    rows = rollouts.waves(tx, [record.id])[record.id]
    tally = planning.tallied(tx, record, now, whole=True)
    newer = record.rollout.state is RolloutState.COMPLETED and rollouts.newer_served(tx, record)
    return _detail(scope, record, tally, rows, now, newer_served=newer, to_decide=_to_decide(tx, record))


def _to_decide(tx: Connection, record: RolloutRecord) -> int:
    """Devices that an abort with revert takes back when they next check in: who runs something newer stays there."""
    if not aborted_with_revert(record.rollout):
        return 0
    return sum(one.devices for one in rollout_lists.ways_back(tx, record))


def _detail(
    scope: Scope,
    record: RolloutRecord,
    tally: Tally,
    rows: Sequence[Row[Any]],
    now: datetime,
    *,
    newer_served: bool = False,
    to_decide: int = 0,
) -> RolloutDetail:
    rollout = record.rollout
    waiting = plan(rollout, tally, now).waiting_on
    if isinstance(waiting, Reverting):
        waiting = replace(waiting, to_decide=to_decide)
        waiting = waiting if any((waiting.finishing, waiting.reverting, to_decide)) else Nothing()
    counts = {state: count for state in AssignmentState if (count := tally.count(state))}
    return RolloutDetail(
        id=RolloutId(record.id),
        artifact=record.artifact.name,
        version=record.artifact.version,
        kind=record.artifact.kind,
        state=rollout.state,
        state_since=record.state_since,
        reason=rollout.reason,
        waiting=waiting,
        waiting_on=words(waiting),
        target=target_in_words(record.target),
        target_size=rollout.target_size,
        released_wave=rollout.released_wave,
        waves=tuple(_wave(record, tally, row) for row in rows),
        counts=counts,
        strategy=describe(rollout.strategy),
        max_in_flight=rollout.strategy.in_flight_limit(rollout.target_size),
        probes=_PROBES.decode(record.probes),
        baseline=record.baseline,
        created_at=record.created_at,
        created_by=record.created_by,
        start_at=rollout.start_at,
        soak_until=rollout.soak_until,
        completed_at=rollout.completed_at,
        abort_policy=rollout.abort_policy,
        resume_count=rollout.resume_count,
        generation=record.generation,
        channel=record.channel,
        verbs=tuple(_verb(scope, record, verb, newer_served=newer_served) for verb in VERBS),
    )


def _wave(record: RolloutRecord, tally: Tally, row: Row[Any]) -> WaveView:
    spec = record.rollout.strategy.wave(row.wave)
    wave = tally.wave(row.wave)
    return WaveView(
        wave=row.wave,
        label=row.label,
        percent=row.percent,
        size=row.cohort_size,
        manual=spec.manual,
        soak_seconds=spec.soak_seconds,
        released=row.wave <= record.rollout.released_wave,
        released_at=row.released_at,
        completed_at=row.completed_at,
        counts=wave.counts,
        unacknowledged=wave.unacknowledged,
        tolerated=record.rollout.strategy.tolerated(row.size_at_release or row.cohort_size),
        absent=wave.absent,
        held=wave.held,
    )


def _verb(scope: Scope, record: RolloutRecord, verb: Verb, *, newer_served: bool) -> VerbView:
    permission = PERMISSION[verb]
    why_not = refusal(record.rollout, verb, newer_served=newer_served) or ""
    if not why_not and not scope.allows(permission):
        why_not = f"needs the permission {permission}"
    if not why_not:
        why_not = four_eyes(verb, record.four_eyes_person, scope.person) or ""
    return VerbView(verb, permission, why_not)


def target_in_words(text: str) -> str:
    """The recorded target in words."""
    raw = json.loads(text)
    if raw.get("group") is not None:
        return f"group {raw['group']}"
    if raw.get("selector") is not None:
        return f"selector {raw['selector']}"
    names = raw.get("devices")
    if names is not None:
        return f"device {names[0]}" if len(names) == 1 else f"{len(names):,} named devices"
    return "the whole fleet"
