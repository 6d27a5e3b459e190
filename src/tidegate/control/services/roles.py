"""Own roles: named sets of permissions, made, changed and deleted by people (SPEC section 12).

Roles belong to the node; where they count is said by who is given them. Whoever makes or changes one holds
``users.manage`` for all fleets, and for all fleets every permission that they put in or take out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from tidegate.control.domain import roles as rules
from tidegate.control.domain.access import EVERY_FLEET, ROLES, Grant, Scope
from tidegate.control.domain.roles import Role
from tidegate.control.services import audit
from tidegate.control.services.node import Node
from tidegate.control.store import engine, fleets
from tidegate.control.store import roles as store
from tidegate.errors import Conflict, NotFound
from tidegate.ids import FleetId

#: Holders that are named; of more only these are.
MOST_NAMED = 100
_ANY = "*"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who was given a role: `actor` as the audit log writes it, and the fleet's name (`*`: every one)."""

    actor: str
    fleet: str


@dataclass(frozen=True, slots=True)
class RoleDetail:
    """`operators` and `keys` count who holds it, as far as the scope sees them; `holders` are named on its page."""

    role: Role
    operators: int
    keys: int
    holders: tuple[Holder, ...] = ()


def list_roles(scope: Scope, node: Node) -> tuple[RoleDetail, ...]:
    """The fixed roles, then the own ones by name."""
    scope.require("users.manage")
    with node.db.read() as tx:
        counts = store.counts(tx, _seen(scope), engine.now(tx))
        own = store.every(tx)
    return tuple(RoleDetail(role, *counts.get(role.name, (0, 0))) for role in (*rules.fixed_roles(), *own))


def names(scope: Scope, node: Node) -> tuple[str, ...]:
    """What a role may be called where one is given: the fixed ones first. For whoever may give some."""
    with node.db.read() as tx:
        own = [role.name for role in store.every(tx)]
    return (*ROLES, *own)


def get_role(scope: Scope, node: Node, name: str) -> RoleDetail:
    """One role and who holds it.

    Raises:
        NotFound: no such role.
    """
    scope.require("users.manage")
    with node.db.read() as tx:
        return _detail(tx, scope, _existing(tx, name))


def create_role(scope: Scope, node: Node, *, name: str, description: str, permissions: Collection[str]) -> RoleDetail:
    """Make a role that nobody holds yet.

    Raises:
        Invalid: name, description or a permission.
        Conflict: the name is taken, or there are too many.
        Forbidden: it would hold a permission that the scope does not hold for all fleets.
    """
    scope.require_everywhere("users.manage")
    rules.check_name(name)
    chosen = rules.check_permissions(permissions)
    rules.check_description(description)
    scope.require_held([Grant(name, EVERY_FLEET, chosen)], f"make the role {name}")
    with node.db.write() as tx:
        if store.by_name(tx, name) is not None:
            raise Conflict(f"cannot make the role {name}: the name is taken")
        if len(store.every(tx)) >= rules.MOST_ROLES:
            raise Conflict(f"cannot make the role {name}: there are {rules.MOST_ROLES} own roles; delete one first")
        now = engine.now(tx)
        role = Role(name, description, chosen, made_at=now, made_by=scope.person, changed_at=now)
        store.insert(tx, role)
        data: dict[str, object] = {"permissions": sorted(chosen), "description": description}
        audit.record_node(tx, scope.actor, action="role.create", subject=f"role:{name}", data=data)
    return RoleDetail(role, 0, 0)


def change_role(scope: Scope, node: Node, name: str, *, description: str, permissions: Collection[str]) -> RoleDetail:
    """Replace what an own role holds; it counts from the next request of everybody who has it.

    Raises:
        NotFound: no such role.
        Conflict: it is fixed.
        Invalid: description or a permission.
        Forbidden: a permission put in or taken out is one that the scope does not hold for all fleets.
    """
    scope.require_everywhere("users.manage")
    chosen = rules.check_permissions(permissions)
    rules.check_description(description)
    rules.check_not_fixed(name, "change")
    with node.db.write() as tx:
        before = _existing(tx, name, lock=True)
        changed = before.permissions ^ chosen
        scope.require_held([Grant(name, EVERY_FLEET, changed)], f"change the role {name}")
        if not changed and description == before.description:
            return _detail(tx, scope, before)
        now = engine.now(tx)
        store.change(tx, name, description, chosen, now)
        detail = _detail(tx, scope, replace(before, description=description, permissions=chosen, changed_at=now))
        data: dict[str, object] = {
            "given": sorted(chosen - before.permissions),
            "taken": sorted(before.permissions - chosen),
            "description": description,
        }
        audit.record_node(tx, scope.actor, action="role.change", subject=f"role:{name}", data=data)
    node.hub.nudge("people", EVERY_FLEET)
    return detail


def delete_role(scope: Scope, node: Node, name: str) -> None:
    """Delete an own role that nobody holds.

    Raises:
        NotFound: no such role.
        Conflict: it is fixed, or somebody holds it; who is said.
        Forbidden: it holds more than the scope does.
    """
    scope.require_everywhere("users.manage")
    rules.check_not_fixed(name, "delete")
    with node.db.write() as tx:
        role = _existing(tx, name, lock=True)
        scope.require_held([Grant(name, EVERY_FLEET, role.permissions)], f"delete the role {name}")
        detail = _detail(tx, scope, role)
        if detail.holders:
            shown = list(dict.fromkeys(holder.actor for holder in detail.holders))[:5]
            named, more = ", ".join(shown), detail.operators + detail.keys - len(shown)
            rest = f" and {more} more" if more > 0 else ""
            raise Conflict(
                f"cannot delete the role {name}: {named}{rest} hold it; give them another, or revoke the key, first",
                type="role-in-use",
            )
        store.delete(tx, name)
        data: dict[str, object] = {"permissions": sorted(role.permissions)}
        audit.record_node(tx, scope.actor, action="role.delete", subject=f"role:{name}", data=data)


def _seen(scope: Scope) -> FleetId | None:
    """Whose holders the scope sees: those of its fleet, or all."""
    return None if "users.manage" in scope.everywhere else scope.fleet_id


def _existing(tx: Connection, name: str, *, lock: bool = False) -> Role:
    if name in ROLES:
        return next(role for role in rules.fixed_roles() if role.name == name)
    role = store.by_name(tx, name[:64], lock=lock)
    if role is None:
        raise NotFound(f"cannot find the role {name[:64]}")
    return role


def _detail(tx: Connection, scope: Scope, role: Role) -> RoleDetail:
    now, seen = engine.now(tx), _seen(scope)
    fleet_names = {fleet.id: fleet.name for fleet in fleets.every(tx)} | {EVERY_FLEET: _ANY}
    people = store.holders(tx, role.name, seen, limit=MOST_NAMED)
    machines = store.key_holders(tx, role.name, seen, now, limit=MOST_NAMED)
    named = [Holder(f"user:{name}", fleet_names[fleet]) for name, fleet in people]
    named += [Holder(f"apikey:{name}", fleet_names[fleet]) for name, fleet in machines]
    operators, keys = store.counts(tx, seen, now).get(role.name, (0, 0))
    return RoleDetail(role, operators, keys, tuple(named))
