"""Acts on several devices at once: held, released, tagged, all of them or none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from tidegate.control.domain import devices as domain
from tidegate.control.domain.access import Scope
from tidegate.control.domain.devices import new_hold
from tidegate.control.domain.rollouts.model import WITH_LEAVE, WITHOUT_LEAVE
from tidegate.control.services import audit
from tidegate.control.services.node import Node
from tidegate.control.store import assignments, device_list, engine
from tidegate.control.store import devices as store
from tidegate.control.store import groups as group_store
from tidegate.control.store.assignments import Event
from tidegate.errors import FieldError, Invalid, NotFound
from tidegate.ids import DeviceId

MOST = 200


@dataclass(frozen=True, slots=True)
class Selected:
    """Living devices by name, and what acting on them touches. `held`: now, by themselves or a group; `waiting`:
    served assignments without leave; `at_work`: with leave, which finish whatever is done here."""

    names: tuple[str, ...]
    held: int
    own_holds: int
    waiting: int
    at_work: int


def selected(scope: Scope, node: Node, names: Sequence[str]) -> Selected:
    """What these devices are doing now.

    Raises:
        Invalid: none, or more than `MOST`.
        NotFound: the fleet has no such living device.
    """
    scope.require("devices.read")
    with node.db.read() as tx:
        found = _found(tx, scope, names)
        ids = list(found.values())
        held, own = device_list.held_among(tx, scope.fleet_id, ids, engine.now(tx))
        counts = assignments.states_of(tx, ids)
    return Selected(
        tuple(sorted(found)),
        held,
        own,
        sum(counts.get(state, 0) for state in WITHOUT_LEAVE),
        sum(counts.get(state, 0) for state in WITH_LEAVE),
    )


def hold(scope: Scope, node: Node, names: Sequence[str], reason: str, until: datetime | None = None) -> int:
    """Hold each of them; a new hold replaces an old one. Gives how many.

    Raises:
        Invalid: no reason, an end that has passed, none or too many of them.
        NotFound: the fleet has no such living device.
    """
    scope.require("devices.write")
    with node.db.write() as tx:
        now = engine.now(tx)
        found = _found(tx, scope, names)
        wanted = new_hold(reason, until, now)
        store.update_some(tx, found.values(), hold_reason=wanted.reason, hold_until=wanted.until)
        data = {"reason": wanted.reason, "until": until.isoformat() if until else None}
        _finish(tx, scope, found, "hold", f"held: {wanted.reason}", data, now)
    node.hub.nudge("devices", scope.fleet_id, list(found.values()))
    return len(found)


def release(scope: Scope, node: Node, names: Sequence[str]) -> int:
    """End the own holds among them; devices that only a group holds stay held. Gives how many were released.

    Raises:
        Invalid: none or too many of them.
        NotFound: the fleet has no such living device.
    """
    scope.require("devices.write")
    with node.db.write() as tx:
        now = engine.now(tx)
        chosen = _found(tx, scope, names)
        own = device_list.own_holds(tx, list(chosen.values()))
        found = {name: one for name, one in chosen.items() if one in own}
        store.update_some(tx, found.values(), hold_reason=None, hold_until=None)
        _finish(tx, scope, found, "release", "released", None, now)
    node.hub.nudge("devices", scope.fleet_id, list(found.values()))
    return len(found)


def tag(scope: Scope, node: Node, names: Sequence[str], put: Mapping[str, str], remove: Collection[str]) -> int:
    """Set the tags in `put` on each of them, take away those named in `remove`; gives how many.

    Raises:
        Invalid: a tag is malformed or in both, a device would have too many, none or too many devices.
        NotFound: the fleet has no such living device.
    """
    scope.require("devices.write")
    tags = domain.checked_tags(put, "/put")
    if not tags and not remove:
        raise Invalid("cannot change no tag", (FieldError("/put", "must name a tag, or one to remove"),))
    both = sorted(set(tags) & set(remove))
    if both:
        raise Invalid("cannot put and remove the same tag", (FieldError("/remove", f"{both[0]} is put as well"),))
    with node.db.write() as tx:
        now = engine.now(tx)
        found = _found(tx, scope, names)
        for name, present in store.tags_of(tx, found).items():
            kept = {key: value for key, value in present.items() if key not in set(remove)}
            if len({**kept, **tags}) > domain.MAX_TAGS:
                rule = f"{name} would have more than {domain.MAX_TAGS} tags"
                raise Invalid(f"cannot tag these devices: {rule}", (FieldError("/put", rule),))
        store.tag_some(tx, found.values(), tags, remove)
        if group_store.held_selectors(tx, scope.fleet_id, now):
            store.bump(tx, scope.fleet_id)  # tags decide who is held
        for name in found:
            data = {"put": dict(tags), "removed": sorted(set(remove))}
            audit.record(tx, scope, action="device.tag", subject=f"device:{name}", data=data)
    node.hub.nudge("devices", scope.fleet_id, list(found.values()))
    return len(found)


def _found(tx: Connection, scope: Scope, names: Sequence[str]) -> dict[str, DeviceId]:
    asked = sorted(set(names))
    if not 1 <= len(asked) <= MOST:
        rule = f"must name 1 to {MOST} devices"
        raise Invalid(f"cannot act on these devices: {rule}", (FieldError("/device", rule),))
    found = store.ids_by_names(tx, scope.fleet_id, asked)
    missing = [name for name in asked if name not in found]
    if missing:
        raise NotFound(f"cannot find device {missing[0][:63]} in fleet {scope.fleet}")
    return found


def _finish(
    tx: Connection,
    scope: Scope,
    found: Mapping[str, DeviceId],
    verb: str,
    said: str,
    data: Mapping[str, object] | None,
    now: datetime,
) -> None:
    """History, generations, and one record for each device, so that the log is searched as after single acts."""
    assignments.write_events(tx, [Event(scope.fleet_id, one, None, "hold", said) for one in found.values()], now)
    if found:
        store.bump(tx, scope.fleet_id)
    for name in found:
        audit.record(tx, scope, action=f"device.{verb}", subject=f"device:{name}", data=data or {})
