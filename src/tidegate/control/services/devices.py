"""Devices as operators see and change them (SPEC section 3)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain import devices as domain
from tidegate.control.domain.access import Scope
from tidegate.control.domain.devices import ChannelUp, Device, DeviceEvent, DeviceState, Hold, Presence
from tidegate.control.domain.enrollment import CertificateState
from tidegate.control.services import audit, tokens, work
from tidegate.control.services.groups import require_group
from tidegate.control.services.node import Node
from tidegate.control.services.tokens import Minted, TokenTerms
from tidegate.control.store import device_list, engine, fleets, selectors
from tidegate.control.store import devices as store
from tidegate.control.store import enrollment as certificate_store
from tidegate.control.store import groups as group_store
from tidegate.control.store import holds as hold_store
from tidegate.control.store.assignments import on_hold
from tidegate.control.store.device_list import Counts
from tidegate.errors import Conflict, FieldError, Invalid, NotFound
from tidegate.ids import DeviceId
from tidegate.wire.selector import parse

_MAX_SEARCH = 128
_MAX_EVENTS = 100


@dataclass(frozen=True, slots=True)
class Search:
    """Which devices an operator asks for; None and empty leave a question out. `state` None: living and past ones.

    `selector` says which, as a text.
    """

    state: DeviceState | None = "active"
    text: str = ""
    presence: Presence | None = None
    group: str | None = None
    selector: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    artifact: str | None = None
    version: str | None = None
    held: bool | None = None
    drifted: bool = False
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A device with its presence as of now; `holds`: its own and its groups', by whose they are."""

    device: Device
    presence: Presence
    holds: tuple[tuple[str, Hold], ...] = ()
    drifted: bool = False


@dataclass(frozen=True, slots=True)
class DevicePage:
    items: list[DeviceView]
    total: int
    next_after: tuple[str, DeviceId] | None


@dataclass(frozen=True, slots=True)
class CertificateView:
    state: CertificateState
    serial: str
    fingerprint: str | None
    not_before: datetime
    not_after: datetime
    issued_at: datetime


@dataclass(frozen=True, slots=True)
class DeviceDetail:
    """All that a device's page shows except what runs on it; `holds`: what keeps it from being served, by name."""

    view: DeviceView
    certificates: list[CertificateView]
    holds: list[tuple[str, Hold]]
    events: list[DeviceEvent]


def listed(
    scope: Scope,
    node: Node,
    search: Search,
    *,
    after: tuple[str, DeviceId] | None = None,
    limit: int = 50,
    offset: int = 0,
) -> DevicePage:
    """Devices by name.

    Raises:
        Invalid: the text is too long, or `selector` is none.
        NotFound: the group does not exist.
    """
    scope.require("devices.read")
    if len(search.text) > _MAX_SEARCH:
        raise Invalid("cannot search for so much", (FieldError("/search", f"at most {_MAX_SEARCH} characters"),))
    with node.db.read() as tx:
        channel, interval = presence_facts(tx, scope)
        wanted = device_list.Filter(
            state=search.state,
            search=search.text,
            presence=search.presence,
            offline_cutoff=domain.offline_cutoff(channel, interval),
            among=_among(tx, scope, search),
            tags=dict(search.tags),
            artifact=search.artifact,
            version=search.version,
            held=_held(tx, scope, search),
            drifted=search.drifted,
            conflict=search.conflict,
        )
        found = device_list.page(tx, scope.fleet_id, wanted, limit=limit + 1, offset=offset, after=after)
        total = device_list.count(tx, scope.fleet_id, wanted)
        held_groups = group_store.held(tx, scope.fleet_id, engine.now(tx))
        drifted = device_list.drifted_among(tx, [one.id for one in found])
        now = engine.now(tx)
    items = [
        DeviceView(
            one,
            domain.presence(one.last_seen_at, channel, interval),
            tuple(_own_and_groups(one, held_groups, now)),
            one.id in drifted,
        )
        for one in found[:limit]
    ]
    last = items[-1].device if len(found) > limit else None
    return DevicePage(items, total, (last.name, last.id) if last else None)


def _held(tx: Connection, scope: Scope, search: Search) -> sa.ColumnElement[bool] | None:
    if search.held is None:
        return None
    held = on_hold(tx, scope.fleet_id, engine.now(tx))
    return held if search.held else sa.not_(held)


def _own_and_groups(device: Device, groups: Mapping[str, Hold], now: datetime) -> Iterator[tuple[str, Hold]]:
    if device.hold is not None and device.hold.in_force(now):
        yield f"device {device.name}", device.hold
    for name in device.groups:
        if name in groups:
            yield f"group {name}", groups[name]


def _among(tx: Connection, scope: Scope, search: Search) -> tuple[sa.Select[Any], ...]:
    found = [group_store.members(require_group(tx, scope, search.group))] if search.group else []
    found += [selectors.matching(scope.fleet_id, parse(search.selector, "/selector"))] if search.selector else []
    return tuple(found)


def counts(scope: Scope, node: Node) -> Counts:
    """How many devices are online, offline, held."""
    scope.require("devices.read")
    with node.db.read() as tx:
        channel, interval = presence_facts(tx, scope)
        cutoff = domain.offline_cutoff(channel, interval)
        return device_list.counts(tx, scope.fleet_id, cutoff, engine.now(tx))


