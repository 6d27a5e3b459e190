"""Holds: a device, a group or a whole fleet that is not served and gets no leave (SPEC section 6)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from tidegate.control.domain.access import Scope, system_scope
from tidegate.control.domain.devices import Hold, new_hold
from tidegate.control.services import audit
from tidegate.control.services.devices import require_active
from tidegate.control.services.groups import require_group
from tidegate.control.services.node import Node
from tidegate.control.store import devices as device_store
from tidegate.control.store import engine
from tidegate.control.store import groups as group_store
from tidegate.control.store import holds as store
from tidegate.errors import Conflict
from tidegate.ids import DeviceId


@dataclass(frozen=True, slots=True)
class HeldDevice:
    name: str


@dataclass(frozen=True, slots=True)
class HeldGroup:
    name: str


@dataclass(frozen=True, slots=True)
class HeldFleet:
    """The whole fleet, frozen."""


Subject = HeldDevice | HeldGroup | HeldFleet


def hold(
    scope: Scope, node: Node, subject: Subject, reason: str, until: datetime | None = None, *, seen: str | None = None
) -> Hold:
    """Hold `subject` for `reason` until `until` (None: until released); a new hold replaces the old one.

    Args:
        seen: when given, the mark of the hold that the operator saw, empty for none.

    Raises:
        Invalid: no reason, or an end that has passed.
        NotFound, Conflict: no such device or group; the device is decommissioned; it is held otherwise than `seen`.
    """
    scope.require(_permission(subject))
    with node.db.write() as tx:
        wanted = new_hold(reason, until, engine.now(tx))
        _check_seen(tx, scope, subject, seen, "hold")
        touched = _set(tx, scope, subject, wanted)
        data = {"reason": wanted.reason, "until": until.isoformat() if until else None}
        audit.record(tx, scope, action=f"{_noun(subject)}.hold", subject=_name(scope, subject), data=data)
    node.hub.nudge("devices", scope.fleet_id, touched)
    return wanted


def release(scope: Scope, node: Node, subject: Subject, *, seen: str | None = None) -> None:
    """End the hold.

    Args:
        seen: when given, the mark of the hold that the operator saw.

    Raises:
        Conflict: it is not held, or otherwise than `seen`.
    """
    scope.require(_permission(subject))
    with node.db.write() as tx:
        _check_seen(tx, scope, subject, seen, "release")
        if _current(tx, scope, subject) is None:
            raise Conflict(f"cannot release {_name(scope, subject)}: it is not held")
        touched = _set(tx, scope, subject, None)
        audit.record(tx, scope, action=f"{_noun(subject)}.release", subject=_name(scope, subject))
    node.hub.nudge("devices", scope.fleet_id, touched)


def _check_seen(tx: Connection, scope: Scope, subject: Subject, seen: str | None, what: str) -> None:
    if seen is None:
        return
    current = _current(tx, scope, subject)
    in_force = current is not None and current.in_force(engine.now(tx))
    if seen != (current.mark if current is not None and in_force else ""):
        now = f"it is held now: {current.reason}" if current is not None and in_force else "it is not held any more"
        raise Conflict(
            f"cannot {what} {_name(scope, subject)}: since you looked somebody changed that, {now}; look again",
            type="generation-changed",
        )


def expire(node: Node) -> int:
    """Release every hold whose time is over, so that what it held is looked at again; gives how many."""
    with node.db.read() as tx:
        over = store.expired(tx, engine.now(tx))
    for fleet_id, fleet, kind, name in over:
        subjects: dict[str, Subject] = {"device": HeldDevice(name), "group": HeldGroup(name), "fleet": HeldFleet()}
        _expire_one(node, system_scope("holds", fleet_id, fleet), subjects[kind])
    return len(over)


def _expire_one(node: Node, scope: Scope, subject: Subject) -> None:
    with node.db.write() as tx:
        held = _current(tx, scope, subject)
        if held is None or held.in_force(engine.now(tx)):
            return  # somebody released or renewed it meanwhile
        touched = _set(tx, scope, subject, None)
        data = {"reason": "its time is over"}
        audit.record(tx, scope, action=f"{_noun(subject)}.release", subject=_name(scope, subject), data=data)
    node.hub.nudge("devices", scope.fleet_id, touched)


def _set(tx: Connection, scope: Scope, subject: Subject, wanted: Hold | None) -> list[DeviceId] | None:
    """Write the hold and raise the generation; gives the devices touched, None for all of the fleet."""
    match subject:
        case HeldDevice(name):
            device = require_active(tx, scope, name, lock=True)
            device_store.set_hold(tx, device.id, wanted)
            text = f"held: {wanted.reason}" if wanted else "released"
            device_store.add_event(tx, scope.fleet_id, device.id, "hold", text, engine.now(tx))
            touched: list[DeviceId] | None = [device.id]
        case HeldGroup(name):
            group = require_group(tx, scope, name, lock=True)
            group_store.set_hold(tx, group.id, wanted)
            touched = group_store.member_ids(tx, group)
        case HeldFleet():
            store.set_freeze(tx, scope.fleet_id, wanted)
            touched = None
    device_store.bump(tx, scope.fleet_id)
    return touched


def _current(tx: Connection, scope: Scope, subject: Subject) -> Hold | None:
    match subject:
        case HeldDevice(name):
            return require_active(tx, scope, name, lock=True).hold
        case HeldGroup(name):
            return require_group(tx, scope, name, lock=True).hold
        case HeldFleet():
            return store.freeze(tx, scope.fleet_id, lock=True)


def freeze(scope: Scope, node: Node) -> Hold | None:
    """The fleet's own hold, if it is frozen now."""
    scope.require("devices.read")
    with node.db.read() as tx:
        found = store.freeze(tx, scope.fleet_id)
        return found if found is not None and found.in_force(engine.now(tx)) else None


def _permission(subject: Subject) -> str:
    match subject:
        case HeldDevice():
            return "devices.write"
        case HeldGroup():
            return "groups.write"
        case HeldFleet():
            return "rollouts.write"


def _noun(subject: Subject) -> str:
    match subject:
        case HeldDevice():
            return "device"
        case HeldGroup():
            return "group"
        case HeldFleet():
            return "fleet"


def _name(scope: Scope, subject: Subject) -> str:
    match subject:
        case HeldDevice(name):
            return f"device:{name}"
        case HeldGroup(name):
            return f"group:{name}"
        case HeldFleet():
            return f"fleet:{scope.fleet}"
