"""Fleets of the node: those one sees, and making another."""

from __future__ import annotations

from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit
from tidegate.control.console.visit import typed as as_struct
from tidegate.control.services import fleets
from tidegate.errors import Refused, TidegateError
from tidegate.wire.operator.fleets import NewFleet


def listed(visit: Visit) -> Outcome:
    return _page(visit, {"name": "", "interval_seconds": str(visit.node.settings.interval_seconds)})


def _page(visit: Visit, typed: dict[str, str], problem: TidegateError | None = None) -> Show:
    found = fleets.list_fleets(visit.node, visit.session.identity)
    context = {"items": found, "typed": typed, "may_create": "settings.manage" in visit.scope.everywhere}
    return Show("fleets.html", "Fleets", context, problem=problem)


def create(visit: Visit) -> Outcome:
    typed = {"name": visit.text("name"), "interval_seconds": visit.text("interval_seconds")}
    try:
        body = as_struct(typed, NewFleet)
        fleets.create_fleet(visit.scope, visit.node, name=body.name, interval_seconds=body.interval_seconds)
    except Refused as error:
        return _page(visit, typed, error)
    return Go("/fleets", "fleet-created")


PAGES = (
    Page("GET", "/fleets", "", listed, nav="fleets"),
    Page("POST", "/fleets", "settings.manage", create, nav="fleets"),
)
