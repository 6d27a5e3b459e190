"""A request for a rollout against the fleet as it is: which devices, in which waves, and what speaks against it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.access import Scope
from tidegate.control.domain.fleets import FleetSettings
from tidegate.control.domain.rollouts import cohorts as cohort
from tidegate.control.domain.rollouts.model import Strategy
from tidegate.control.domain.rollouts.record import ArtifactVersion
from tidegate.control.domain.rollouts.strategy import parse_strategy
from tidegate.control.services import channels
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts.views import (
    Incompatible,
    NewRollout,
    Target,
)
from tidegate.control.store import devices as device_store
from tidegate.control.store import facts, fleets, groups, selectors, work
from tidegate.control.store.schema import ACTIVE, artifacts, devices
from tidegate.errors import Conflict, FieldError, Invalid, NotFound
from tidegate.ids import DeviceId, FleetId
from tidegate.wire import descriptor, selector

#: Names that an answer lists; counts beside them are whole.
LISTED = 100
NAMED_IN_COHORT = 20
MAX_NAMES = 10_000
MAX_PROBES = 8


@dataclass(frozen=True, slots=True)
class Resolved:
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


def resolve(tx: Connection, scope: Scope, request: NewRollout, now: datetime) -> Resolved:
    version = _version(tx, scope, request)
    fleet = fleets.settings(tx, scope.fleet_id)
    strategy = parse_strategy(request.strategy) if request.strategy is not None else _default(fleet) or Strategy()
    errors = _shape(request, now)
    targeted, unknown = _devices(tx, scope, request.target)
    errors += [FieldError(f"/target/devices/{index}", f"no active device is called {name}") for index, name in unknown]
    needs = descriptor.decode(work.descriptors(tx, [version.id])[version.id].encode()).target_hardware
    incompatible = _incompatible(tx, scope.fleet_id, needs, targeted)
    if incompatible and not request.skip_incompatible:
        errors += [FieldError("/target", f"{one.device}: {one.reason}") for one in reasons(tx, needs, incompatible)]
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
    return Resolved(version, strategy, waves, names, incompatible, needs, fleet.four_eyes, tuple(errors))


def default_strategy(scope: Scope, node: Node) -> Strategy | None:
    """What a rollout of the scope's fleet that names no strategy gets; None: the fleet sets none, one wave to all."""
    scope.require("rollouts.write")
    with node.db.read() as tx:
        return _default(fleets.settings(tx, scope.fleet_id))


def _default(fleet: FleetSettings) -> Strategy | None:
    return parse_strategy(json.loads(fleet.default_strategy)) if fleet.default_strategy is not None else None


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
        return ids_of(tx, selectors.matching(scope.fleet_id, selector.parse(target.selector, "/target/selector"))), []
    query = sa.select(devices.c.id).where(devices.c.fleet_id == scope.fleet_id, devices.c.state == ACTIVE)
    return ids_of(tx, query), []


def ids_of(tx: Connection, query: sa.Select[Any]) -> list[DeviceId]:
    return list(tx.scalars(query).all())


def _group(tx: Connection, fleet_id: FleetId, name: str, pointer: str) -> list[DeviceId]:
    found = groups.members_by_name(tx, fleet_id, name)
    if found is None:
        raise Invalid(f"cannot find group {name}", (FieldError(pointer, f"no group is called {name}"),))
    return ids_of(tx, found)


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
    fitting = set(ids_of(tx, selectors.matching(fleet_id, asked)))
    return tuple(one for one in targeted if one not in fitting)


def reasons(tx: Connection, needs: str, misfits: Sequence[DeviceId]) -> tuple[Incompatible, ...]:
    """The first of them with the reason, as the device itself would say it."""
    found = facts.subjects(tx, misfits[:LISTED]) if misfits else {}
    told = (found[one] for one in misfits[:LISTED])
    return tuple(Incompatible(one.name, selector.unmet(needs, one.hardware)) for one in told)
