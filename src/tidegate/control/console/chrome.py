"""What stands around every page: the fleet's situation, counts beside the navigation, the trust domain's warning."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.control.console.visit import Visit
from tidegate.control.services import artifacts, devices, rollouts, trust
from tidegate.wire.operator.artifacts import ListArtifacts

CONVENIENCE = "convenience-trust-domain"
#: Most urgent first; completed and aborted rollouts are no situation.
ORDER = ("halted", "waiting_for_approval", "running", "soaking", "scheduled")


@dataclass(frozen=True, slots=True)
class Chrome:
    """`None` stands for what the visitor may not see."""

    situation: tuple[tuple[str, int], ...]
    open_rollouts: int | None
    devices: int | None
    artifacts: int | None
    convenience: bool


def chrome(visit: Visit) -> Chrome:
    scope, node = visit.scope, visit.node
    states: dict[str, int] = {}
    if scope.allows("rollouts.read"):
        states = {str(state): count for state, count in rollouts.count_states(scope, node).items()}
    situation = tuple((state, states[state]) for state in ORDER if states.get(state))
    return Chrome(
        situation=situation,
        open_rollouts=sum(count for _, count in situation) if scope.allows("rollouts.read") else None,
        devices=devices.counts(scope, node).total if scope.allows("devices.read") else None,
        artifacts=artifacts.listed(scope, node, ListArtifacts(limit=1)).total
        if scope.allows("artifacts.read")
        else None,
        convenience=any(warning.kind == CONVENIENCE for warning in trust.warnings(scope, node)),
    )
