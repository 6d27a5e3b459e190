"""Freezing the whole fleet: what it stops, for what reason, until when; and ending it."""

from __future__ import annotations

from tidegate.control.console import chrome
from tidegate.control.console.holding import HOLD_HOURS, hold_until
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit
from tidegate.control.domain.rollouts.model import WITH_LEAVE, AssignmentState
from tidegate.control.services import holds, rollouts
from tidegate.control.services.holds import HeldFleet
from tidegate.control.services.rollouts import RolloutFilter
from tidegate.errors import Refused, TidegateError

MOST_ROLLOUTS = 200


def shown(visit: Visit) -> Outcome:
    return _show(visit)


def _show(visit: Visit, problem: TidegateError | None = None) -> Show:
    scope, node = visit.scope, visit.node
    around = chrome.chrome(visit)
    open_ones = rollouts.list_rollouts(scope, node, RolloutFilter(open_only=True, limit=MOST_ROLLOUTS)).items
    return Show(
        "freeze.html",
        "Fleet freeze",
        {
            "freeze": around.freeze,
            "devices_count": around.devices,
            "rollouts": open_ones,
            "at_work": sum(one.counts.get(state, 0) for one in open_ones for state in WITH_LEAVE),
            "waiting": sum(
                wave.counts.get(AssignmentState.PENDING, 0) for one in open_ones for wave in one.waves if wave.released
            ),
            "hold_hours": HOLD_HOURS,
            "typed": {"reason": visit.text("reason"), "hours": visit.text("hours", "0")},
        },
        problem=problem,
    )


def freeze(visit: Visit) -> Outcome:
    try:
        holds.hold(visit.scope, visit.node, HeldFleet(), visit.text("reason"), hold_until(visit), seen=_seen(visit))
    except Refused as error:
        return _show(visit, error)
    return Go("/freeze", "frozen")


def _seen(visit: Visit) -> str:
    """The mark of the freeze that the form spoke of; empty: there was none."""
    return visit.text("seen")


def release(visit: Visit) -> Outcome:
    try:
        holds.release(visit.scope, visit.node, HeldFleet(), seen=_seen(visit))
    except Refused as error:
        return _show(visit, error)
    return Go("/freeze", "thawed")


PAGES = (
    Page("GET", "/freeze", "rollouts.read", shown, nav="overview", live=True),
    Page("POST", "/freeze", "rollouts.write", freeze, nav="overview"),
    Page("POST", "/freeze/release", "rollouts.write", release, nav="overview"),
)
