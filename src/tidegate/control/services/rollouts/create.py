"""Preview and creation: the same resolution, one of them writes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.access import Scope
from tidegate.control.domain.rollouts import cohorts as cohort
from tidegate.control.domain.rollouts.model import ENDED, RolloutState, Strategy
from tidegate.control.domain.rollouts.record import ArtifactVersion
from tidegate.control.domain.rollouts.strategy import describe, parse_strategy
from tidegate.control.services import audit, channels
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import planning
from tidegate.control.services.rollouts.read import detail, target_in_words
from tidegate.control.services.rollouts.views import (
    Incompatible,
    NewRollout,
    Preview,
    RolloutDetail,
    Superseded,
    Target,
    WavePreview,
)
from tidegate.control.store import assignments, engine, facts, fleets, groups, rollouts, selectors, work
from tidegate.control.store import devices as device_store
from tidegate.control.store.schema import artifacts, devices
from tidegate.control.store.schema import rollouts as rollout_table
from tidegate.errors import Conflict, FieldError, Invalid, NotFound
from tidegate.ids import DeviceId, FleetId
from tidegate.wire import descriptor, selector

#: Names that an answer lists; counts beside them are whole.
LISTED = 100
NAMED_IN_COHORT = 20
MAX_NAMES = 10_000
MAX_PROBES = 8


@dataclass(frozen=True, slots=True)
class _Resolved:
    """A request against the fleet as it is now. `errors` are what creation refuses."""

    version: ArtifactVersion
    strategy: Strategy
    waves: tuple[tuple[DeviceId, ...], ...]
    unknown: tuple[str, ...]
    incompatible: tuple[DeviceId, ...]
    needs: str
    four_eyes: bool
    errors: tuple[FieldError, ...]

    @property
    def devices(self) -> tuple[DeviceId, ...]:
        return tuple(one for wave in self.waves for one in wave)


def preview_rollout(scope: Scope, node: Node, request: NewRollout) -> Preview:
    """What creating this rollout would do: cohorts, who does not fit, who is held, what it supersedes.

    Raises:
        Invalid, NotFound, Conflict: as `create_rollout`, except for what `refusals` tells.
    """
    scope.require("rollouts.read")
    with node.db.read() as tx:
        now = engine.now(tx)
        resolved = _resolve(tx, scope, request, now)
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
        resolved = _resolve(tx, scope, request, now)
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


# -- resolving --------------------------------------------------------------------------------------------------------


def _resolve(tx: Connection, scope: Scope, request: NewRollout, now: datetime) -> _Resolved:
    version = _version(tx, scope, request)
    fleet = fleets.settings(tx, scope.fleet_id)
    default = json.loads(fleet.default_strategy) if fleet.default_strategy is not None else None
    strategy = parse_strategy(request.strategy if request.strategy is not None else default)
    errors = _shape(request, now)
    targeted, unknown = _devices(tx, scope, request.target)
    errors += [FieldError(f"/target/devices/{index}", f"no active device is called {name}") for index, name in unknown]
    needs = descriptor.decode(work.descriptors(tx, [version.id])[version.id].encode()).target_hardware
    incompatible = _incompatible(tx, scope.fleet_id, needs, targeted)
    if incompatible and not request.skip_incompatible:
        errors += [FieldError("/target", f"{one.device}: {one.reason}") for one in _reasons(tx, needs, incompatible)]
        if len(incompatible) > LISTED:
            more = f"{len(incompatible) - LISTED:,} more devices do not fit; {len(incompatible):,} in all"
            errors.append(FieldError("/target", more))
    misfits = set(incompatible)
    fitting = [one for one in targeted if one not in misfits]
    members = _members(tx, scope.fleet_id, strategy)
    waves = cohort.cohorts(scope.fleet, fitting, strategy, members)
    if not fitting and not errors:
        errors.append(FieldError("/target", "has no device to roll out to"))
    names = tuple(name for _, name in unknown)
    return _Resolved(version, strategy, waves, names, incompatible, needs, fleet.four_eyes, tuple(errors))


def _version(tx: Connection, scope: Scope, request: NewRollout) -> ArtifactVersion:
    asked = request.version
    if request.channel is not None:
        asked = channels.resolve(tx, scope.fleet_id, request.artifact, request.channel)
    version = work.version(tx, scope.fleet_id, request.artifact, asked)
    if version is None:
        raise NotFound(f"cannot find {request.artifact} {asked} in fleet {scope.fleet}")
    if version.withdrawn:
        reason = tx.scalar(sa.select(artifacts.c.withdrawn_reason).where(artifacts.c.id == version.id))
        said = f": {reason}" if reason else ""
        raise Conflict(f"cannot roll out {version.name} {version.version}: it is withdrawn{said}", type="withdrawn")
    return version


def _shape(request: NewRollout, now: datetime) -> list[FieldError]:
    target = request.target
    errors = []
    given = [target.group is not None, target.selector is not None, target.devices is not None, target.everyone]
    if given.count(True) != 1:
        errors.append(FieldError("/target", "must be exactly one of group, selector, devices and all"))
    if target.devices is not None and not 1 <= len(target.devices) <= MAX_NAMES:
        errors.append(FieldError("/target/devices", f"must name 1 to {MAX_NAMES:,} devices"))
    if request.baseline and target.devices is not None:
        errors.append(
            FieldError("/baseline", "is for a group, a selector or all: named devices say nothing about those to come")
        )
    if request.start_at is not None and request.start_at <= now:
        errors.append(FieldError("/start_at", "must lie in the future"))
    if len(request.probes) > MAX_PROBES:
        errors.append(FieldError("/probes", f"must be at most {MAX_PROBES}"))
    return errors


def _devices(tx: Connection, scope: Scope, target: Target) -> tuple[list[DeviceId], list[tuple[int, str]]]:
    """The target's devices; and the names that nobody bears, with their places."""
    if target.devices is not None:
        if len(target.devices) > MAX_NAMES:
            return [], []
        found = device_store.ids_by_names(tx, scope.fleet_id, set(target.devices))
        unknown = [(index, name) for index, name in enumerate(target.devices) if name not in found]
        return sorted(set(found.values())), unknown
    if target.group is not None:
        return _group(tx, scope.fleet_id, target.group, "/target/group"), []
    if target.selector is not None:
        return _ids(tx, selectors.matching(scope.fleet_id, selector.parse(target.selector, "/target/selector"))), []
    query = sa.select(devices.c.id).where(devices.c.fleet_id == scope.fleet_id, devices.c.state == "active")
    return _ids(tx, query), []


