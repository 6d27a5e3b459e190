"""Rollouts and their waves. The rollout's row is the lock for everything that happens to its assignments.

Whoever changes an assignment holds that row (`lock`), several in the order of their ids: so counters are exact, a halt
is exact, and two transactions cannot wait for each other.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from tidegate.control.domain.rollouts.model import (
    ENDED,
    IN_FLIGHT,
    AssignmentState,
    Plan,
    Rollout,
    RolloutState,
    Strategy,
    Tally,
    WaveTally,
)
from tidegate.control.domain.rollouts.record import ArtifactVersion, RolloutRecord
from tidegate.control.domain.rollouts.strategy import parse_strategy
from tidegate.control.store import engine
from tidegate.control.store.schema import artifacts, fleets, rollout_waves, rollouts
from tidegate.errors import Conflict
from tidegate.ids import ArtifactId, FleetId, RolloutId

_STATES = tuple(AssignmentState)
_OPEN_COUNTERS = (*sorted(IN_FLIGHT), AssignmentState.PENDING, AssignmentState.REVERTING)


# -- reading ----------------------------------------------------------------------------------------------------------

_COLUMNS = (
    rollouts,
    artifacts.c.name.label("a_name"),
    artifacts.c.version.label("a_version"),
    artifacts.c.kind.label("a_kind"),
    artifacts.c.descriptor_sha256.label("a_sha256"),
    artifacts.c.withdrawn_at.label("a_withdrawn_at"),
)


def _select() -> sa.Select[Any]:
    return sa.select(*_COLUMNS).join(artifacts, artifacts.c.id == rollouts.c.artifact_id)


def find(tx: Connection, fleet_id: FleetId, rollout_id: int) -> RolloutRecord | None:
    """The rollout, if it is this fleet's."""
    row = tx.execute(_select().where(rollouts.c.id == rollout_id, rollouts.c.fleet_id == fleet_id)).one_or_none()
    return None if row is None else record(row)


def by_ids(tx: Connection, ids: Collection[RolloutId]) -> dict[RolloutId, RolloutRecord]:
    if not ids:
        return {}
    found = tx.execute(_select().where(rollouts.c.id.in_(sorted(ids))))
    return {RolloutId(row.id): record(row) for row in found}


def lock(tx: Connection, ids: Collection[RolloutId], *, skip_locked: bool = False) -> dict[RolloutId, RolloutRecord]:
    """Hold these rollouts' rows until the commit, taken in one order, and read them as they then are."""
    if not ids:
        return {}
    query = sa.select(rollouts.c.id).where(rollouts.c.id.in_(sorted(ids))).order_by(rollouts.c.id)
    held = [RolloutId(row.id) for row in tx.execute(engine.for_update(query, skip_locked=skip_locked))]
    return by_ids(tx, held)


def to_plan(tx: Connection) -> list[RolloutId]:
    """Every rollout that the planner looks at: the open ones, and ended ones with devices still open."""
    left = (
        sa.select(sa.literal(1))
        .where(rollout_waves.c.rollout_id == rollouts.c.id)
        .where(sa.or_(*(rollout_waves.c[state] > 0 for state in _OPEN_COUNTERS)))
        .exists()
    )
    query = (
        sa.select(rollouts.c.id)
        .where(sa.or_(rollouts.c.state.not_in(sorted(ENDED)), sa.and_(rollouts.c.state.in_(sorted(ENDED)), left)))
        .order_by(rollouts.c.id)
    )
    return [RolloutId(row.id) for row in tx.execute(query)]


def waves(tx: Connection, rollout_ids: Collection[RolloutId]) -> dict[RolloutId, list[Row[Any]]]:
    """Rows of `rollout_waves`, by rollout, in order."""
    found: dict[RolloutId, list[Row[Any]]] = {one: [] for one in rollout_ids}
    if found:
        query = sa.select(rollout_waves).where(rollout_waves.c.rollout_id.in_(sorted(found)))
        for row in tx.execute(query.order_by(rollout_waves.c.rollout_id, rollout_waves.c.wave)):
            found[RolloutId(row.rollout_id)].append(row)
    return found


