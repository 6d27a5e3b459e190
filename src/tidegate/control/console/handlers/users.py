"""Users: the list, a new one, and the page of one operator."""

from __future__ import annotations

from tidegate.control.console.people_words import browser, where
from tidegate.control.console.views import Slice
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit, typed, wrong
from tidegate.control.services import api_keys, operator_sessions, people, roles, second_factor
from tidegate.control.services.people import ANY, NamedGrant, OperatorDetail
from tidegate.errors import Refused, TidegateError
from tidegate.wire.operator.people import NewOperator

SIZE = 50
#: Empty rows below the roles that somebody has: giving one needs no script.
SPARE = 2
MOST_SESSIONS = 50


def listed(visit: Visit) -> Outcome:
    text, offset = visit.ask("q").strip()[:64], visit.offset()
    page = people.list_operators(visit.scope, visit.node, text=text, limit=SIZE, offset=offset)
    context = {
        "users": page.items,
        "search": text,
        "slice": Slice(offset, len(page.items), page.total, SIZE, [("q", text)]),
        "everywhere": _everywhere(visit),
        "where": where,
    }
    return Show("users.html", "Users", context)


def _everywhere(visit: Visit) -> bool:
    return "users.manage" in visit.scope.everywhere


def _rows(visit: Visit, given: list[NamedGrant]) -> list[NamedGrant]:
    return [*given, *[NamedGrant("", visit.scope.fleet)] * SPARE]


def _choices(visit: Visit) -> dict[str, object]:
    names = roles.names(visit.scope, visit.node)
    places = [(ANY, "every fleet"), *((name, name) for name in visit.fleets)]
    if not _everywhere(visit):
        places = [(visit.scope.fleet, visit.scope.fleet)]
    return {"roles": [("", "no role"), *((name, name) for name in names)], "places": places, "where": where}


def _grants(visit: Visit) -> list[NamedGrant]:
    """The rows of the form that name a role."""
    chosen, places = visit.texts("role"), visit.texts("fleet")
    if len(chosen) != len(places):
        raise wrong("roles", "must be a role and a fleet each")
    return [NamedGrant(role, place) for role, place in zip(chosen, places, strict=True) if role]


def new(visit: Visit) -> Outcome:
    return _new(visit, "", [])


def _new(visit: Visit, name: str, given: list[NamedGrant], problem: TidegateError | None = None) -> Show:
    context = {"name": name, "rows": _rows(visit, given), "everywhere": _everywhere(visit), **_choices(visit)}
    return Show("user_new.html", "New user", context, problem=problem)


def create(visit: Visit) -> Outcome:
    """The answer shows the password, this once; it is in no address and no cache."""
    name, given = visit.text("name"), []
    try:
        given = _grants(visit)
        body = typed({"name": name}, NewOperator)
        detail, password = people.create_operator(visit.scope, visit.node, name=body.name, roles=given, password=None)
    except Refused as error:
        return _new(visit, name, given, error)
    return _page(visit, detail, password=password or "")


def shown(visit: Visit) -> Outcome:
    return _page(visit, _user(visit))


def _user(visit: Visit) -> OperatorDetail:
    return people.get_operator(visit.scope, visit.node, visit.params["name"])


def _page(visit: Visit, user: OperatorDetail, problem: TidegateError | None = None, *, password: str = "") -> Show:
    scope, node, name = visit.scope, visit.node, user.operator.name
    everywhere = _everywhere(visit)
    seen = operator_sessions.list_all(scope, node, operator=name, limit=MOST_SESSIONS) if everywhere else None
    rows = [role for role in user.roles if everywhere or role.fleet != ANY]
    context = {
        "user": user,
        "password": password,
        "factor": second_factor.standing_of(scope, node, name),
        "rows": _rows(visit, rows),
        "kept": [role for role in user.roles if role not in rows],
        "sessions": [(one.record, browser(one.record.user_agent)) for one in seen.items] if seen else [],
        "session_total": seen.total if seen else 0,
        "keys": api_keys.count_made_by(scope, node, name) if everywhere else 0,
        "everywhere": everywhere,
        "oneself": name == scope.person,
        **_choices(visit),
    }
    return Show("user.html", name, context, problem=problem)


def set_roles(visit: Visit) -> Outcome:
    user = _user(visit)
    try:
        people.set_roles(visit.scope, visit.node, user.operator.name, _grants(visit))
    except Refused as error:
        return _page(visit, user, error)
    return Go(f"/users/{user.operator.name}", "roles-set")


def disable(visit: Visit) -> Outcome:
    user = _user(visit)
    try:
        people.disable_operator(visit.scope, visit.node, user.operator.name)
    except Refused as error:
        return _page(visit, user, error)
    return Go(f"/users/{user.operator.name}", "user-disabled")


def enable(visit: Visit) -> Outcome:
    user = _user(visit)
    try:
        people.enable_operator(visit.scope, visit.node, user.operator.name)
    except Refused as error:
        return _page(visit, user, error)
    return Go(f"/users/{user.operator.name}", "user-enabled")


def reset_password(visit: Visit) -> Outcome:
    """The answer shows the password, this once; it is in no address and no cache."""
    user = _user(visit)
    try:
        password = people.reset_password(visit.scope, visit.node, user.operator.name)
    except Refused as error:
        return _page(visit, user, error)
    return _page(visit, user, password=password)


def end_sessions(visit: Visit) -> Outcome:
    user = _user(visit)
    try:
        operator_sessions.end_all_of(visit.scope, visit.node, user.operator.name)
    except Refused as error:
        return _page(visit, user, error)
    return Go(f"/users/{user.operator.name}", "sessions-ended")


PAGES = (
    Page("GET", "/users", "users.manage", listed, nav="users"),
    Page("GET", "/new-user", "users.manage", new, nav="users"),
    Page("POST", "/new-user", "users.manage", create, nav="users"),
    Page("GET", "/users/{name}", "users.manage", shown, nav="users"),
    Page("POST", "/users/{name}/roles", "users.manage", set_roles, nav="users"),
    Page("POST", "/users/{name}/disable", "users.manage", disable, nav="users"),
    Page("POST", "/users/{name}/enable", "users.manage", enable, nav="users"),
    Page("POST", "/users/{name}/password", "users.manage", reset_password, nav="users"),
    Page("POST", "/users/{name}/end-sessions", "users.manage", end_sessions, nav="users"),
)
