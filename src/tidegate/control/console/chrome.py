"""What stands around every page: the fleet's situation, counts beside the navigation, the trust domain's warning."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.control.console.visit import Visit
from tidegate.control.domain.devices import Hold
from tidegate.control.services import disk, trust
from tidegate.control.services.situation import situation

CONVENIENCE = "convenience-trust-domain"
#: Most urgent first; completed and aborted rollouts are no situation.
ORDER = ("halted", "waiting_for_approval", "running", "soaking", "scheduled")


@dataclass(frozen=True, slots=True)
class Chrome:
    """`None` stands for what the visitor may not see. `held`: living devices that a hold of theirs or a group keeps."""

    situation: tuple[tuple[str, int], ...]
    open_rollouts: int | None
    devices: int | None
    held: int
    groups: int | None
    artifacts: int | None
    freeze: Hold | None
    convenience: bool
    disk: str


def chrome(visit: Visit) -> Chrome:
    scope, node = visit.scope, visit.node
    found = situation(scope, node)
    states = found.rollouts or {}
    opened = tuple((state, states[state]) for state in ORDER if states.get(state))
    return Chrome(
        situation=opened,
        open_rollouts=None if found.rollouts is None else sum(count for _, count in opened),
        devices=found.devices,
        held=found.held,
        groups=found.groups,
        artifacts=found.artifacts,
        freeze=found.freeze,
        convenience=any(warning.kind == CONVENIENCE for warning in trust.warnings(scope, node)),
        disk=disk.look(node).warning,
    )
