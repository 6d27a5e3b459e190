"""Fleets of one node: tenants and trust domains, each with its own repository, keys and audit chain (SPEC section 1).

A fleet is made and never deleted: devices have pinned its root, and its audit chain must stay to be checked. A fleet
that nobody was given a role in is seen only by those who hold one for all fleets.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.control.domain.access import Identity, Scope
from tidegate.control.domain.fleets import Fleet
from tidegate.control.services import audit, trust
from tidegate.control.services.node import Node
from tidegate.control.store import engine
from tidegate.control.store import fleets as store
from tidegate.errors import Conflict, FieldError, Invalid
from tidegate.ids import FLEET_NAME, checked

#: Every fleet is looked at by each worker, and its metadata are kept fresh.
MOST_FLEETS = 500
#: As the setting of the node.
INTERVAL = range(1, 3_601)


@dataclass(frozen=True, slots=True)
class FleetView:
    """`devices` counts those not decommissioned; None: the asker may not see devices there."""

    fleet: Fleet
    devices: int | None
    permissions: frozenset[str]


def create_fleet(scope: Scope, node: Node, *, name: str, interval_seconds: int | None = None) -> FleetView:
    """Make a fleet with a convenience trust domain of its own: new root, targets and online keys, in folders apart.

    Raises:
        Forbidden: `settings.manage` is not held for all fleets.
        Invalid: name or interval.
        Conflict: the name is taken, or there are too many fleets.
    """
    scope.require_everywhere("settings.manage")
    checked(FLEET_NAME, name, "/name")
    interval = node.settings.interval_seconds if interval_seconds is None else interval_seconds
    if interval not in INTERVAL:
        rule = f"must be {INTERVAL.start} to {INTERVAL.stop - 1} seconds"
        raise Invalid(
            f"cannot create the fleet {name}: interval_seconds {rule}", (FieldError("/interval_seconds", rule),)
        )
    with node.db.write() as tx:
        known = store.lock_every(tx)
        if any(fleet.name == name for fleet in known):
            raise Conflict(f"cannot create the fleet {name}: the name is taken")
        if len(known) >= MOST_FLEETS:
            raise Conflict(f"cannot create the fleet {name}: a node carries at most {MOST_FLEETS} fleets")
        at = engine.now(tx)
        fleet = store.insert(tx, name, at=at, interval_seconds=interval)
        # Keys are files: those of an attempt that was cut off are there still, and are used.
        trust.initialise(tx, node, fleet, at)
        data: dict[str, object] = {"interval_seconds": interval}
        audit.record_node(tx, scope.actor, action="fleet.create", subject=f"fleet:{name}", data=data)
    return FleetView(fleet, 0, scope.everywhere)


def list_fleets(node: Node, identity: Identity) -> tuple[FleetView, ...]:
    """The fleets that the identity has a role in, by name."""
    with node.db.read() as tx:
        seen = [fleet for fleet in store.every(tx) if identity.sees(fleet.id)]
        counts = store.devices(tx, [fleet.id for fleet in seen])
    views = []
    for fleet in sorted(seen, key=lambda fleet: fleet.name):
        held = identity.scope(fleet.id, fleet.name).permissions
        views.append(FleetView(fleet, counts.get(fleet.id, 0) if "devices.read" in held else None, held))
    return tuple(views)
