"""Users: the list, and the page of one operator."""

from __future__ import annotations

from tidegate.control.console.views import Slice
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit
from tidegate.control.services import people, second_factor
from tidegate.errors import TidegateError

SIZE = 50


def listed(visit: Visit) -> Outcome:
    offset = visit.offset()
    page = people.list_operators(visit.scope, visit.node, limit=SIZE, offset=offset)
    return Show(
        "users.html", "Users",
        {"users": page.items, "slice": Slice(offset, len(page.items), page.total, SIZE)},
    )  # fmt: skip


def shown(visit: Visit) -> Outcome:
    return _page(visit)


def _page(visit: Visit, problem: TidegateError | None = None, password: str = "") -> Show:
    user = people.get_operator(visit.scope, visit.node, visit.params["name"])
    factor = second_factor.standing_of(visit.scope, visit.node, user.operator.name)
    return Show(
        "user.html", user.operator.name, {"user": user, "password": password, "factor": factor}, problem=problem
    )  # fmt: skip


def disable(visit: Visit) -> Outcome:
    people.disable_operator(visit.scope, visit.node, visit.params["name"])
    return Go(f"/users/{visit.params['name']}", "user-disabled")


def enable(visit: Visit) -> Outcome:
    people.enable_operator(visit.scope, visit.node, visit.params["name"])
    return Go(f"/users/{visit.params['name']}", "user-enabled")


def reset_password(visit: Visit) -> Outcome:
    """The answer shows the password, this once; it is in no address and no cache."""
    return _page(visit, password=people.reset_password(visit.scope, visit.node, visit.params["name"]))


PAGES = (
    Page("GET", "/users", "users.manage", listed, nav="users"),
    Page("GET", "/users/{name}", "users.manage", shown, nav="users"),
    Page("POST", "/users/{name}/disable", "users.manage", disable, nav="users"),
    Page("POST", "/users/{name}/enable", "users.manage", enable, nav="users"),
    Page("POST", "/users/{name}/password", "users.manage", reset_password, nav="users"),
)
