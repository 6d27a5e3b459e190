"""One mark per fleet that differs as soon as something that people look at has changed."""

from __future__ import annotations

from typing import NamedTuple

from tidegate.control.domain.access import system_scope
from tidegate.control.domain.audit import NODE_CHAIN
from tidegate.control.services import devices
from tidegate.control.services.node import Node
from tidegate.control.store import audit, rollouts
from tidegate.ids import FleetId


class Pulse(NamedTuple):
    """`of_node` grows with every change of people and roles."""

    of_fleet: int
    of_node: int
    rollouts: int


def pulse(node: Node, fleet_id: FleetId) -> Pulse:
    """Three statements whatever the fleet's size.

    Every administrative act, signing out and a change of roles included, is an audit record of the fleet or of the
    node; rollouts, holds and records of devices have generations. Heartbeats change nothing here.
    """
    with node.db.read() as tx:
        return Pulse(
            audit.head(tx, fleet_id).sequence,
            audit.head(tx, NODE_CHAIN).sequence,
            rollouts.generations(tx).get(fleet_id, 0),
        )


def presence(node: Node, fleet_id: FleetId) -> tuple[int, ...]:
    """How many devices are online, offline, not seen yet and held: one pass over the fleet, so not for every look."""
    counts = devices.counts(system_scope("pulse", fleet_id, ""), node)
    return (counts.online, counts.offline, counts.never, counts.held)
