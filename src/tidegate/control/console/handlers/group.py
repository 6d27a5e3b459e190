"""One group: who is in it, what was rolled out to it, its hold; changing and deleting it."""

from __future__ import annotations

from urllib.parse import quote

from tidegate.control.console.handlers.groups import names_in, previewed
from tidegate.control.console.holding import HOLD_HOURS, hold_until
from tidegate.control.console.views import Slice, caret, device_state
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit
from tidegate.control.domain.groups import Group
from tidegate.control.domain.rollouts.listing import RolloutFilter
from tidegate.control.services import devices, groups, holds, rollouts
from tidegate.control.services.devices import Search
from tidegate.control.services.holds import HeldGroup
from tidegate.errors import Refused, TidegateError

SIZE = 50
ROLLOUTS = 5


def shown(visit: Visit) -> Outcome:
    return _show(visit, visit.params["name"])


def _show(visit: Visit, name: str, problem: TidegateError | None = None) -> Show:
    scope, node = visit.scope, visit.node
    group = groups.get(scope, node, name)
    offset = visit.offset()
    page = devices.listed(scope, node, Search(group=name), limit=SIZE, offset=offset) if _may_list(visit) else None
    recent = RolloutFilter(group=name, limit=ROLLOUTS)
    return Show(
        "group.html",
        name,
        {
            "group": group,
            "uses": groups.uses(scope, node, name),
            "rows": [(view, device_state(view)) for view in page.items] if page else [],
            "slice": Slice(offset, len(page.items), page.total, SIZE) if page else None,
            "recent": rollouts.list_rollouts(scope, node, recent) if scope.allows("rollouts.read") else None,
            "hold_hours": HOLD_HOURS,
        },
        problem=problem,
    )


def _may_list(visit: Visit) -> bool:
    return visit.scope.allows("devices.read")


def edit(visit: Visit) -> Outcome:
    group = groups.get(visit.scope, visit.node, visit.params["name"])
    return _edit(visit, group, group.name, group.selector or "", "")


def edit_again(visit: Visit) -> Outcome:
    group = groups.get(visit.scope, visit.node, visit.params["name"])
    return _edit(visit, group, visit.text("name"), visit.text("selector"), visit.text("device"))


def _edit(
    visit: Visit, group: Group, name: str, selector: str, device: str, problem: TidegateError | None = None
) -> Show:
    found, trouble = previewed(visit, selector, device) if group.selector is not None else (None, None)
    typed = {"name": name, "selector": selector, "device": device}
    return Show(
        "group_edit.html",
        f"Change {group.name}",
        {"group": group, "typed": typed, "found": found, "caret": caret(selector)},
        problem=problem or trouble,
    )


def change(visit: Visit) -> Outcome:
    group = groups.get(visit.scope, visit.node, visit.params["name"])
    name, selector = visit.text("name"), visit.text("selector")
    try:
        after = groups.change(
            visit.scope,
            visit.node,
            group.name,
            new_name=name,
            selector=None if group.selector is None else selector,
        )
    except Refused as error:
        return _edit(visit, group, name, selector, visit.text("device"), error)
    return Go(f"/groups/{quote(after.name)}", "group-changed")


def members(visit: Visit) -> Outcome:
    """Devices in or out of a static group."""
    name, verb = visit.params["name"], visit.text("do")
    try:
        act = groups.add if verb == "add" else groups.remove
        made = act(visit.scope, visit.node, name, names_in(visit.text("devices")))
    except Refused as error:
        return _show(visit, name, error)
    if made.unknown:
        words = "added" if verb == "add" else "removed"
        return Show("group_names.html", name, {"made": made, "shown": made.unknown[:100], "verb": words})
    return Go(f"/groups/{quote(name)}", "group-changed")


def hold(visit: Visit) -> Outcome:
    name = visit.params["name"]
    try:
        holds.hold(visit.scope, visit.node, HeldGroup(name), visit.text("reason"), hold_until(visit))
    except Refused as error:
        return _show(visit, name, error)
    return Go(f"/groups/{quote(name)}", "group-held")


def release(visit: Visit) -> Outcome:
    name = visit.params["name"]
    try:
        holds.release(visit.scope, visit.node, HeldGroup(name))
    except Refused as error:
        return _show(visit, name, error)
    return Go(f"/groups/{quote(name)}", "released")


def delete(visit: Visit) -> Outcome:
    name = visit.params["name"]
    try:
        groups.delete(visit.scope, visit.node, name)
    except Refused as error:
        return _show(visit, name, error)
    return Go("/groups", "group-deleted")


PAGES = (
    Page("GET", "/groups/{name}", "groups.read", shown, nav="groups", live=True),
    Page("GET", "/groups/{name}/edit", "groups.write", edit, nav="groups"),
    Page("POST", "/groups/{name}/edit", "groups.write", change, nav="groups"),
    Page("POST", "/groups/{name}/edit/preview", "groups.write", edit_again, nav="groups"),
    Page("POST", "/groups/{name}/members", "groups.write", members, nav="groups"),
    Page("POST", "/groups/{name}/hold", "groups.write", hold, nav="groups"),
    Page("POST", "/groups/{name}/release", "groups.write", release, nav="groups"),
    Page("POST", "/groups/{name}/delete", "groups.write", delete, nav="groups"),
)