def tally(rows: Sequence[Row[Any]], absent: Mapping[int, int] = {}, held: Mapping[int, int] = {}) -> Tally:
    """The counters of one rollout, with what was counted besides them per wave."""
    return Tally(
        tuple(
            WaveTally(
                wave=row.wave,
                size=row.cohort_size,
                counts={state: count for state in _STATES if (count := getattr(row, state.value))},
                size_at_release=row.size_at_release,
                completed=row.completed_at is not None,
                unacknowledged=row.unacknowledged,
                absent=absent.get(row.wave, 0),
                held=held.get(row.wave, 0),
            )
            for row in rows
        )
    )


def newer_served(tx: Connection, record: RolloutRecord) -> bool:
    """Whether a newer rollout of the same artifact name has served a device."""
    query = sa.select(rollouts.c.id).where(
        rollouts.c.fleet_id == record.fleet_id,
        rollouts.c.artifact_name == record.artifact.name,
        rollouts.c.id > record.id,
        rollouts.c.first_served_at.is_not(None),
    )
    return tx.execute(query.limit(1)).first() is not None


def generations(tx: Connection) -> dict[FleetId, int]:
    """A number per fleet that grows with every change of a rollout, a hold or a device's record."""
    total = sa.func.coalesce(sa.func.sum(rollouts.c.generation + 1), 0)
    query = (
        sa.select(fleets.c.id, (fleets.c.device_generation + total).label("generation"))
        .join(rollouts, rollouts.c.fleet_id == fleets.c.id, isouter=True)
        .group_by(fleets.c.id, fleets.c.device_generation)
    )
    return {FleetId(row.id): int(row.generation) for row in tx.execute(query)}


# -- writing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewRow:
    """A rollout about to be recorded; `sizes` are its cohorts'."""

    fleet_id: FleetId
    artifact: ArtifactVersion
    state: RolloutState
    strategy: dict[str, object]
    probes: str
    target: dict[str, object]
    sizes: tuple[int, ...]
    labels: tuple[str, ...]
    baseline: bool
    created_by: str
    four_eyes_person: str | None
    start_at: datetime | None
    channel: str | None = None


def insert(tx: Connection, new: NewRow, now: datetime) -> RolloutId:
    """The rollout and its waves, every device of a cohort counted as pending."""
    values = {
        "fleet_id": new.fleet_id,
        "artifact_id": new.artifact.id,
        "artifact_name": new.artifact.name,
        "state": new.state,
        "state_since": now,
        "strategy": json.dumps(new.strategy),
        "probes": new.probes,
        "target": json.dumps(new.target),
        "target_size": sum(new.sizes),
        "baseline": new.baseline,
        "created_at": now,
        "created_by": new.created_by,
        "four_eyes_person": new.four_eyes_person,
        "start_at": new.start_at,
        "channel": new.channel,
    }
    rollout_id = RolloutId(int(tx.execute(rollouts.insert().values(values).returning(rollouts.c.id)).scalar_one()))
    specs = parse_strategy(new.strategy).waves
    tx.execute(
        rollout_waves.insert(),
        [
            {
                "rollout_id": rollout_id,
                "wave": number,
                "percent": None if spec.percent is None else f"{spec.percent:f}",
                "label": label,
                "cohort_size": size,
                "pending": size,
            }
            for number, (spec, label, size) in enumerate(zip(specs, new.labels, new.sizes, strict=True), start=1)
        ],
    )
    return rollout_id


def update(tx: Connection, record: RolloutRecord, **values: Any) -> None:
    """Change a locked rollout's row and raise its generation.

    Raises:
        Conflict: somebody changed it since it was read (it was not locked).
    """
    changed = tx.execute(
        rollouts.update()
        .where(rollouts.c.id == record.id, rollouts.c.generation == record.generation)
        .values(generation=record.generation + 1, **values)
    )
    if changed.rowcount != 1:
        raise Conflict(f"cannot change rollout {record.id}: it was changed meanwhile")


