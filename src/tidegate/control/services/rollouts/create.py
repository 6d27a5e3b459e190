"""Preview and creation: the same resolution, one of them writes."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.access import Scope
from tidegate.control.domain.rollouts import cohorts as cohort
from tidegate.control.domain.rollouts.model import ENDED, RolloutState
from tidegate.control.domain.rollouts.record import ArtifactVersion
from tidegate.control.domain.rollouts.strategy import describe
from tidegate.control.services import audit
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import planning
from tidegate.control.services.rollouts.read import detail, target_in_words
from tidegate.control.services.rollouts.resolve import LISTED, NAMED_IN_COHORT, Resolved, ids_of, reasons, resolve
from tidegate.control.services.rollouts.views import (
    NewRollout,
    Preview,
    RolloutDetail,
    Superseded,
    Target,
    WavePreview,
)
from tidegate.control.store import assignments, engine, rollouts
from tidegate.control.store import devices as device_store
from tidegate.control.store.schema import devices
from tidegate.control.store.schema import rollouts as rollout_table
from tidegate.errors import Invalid
from tidegate.ids import DeviceId, FleetId


def preview_rollout(scope: Scope, node: Node, request: NewRollout) -> Preview:
    """What creating this rollout would do: cohorts, who does not fit, who is held, what it supersedes.

    Raises:
        Invalid, NotFound, Conflict: as `create_rollout`, except for what `refusals` tells.
    """
    scope.require("rollouts.read")
    with node.db.read() as tx:
        now = engine.now(tx)
        resolved = resolve(tx, scope, request, now)
        return _preview(tx, scope, resolved, now)


def create_rollout(scope: Scope, node: Node, request: NewRollout) -> RolloutDetail:
    """Record the rollout with its cohorts, and start it unless its start lies ahead.

    Raises:
        NotFound: no such artifact version or group.
        Conflict: the version is withdrawn.
        Invalid: naming each wrong field, unknown device and device that does not fit.
    """
    scope.require("rollouts.write")
    with node.db.write() as tx:
        now = engine.now(tx)
        resolved = resolve(tx, scope, request, now)
        if resolved.errors:
            raise Invalid(
                f"cannot create a rollout of {resolved.version.name} {resolved.version.version}", resolved.errors
            )
        new = rollouts.NewRow(
            fleet_id=scope.fleet_id,
            artifact=resolved.version,
            state=RolloutState.RUNNING if request.start_at is None else RolloutState.SCHEDULED,
            strategy=describe(resolved.strategy),
            probes=msgspec.json.encode(request.probes).decode(),
            target=_target_as_asked(request.target),
            sizes=tuple(len(wave) for wave in resolved.waves),
            labels=tuple(spec.label for spec in resolved.strategy.waves),
            baseline=request.baseline,
            created_by=str(scope.actor),
            four_eyes_person=scope.person if resolved.four_eyes or node.settings.four_eyes else None,
            start_at=request.start_at,
            channel=request.channel,
        )
        rollout_id = rollouts.insert(tx, new, now)
        assignments.insert(tx, rollout_id, resolved.waves, now)
        record = rollouts.lock(tx, [rollout_id])[rollout_id]
        steps = planning.advance(tx, record, now)
        result = detail(tx, scope, steps.record, now)
        data: dict[str, object] = {
            "artifact": resolved.version.name,
            "version": resolved.version.version,
            "channel": request.channel,
            "target": target_in_words(json.dumps(new.target)),
            "devices": len(resolved.devices),
            "waves": list(new.sizes),
            "skipped_incompatible": len(resolved.incompatible),
            "baseline": request.baseline,
            "start_at": request.start_at.isoformat() if request.start_at else None,
        }
        audit.record(tx, scope, action="rollout.create", subject=f"rollout:{rollout_id}", data=data)
        planning.write_audit(tx, planning.system(tx, scope.fleet_id), steps)
    node.hub.nudge("rollouts", scope.fleet_id)
    return result


def _target_as_asked(target: Target) -> dict[str, object]:
    if target.group is not None:
        return {"group": target.group}
    if target.selector is not None:
        return {"selector": target.selector}
    if target.devices is not None:
        return {"devices": list(target.devices)}
    return {"all": True}


# -- the preview ------------------------------------------------------------------------------------------------------


def _preview(tx: Connection, scope: Scope, resolved: Resolved, now: datetime) -> Preview:
    sizes = [len(wave) for wave in resolved.waves]
    shown = [one for wave in resolved.waves for one in wave[:NAMED_IN_COHORT]]
    held, held_count = _held(tx, scope.fleet_id, resolved.devices, now)
    names = _names(tx, [*shown, *held])
    strategy = resolved.strategy
    waves = tuple(
        WavePreview(
            wave=number,
            label=spec.label,
            size=len(wave),
            cumulative=reached,
            manual=spec.manual,
            soak_seconds=spec.soak_seconds,
            tolerated=strategy.tolerated(len(wave)),
            first=tuple(names[one] for one in wave[:NAMED_IN_COHORT]),
        )
        for number, (spec, wave, reached) in enumerate(
            zip(strategy.waves, resolved.waves, cohort.cumulative(sizes), strict=True), start=1
        )
    )
    return Preview(
        artifact=resolved.version.name,
        version=resolved.version.version,
        target_size=sum(sizes),
        waves=waves,
        strategy=describe(strategy),
        max_in_flight=strategy.in_flight_limit(sum(sizes)),
        unknown=resolved.unknown[:LISTED],
        incompatible=reasons(tx, resolved.needs, resolved.incompatible),
        incompatible_count=len(resolved.incompatible),
        held=tuple(names[one] for one in held),
        held_count=held_count,
        supersedes=_superseded(tx, scope, resolved.version),
        refusals=tuple(f"{error.pointer}: {error.detail}" for error in resolved.errors),
    )


def _names(tx: Connection, ids: Collection[DeviceId]) -> dict[DeviceId, str]:
    found: dict[DeviceId, str] = {}
    for some in device_store.chunks(set(ids)):
        query = sa.select(devices.c.id, devices.c.name).where(devices.c.id.in_(some))
        found.update({DeviceId(row.id): row.name for row in tx.execute(query)})
    return found


def _held(
    tx: Connection, fleet_id: FleetId, targeted: Collection[DeviceId], now: datetime
) -> tuple[list[DeviceId], int]:
    query = sa.select(devices.c.id).where(devices.c.fleet_id == fleet_id, assignments.on_hold(tx, fleet_id, now))
    mine = set(targeted)
    found = [one for one in ids_of(tx, query.order_by(devices.c.id)) if one in mine]
    return found[:LISTED], len(found)


def _superseded(tx: Connection, scope: Scope, version: ArtifactVersion) -> tuple[Superseded, ...]:
    query = sa.select(rollout_table.c.id).where(
        rollout_table.c.fleet_id == scope.fleet_id,
        rollout_table.c.artifact_name == version.name,
        rollout_table.c.state.not_in(sorted(ENDED)),
    )
    found = rollouts.by_ids(tx, [row.id for row in tx.execute(query.order_by(rollout_table.c.id.desc()).limit(LISTED))])
    return tuple(
        Superseded(one.id, one.artifact.version, one.rollout.state)
        for one in sorted(found.values(), key=lambda one: -one.id)
    )
