"""Rollouts: the list."""

from __future__ import annotations

from tidegate.control.console import waves
from tidegate.control.console.views import Chip, Slice
from tidegate.control.console.visit import Outcome, Page, Show, Visit
from tidegate.control.domain.rollouts.model import RolloutState
from tidegate.control.services import rollouts
from tidegate.control.services.rollouts import RolloutFilter

SIZE = 25


def listed(visit: Visit) -> Outcome:
    state = visit.ask("state")
    open_only = state == "open"
    states = frozenset({RolloutState(state)}) if state in set(RolloutState) else frozenset()
    artifact, offset = visit.ask("artifact")[:128], visit.offset()
    wanted = RolloutFilter(states=states, artifact=artifact, open_only=open_only, limit=SIZE, offset=offset)
    page = rollouts.list_rollouts(visit.scope, visit.node, wanted)
    counts = rollouts.count_states(visit.scope, visit.node)
    chips = [Chip("All", "/rollouts", not state), Chip("open", "/rollouts?state=open", open_only, "open")]
    chips += [
        Chip(f"{one} {counts[one]:,}", f"/rollouts?state={one}", one == state, one)
        for one in map(str, RolloutState)
        if counts.get(one)
    ]
    return Show(
        "rollouts.html",
        "Rollouts",
        {
            "rows": [(one, waves.picture(one, visit.now), waves.failures(one)) for one in page.items],
            "slice": Slice(offset, len(page.items), page.total, SIZE, [("state", state), ("artifact", artifact)]),
            "chips": chips,
            "asked": bool(state or artifact),
        },
    )


PAGES = (Page("GET", "/rollouts", "rollouts.read", listed, nav="rollouts", live=True),)