def _ids(tx: Connection, query: sa.Select[Any]) -> list[DeviceId]:
    return [DeviceId(one) for one in tx.scalars(query)]


def _group(tx: Connection, fleet_id: FleetId, name: str, pointer: str) -> list[DeviceId]:
    found = groups.members_by_name(tx, fleet_id, name)
    if found is None:
        raise Invalid(f"cannot find group {name}", (FieldError(pointer, f"no group is called {name}"),))
    return _ids(tx, found)


def _members(tx: Connection, fleet_id: FleetId, strategy: Strategy) -> dict[str, Collection[DeviceId]]:
    return {
        spec.group: _group(tx, fleet_id, spec.group, f"/strategy/waves/{index}/group")
        for index, spec in enumerate(strategy.waves)
        if spec.group is not None
    }


def _incompatible(tx: Connection, fleet_id: FleetId, needs: str, targeted: Iterable[DeviceId]) -> tuple[DeviceId, ...]:
    """Devices whose hardware does not meet what the version's descriptor asks for: one statement, however many."""
    if not needs:
        return ()
    asked = selector.parse(needs, "/target_hardware", selector.HARDWARE)
    fitting = set(_ids(tx, selectors.matching(fleet_id, asked)))
    return tuple(one for one in targeted if one not in fitting)


def _reasons(tx: Connection, needs: str, misfits: Sequence[DeviceId]) -> tuple[Incompatible, ...]:
    """The first of them with the reason, as the device itself would say it."""
    found = facts.subjects(tx, misfits[:LISTED]) if misfits else {}
    told = (found[one] for one in misfits[:LISTED])
    return tuple(Incompatible(one.name, selector.unmet(needs, one.hardware)) for one in told)


# -- the preview ------------------------------------------------------------------------------------------------------


def _preview(tx: Connection, scope: Scope, resolved: _Resolved, now: datetime) -> Preview:
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
        incompatible=_reasons(tx, resolved.needs, resolved.incompatible),
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
    found = [one for one in _ids(tx, query.order_by(devices.c.id)) if one in mine]
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