def get(scope: Scope, node: Node, name: str) -> DeviceDetail:
    """The living device of that name, else the last one decommissioned. Raises `NotFound`."""
    scope.require("devices.read")
    with node.db.read() as tx:
        device = require(tx, scope, name)
        channel, interval = presence_facts(tx, scope)
        issued = certificate_store.of_device(tx, device.id, lock=False)
        holds = _holds(tx, scope, device)
        return DeviceDetail(
            DeviceView(
                device,
                domain.presence(device.last_seen_at, channel, interval),
                tuple(holds),
                bool(device_list.drifted_among(tx, [device.id])),
            ),
            [_certificate(one) for one in reversed(issued)],
            holds,
            store.events(tx, device.id, _MAX_EVENTS),
        )


def change_tags(
    scope: Scope, node: Node, name: str, *, put: Mapping[str, str], remove: Collection[str] = ()
) -> DeviceDetail:
    """Set the tags in `put`, take away those named in `remove`.

    Raises:
        Invalid: a tag is malformed, in both, or the device would have too many.
    """
    scope.require("devices.write")
    tags = domain.checked_tags(put, "/put")
    both = sorted(set(tags) & set(remove))
    if both:
        raise Invalid("cannot put and remove the same tag", (FieldError(f"/remove/{both[0]}", "is put as well"),))
    with node.db.write() as tx:
        device = require_active(tx, scope, name, lock=True)
        kept = {key: value for key, value in device.tags.items() if key not in set(remove)}
        domain.checked_tags({**kept, **tags}, "/put")
        store.remove_tags(tx, device.id, remove)
        store.set_tags(tx, device.id, tags)
        if group_store.held_selectors(tx, scope.fleet_id, engine.now(tx)):
            store.bump(tx, scope.fleet_id)  # tags decide who is held
        data = {"put": tags, "removed": sorted(set(remove) & set(device.tags))}
        audit.record(tx, scope, action="device.tag", subject=f"device:{name}", data=data)
    node.hub.nudge("devices", scope.fleet_id, {device.id})
    return get(scope, node, name)


def decommission(
    scope: Scope, node: Node, name: str, *, stop_workloads: bool = False, enrolled_at: datetime | None = None
) -> None:
    """End a device's membership: refused from now on on every replica, told to wipe its key; its history stays.

    Args:
        enrolled_at: when given, the enrollment that the operator saw.

    Raises:
        Conflict: it is decommissioned already, or was enrolled anew since `enrolled_at`.
    """
    scope.require("devices.write")
    with node.db.write() as tx:
        device = require_active(tx, scope, name, lock=True)
        if enrolled_at is not None and device.enrolled_at != enrolled_at:
            raise Conflict(
                f"cannot decommission device {name}: it was enrolled anew since you looked, at"
                f" {device.enrolled_at:%Y-%m-%d %H:%M:%S} UTC; look again",
                type="generation-changed",
            )
        now = engine.now(tx)
        store.update(tx, device.id, state="decommissioned", decommissioned_at=now, stop_workloads=stop_workloads)
        text = "decommissioned, told to stop its workloads" if stop_workloads else "decommissioned"
        store.add_event(tx, scope.fleet_id, device.id, "decommissioned", text, now)
        work.decommissioned(tx, scope, device.id)
        store.bump(tx, scope.fleet_id, [device.id])
        data = {"stop_workloads": stop_workloads}
        audit.record(tx, scope, action="device.decommission", subject=f"device:{name}", data=data)
    node.hub.nudge("identity", scope.fleet_id, {device.id})
    node.hub.nudge("rollouts", scope.fleet_id, {device.id})


def recover(scope: Scope, node: Node, name: str, *, expires_in_seconds: int | None = None) -> Minted:
    """A token by which the device gets a new key under the same record; the old key works until it is used.

    Raises:
        NotFound, Conflict: there is no living device of that name.
    """
    scope.require("tokens.write")
    with node.db.read() as tx:
        require_active(tx, scope, name)
    terms = TokenTerms(device_name=name, expires_in_seconds=expires_in_seconds, may_replace=True)
    return tokens.mint(scope, node, terms)


def require(tx: Connection, scope: Scope, name: str, *, lock: bool = False) -> Device:
    device = store.find(tx, scope.fleet_id, name, lock=lock)
    if device is None:
        raise NotFound(f"cannot find device {name} in fleet {scope.fleet}")
    return device


def require_active(tx: Connection, scope: Scope, name: str, *, lock: bool = False) -> Device:
    """Raises `Conflict` when the device of that name is decommissioned."""
    device = require(tx, scope, name, lock=lock)
    if not device.active:
        raise Conflict(f"cannot change device {name}: it is decommissioned")
    return device


def presence_facts(tx: Connection, scope: Scope) -> tuple[ChannelUp | None, int]:
    """Since when the device channel is up, and the fleet's interval in seconds."""
    fleet = fleets.by_id(tx, scope.fleet_id)
    if fleet is None:
        raise NotFound(f"cannot find the fleet {scope.fleet}")
    return store.channel_up(tx), fleet.interval_seconds


def _holds(tx: Connection, scope: Scope, device: Device) -> list[tuple[str, Hold]]:
    """Every hold that keeps the device from being served: its own, its groups', the fleet's freeze."""
    now = engine.now(tx)
    found = [(f"device {device.name}", device.hold)] if device.hold else []
    found += [(f"group {group}", hold) for group, hold in group_store.holds_on(tx, scope.fleet_id, device.id)]
    frozen = hold_store.freeze(tx, scope.fleet_id)
    found += [(f"fleet {scope.fleet}", frozen)] if frozen else []
    return [(subject, hold) for subject, hold in found if hold.in_force(now)]


def _certificate(issued: certificate_store.Issued) -> CertificateView:
    mine = issued.certificate
    return CertificateView(
        mine.state, issued.serial, issued.fingerprint, mine.not_before, mine.not_after, mine.issued_at
    )
