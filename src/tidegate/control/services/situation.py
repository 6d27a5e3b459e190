"""What stands around every page of the console: a fleet's counts and its freeze, in one short transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.control.domain.access import Scope
from tidegate.control.domain.devices import Hold
from tidegate.control.services.node import Node
from tidegate.control.store import artifacts, device_list, engine, groups, holds, rollout_lists


@dataclass(frozen=True, slots=True)
class Situation:
    """`None` stands for what the scope may not see. `rollouts`: how many in each state; `devices`: living ones, `held`
    of them; `freeze`: in force now."""

    rollouts: Mapping[str, int] | None
    devices: int | None
    held: int
    groups: int | None
    artifacts: int | None
    freeze: Hold | None


def situation(scope: Scope, node: Node) -> Situation:
    """A fixed number of statements whatever the fleet's size; asks for no permission of its own."""
    devices_too = scope.allows("devices.read")
    with node.db.read() as tx:
        now, fleet_id = engine.now(tx), scope.fleet_id
        freeze = None
        living, held = device_list.living_and_held(tx, fleet_id, now) if devices_too else (None, 0)
        if devices_too or scope.allows("rollouts.read"):
            freeze = holds.freeze(tx, fleet_id)
        return Situation(
            rollouts=rollout_lists.count_states(tx, fleet_id) if scope.allows("rollouts.read") else None,
            devices=living,
            held=held,
            groups=groups.count(tx, fleet_id, "") if scope.allows("groups.read") else None,
            artifacts=artifacts.count(tx, fleet_id) if scope.allows("artifacts.read") else None,
            freeze=freeze if freeze is not None and freeze.in_force(now) else None,
        )
