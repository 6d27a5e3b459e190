"""Groups: listed by name, or said by a selector and computed when asked (SPEC section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from tidegate.control.domain import groups as domain
from tidegate.control.domain.access import Scope
from tidegate.control.domain.groups import Group
from tidegate.control.services import audit
from tidegate.control.services.node import Node
from tidegate.control.store import devices as device_store
from tidegate.control.store import engine
from tidegate.control.store import groups as store
from tidegate.errors import Conflict, FieldError, Invalid, NotFound
from tidegate.ids import DEVICE_NAME, DeviceId, checked
from tidegate.wire.selector import parse

#: Choices in a form; who has more groups types or selects.
MOST_NAMES = 200


@dataclass(frozen=True, slots=True)
class Membership:
    """A group after a change: what changed, and the names that nobody bears."""

    group: Group
    changed: int
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupPage:
    items: list[Group]
    total: int
    next_after: str | None


def create(scope: Scope, node: Node, name: str, names: Sequence[str] = (), selector: str | None = None) -> Membership:
    """A new group: static, holding the devices called `names`, or whatever `selector` matches at any time.

    Names that nobody bears are reported, not refused.

    Raises:
        Invalid: the name is malformed, there are too many `names`, or `selector` cannot be read or stands beside names.
        Conflict: the fleet has a group of that name.
    """
    scope.require("groups.write")
    checked(DEVICE_NAME, name, "/name")
    _limited(names)
    if selector is not None:
        parse(selector)
        if names:
            rule = "a group has either a selector or device names"
            raise Invalid(f"cannot create group {name}: {rule}", (FieldError("/devices", rule),))
    with node.db.write() as tx:
        if store.find(tx, scope.fleet_id, name) is not None:
            raise Conflict(f"cannot create group {name}: one of that name exists")
        group_id = store.insert(tx, scope.fleet_id, name, engine.now(tx), selector)
        named = _named(tx, scope, names)
        added = store.add(tx, group_id, named.devices)
        group = require_group(tx, scope, name)
        data = {"devices": group.size, "selector": selector}
        audit.record(tx, scope, action="group.create", subject=f"group:{name}", data=data)
    node.hub.nudge("devices", scope.fleet_id, named.devices)
    return Membership(group, added, named.unknown)


def add(scope: Scope, node: Node, name: str, names: Sequence[str]) -> Membership:
    """Put devices into a group; those in it already count as unchanged."""
    return _change(scope, node, name, names, add=True)


def remove(scope: Scope, node: Node, name: str, names: Sequence[str]) -> Membership:
    """Take devices out of a group; those not in it count as unchanged."""
    return _change(scope, node, name, names, add=False)


def change(scope: Scope, node: Node, name: str, *, new_name: str | None = None, selector: str | None = None) -> Group:
    """Give a group another name, another selector, or both.

    Baseline rollouts and enrollment tokens that name it follow. Where it is held, so is what the new selector matches.

    Raises:
        Invalid: the new name is malformed, the selector cannot be read, or nothing is to be changed.
        Conflict: the fleet has a group of the new name, or the group is static and has no selector.
    """
    scope.require("groups.write")
    if new_name is None and selector is None:
        raise Invalid(f"cannot change group {name}: give a name or a selector", (FieldError("", "changes nothing"),))
    if new_name is not None:
        checked(DEVICE_NAME, new_name, "/name")
    if selector is not None:
        parse(selector)
    with node.db.write() as tx:
        before = require_group(tx, scope, name, lock=True)
        if selector is not None and before.selector is None:
            raise Conflict(f"cannot give group {name} a selector: it is static; create another group")
        after = new_name or name
        if after != name:
            if store.find(tx, scope.fleet_id, after) is not None:
                raise Conflict(f"cannot rename group {name}: one named {after} exists")
            store.follow_name(tx, scope.fleet_id, name, after, engine.now(tx))
        store.update(tx, before.id, name=after, selector=selector if selector is not None else before.selector)
        if before.hold is not None:
            device_store.bump(tx, scope.fleet_id)
        group = require_group(tx, scope, after)
        data = {"from": _said(before), "to": _said(group)}
        audit.record(tx, scope, action="group.change", subject=f"group:{name}", data=data)
    node.hub.nudge("devices", scope.fleet_id)
    return group


def _said(group: Group) -> dict[str, object]:
    return {"name": group.name, "selector": group.selector, "devices": group.size}


def uses(scope: Scope, node: Node, name: str) -> domain.Uses:
    """What speaks of the group by its name, and would no longer find it once it is deleted."""
    scope.require("groups.read")
    with node.db.read() as tx:
        require_group(tx, scope, name)
        return store.uses(tx, scope.fleet_id, name, engine.now(tx))


def delete(scope: Scope, node: Node, name: str) -> None:
    """Forget a group; its devices stay. A hold on it must be released first, so that nothing is served by surprise."""
    scope.require("groups.write")
    with node.db.write() as tx:
        group = require_group(tx, scope, name, lock=True)
        if group.hold is not None:
            raise Conflict(f"cannot delete group {name} while it is held: release it first")
        store.delete(tx, group.id)
        audit.record(tx, scope, action="group.delete", subject=f"group:{name}", data={"devices": group.size})


def listed(
    scope: Scope, node: Node, *, search: str = "", after: str | None = None, limit: int = 50, offset: int = 0
) -> GroupPage:
    """Groups by name."""
    scope.require("groups.read")
    with node.db.read() as tx:
        found = store.listed(tx, scope.fleet_id, search=search, after=after, limit=limit + 1, offset=offset)
        total = store.count(tx, scope.fleet_id, search)
    more = len(found) > limit
    return GroupPage(found[:limit], total, found[limit - 1].name if more else None)


def names(scope: Scope, node: Node, *, static_only: bool = False) -> list[str]:
    """To choose from, at most `MOST_NAMES`; none for who may not see groups."""
    if not scope.allows("groups.read"):
        return []
    with node.db.read() as tx:
        return store.names(tx, scope.fleet_id, static_only=static_only, limit=MOST_NAMES)


def get(scope: Scope, node: Node, name: str) -> Group:
    """Raises `NotFound` when the fleet has no such group."""
    scope.require("groups.read")
    with node.db.read() as tx:
        return require_group(tx, scope, name)


def require_group(tx: Connection, scope: Scope, name: str, *, lock: bool = False) -> Group:
    group = store.find(tx, scope.fleet_id, name, lock=lock)
    if group is None:
        raise NotFound(f"cannot find group {name} in fleet {scope.fleet}")
    return group


def _change(scope: Scope, node: Node, name: str, names: Sequence[str], *, add: bool) -> Membership:
    scope.require("groups.write")
    _limited(names)
    with node.db.write() as tx:
        group = require_group(tx, scope, name, lock=True)
        if group.selector is not None:
            verb = "add devices to" if add else "remove devices from"
            why = "its selector says who is in it; change the selector or the devices' tags"
            raise Conflict(f"cannot {verb} group {name}: {why}")
        named = _named(tx, scope, names)
        changed = (store.add if add else store.remove)(tx, group.id, named.devices)
        if changed and group.hold is not None:
            device_store.bump(tx, scope.fleet_id, named.devices)
        after = require_group(tx, scope, name)
        audit.record(
            tx,
            scope,
            action="group.add" if add else "group.remove",
            subject=f"group:{name}",
            data=_audited(changed, names),
        )
    node.hub.nudge("devices", scope.fleet_id, named.devices)
    return Membership(after, changed, named.unknown)


def _audited(changed: int, names: Sequence[str]) -> dict[str, object]:
    """Names as far as a record should be long; the count is always whole."""
    shown = sorted(set(names))[:100]
    return {"changed": changed, "names": shown, "names_in_all": len(set(names))}


def _limited(names: Sequence[str]) -> None:
    if len(names) > domain.MAX_NAMES_PER_CHANGE:
        rule = f"at most {domain.MAX_NAMES_PER_CHANGE} names at a time"
        raise Invalid("cannot take so many device names", (FieldError("/devices", rule),))


def _named(tx: Connection, scope: Scope, names: Sequence[str]) -> domain.Named:
    known: dict[str, DeviceId] = device_store.ids_by_names(tx, scope.fleet_id, set(names))
    return domain.resolve(names, known)