def apply(tx: Connection, record: RolloutRecord, plan: Plan, now: datetime) -> bool:
    """Write what a plan changes; gives whether anything did. Releasing a wave is one number."""
    before = record.rollout
    if plan.complete_wave is not None:
        _set_wave(tx, record.id, plan.complete_wave, completed_at=now)
    if plan.release_wave is not None:
        _set_wave(tx, record.id, plan.release_wave, released_at=now, size_at_release=rollout_waves.c.cohort_size)
    if plan.state is before.state and plan.release_wave is None:
        return plan.complete_wave is not None
    values: dict[str, Any] = {"state": plan.state, "reason": plan.reason, "soak_until": plan.soak_until}
    if plan.state is not before.state or plan.release_wave is not None:
        values["state_since"] = now
    if plan.release_wave is not None:
        values["released_wave"] = plan.release_wave
    if plan.state is RolloutState.COMPLETED and before.state is not RolloutState.COMPLETED:
        values["completed_at"] = now
    update(tx, record, **values)
    return True


def _set_wave(tx: Connection, rollout_id: RolloutId, wave: int, **values: Any) -> None:
    where = (rollout_waves.c.rollout_id == rollout_id) & (rollout_waves.c.wave == wave)
    tx.execute(rollout_waves.update().where(where).values(**values))


def acknowledge(tx: Connection, rollout_id: RolloutId) -> None:
    """The failures known now count no longer."""
    tx.execute(rollout_waves.update().where(rollout_waves.c.rollout_id == rollout_id).values(unacknowledged=0))


def note_served(tx: Connection, rollout_id: RolloutId, now: datetime) -> None:
    first = (rollouts.c.id == rollout_id) & rollouts.c.first_served_at.is_(None)
    tx.execute(rollouts.update().where(first).values(first_served_at=now))


@dataclass(slots=True)
class Deltas:
    """What the counters of waves change by, gathered so that each wave is written once."""

    _by_wave: dict[tuple[RolloutId, int], dict[str, int]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(int))
    )

    def move(
        self, rollout: RolloutId, wave: int, before: AssignmentState, after: AssignmentState, count: int = 1
    ) -> None:
        if before is not after:
            counters = self._by_wave[rollout, wave]
            counters[before.value] -= count
            counters[after.value] += count

    def unacknowledged(self, rollout: RolloutId, wave: int, change: int) -> None:
        if change:
            self._by_wave[rollout, wave]["unacknowledged"] += change

    def write(self, tx: Connection) -> None:
        """One UPDATE per wave, in the order of rollouts and waves."""
        for (rollout, wave), changes in sorted(self._by_wave.items()):
            values = {name: rollout_waves.c[name] + change for name, change in changes.items() if change}
            if values:
                _set_wave(tx, rollout, wave, **values)


# -- rows to values ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _strategy(text: str) -> Strategy:
    return parse_strategy(json.loads(text))


def record(row: Row[Any]) -> RolloutRecord:
    artifact = ArtifactVersion(
        ArtifactId(row.artifact_id), row.a_name, row.a_version, row.a_kind, row.a_sha256, row.a_withdrawn_at is not None
    )
    return RolloutRecord(
        id=RolloutId(row.id),
        fleet_id=FleetId(row.fleet_id),
        artifact=artifact,
        rollout=Rollout(
            state=RolloutState(row.state),
            strategy=_strategy(row.strategy),
            target_size=row.target_size,
            released_wave=row.released_wave,
            resume_count=row.resume_count,
            start_at=row.start_at,
            soak_until=row.soak_until,
            completed_at=row.completed_at,
            abort_policy=row.abort_policy,
            reason=row.reason,
            withdrawn=artifact.withdrawn,
        ),
        state_since=row.state_since,
        probes=row.probes,
        target=row.target,
        baseline=row.baseline,
        created_at=row.created_at,
        created_by=row.created_by,
        four_eyes_person=row.four_eyes_person,
        channel=row.channel,
        halted_seconds=row.halted_seconds,
        first_served_at=row.first_served_at,
        generation=row.generation,
    )
