"""Several devices at once: what acting on them touches, then holding, releasing, tagging or grouping all of them."""

from __future__ import annotations

from tidegate.control.console.holding import HOLD_HOURS, hold_until
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit, wrong
from tidegate.control.services import groups, selected
from tidegate.errors import Refused, TidegateError

MOST_GROUPS = 200


def shown(visit: Visit) -> Outcome:
    return _show(visit, visit.query.getlist("device"))


def _show(visit: Visit, names: list[str], problem: TidegateError | None = None) -> Show:
    scope, node = visit.scope, visit.node
    found = selected.selected(scope, node, names)
    known = groups.listed(scope, node, limit=MOST_GROUPS).items if scope.allows("groups.read") else []
    typed = {
        "reason": visit.text("reason"),
        "hours": visit.text("hours", "0"),
        "put": visit.text("put"),
        "remove": visit.text("remove"),
        "group": visit.text("group"),
    }
    return Show(
        "selected.html",
        "Selected devices",
        {
            "found": found,
            "groups": [one for one in known if one.selector is None],
            "hold_hours": HOLD_HOURS,
            "typed": typed,
        },
        problem=problem,
    )


def _names(visit: Visit) -> list[str]:
    return visit.texts("device")


def hold(visit: Visit) -> Outcome:
    try:
        selected.hold(visit.scope, visit.node, _names(visit), visit.text("reason"), hold_until(visit))
    except Refused as error:
        return _show(visit, _names(visit), error)
    return Go("/devices?filter=held", "many-held")


def release(visit: Visit) -> Outcome:
    try:
        selected.release(visit.scope, visit.node, _names(visit))
    except Refused as error:
        return _show(visit, _names(visit), error)
    return Go("/devices", "many-released")


def tag(visit: Visit) -> Outcome:
    try:
        put = dict(_pair(word) for word in visit.text("put").split())
        selected.tag(visit.scope, visit.node, _names(visit), put, visit.text("remove").split())
    except Refused as error:
        return _show(visit, _names(visit), error)
    return Go("/devices", "many-tagged")


def _pair(word: str) -> tuple[str, str]:
    key, separator, value = word.partition("=")
    if not (key and separator and value):
        raise wrong("put", f"{word[:64]} must be key=value")
    return key, value


def group(visit: Visit) -> Outcome:
    try:
        if not visit.text("group"):
            raise wrong("group", "must be one of the static groups")
        groups.add(visit.scope, visit.node, visit.text("group"), _names(visit))
    except Refused as error:
        return _show(visit, _names(visit), error)
    return Go("/devices", "many-grouped")


PAGES = (
    Page("GET", "/selected-devices", "devices.read", shown, nav="devices"),
    Page("POST", "/selected-devices/hold", "devices.write", hold, nav="devices"),
    Page("POST", "/selected-devices/release", "devices.write", release, nav="devices"),
    Page("POST", "/selected-devices/tag", "devices.write", tag, nav="devices"),
    Page("POST", "/selected-devices/group", "groups.write", group, nav="devices"),
)
