"""Sessions: one's own and, for who administers people in all fleets, everybody's."""

from __future__ import annotations

from tidegate.control.console.people_words import browser
from tidegate.control.console.views import Slice
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit
from tidegate.control.services import operator_sessions, sessions
from tidegate.errors import Refused, TidegateError

SIZE = 50


def listed(visit: Visit) -> Outcome:
    return _page(visit)


def _page(visit: Visit, problem: TidegateError | None = None) -> Show:
    identity = visit.session.identity
    everybody = "users.manage" in visit.scope.everywhere
    asked, offset = visit.ask("q").strip()[:64], visit.offset()
    own = sessions.list_sessions(visit.node, identity)
    found = (
        operator_sessions.list_all(visit.scope, visit.node, operator=asked, limit=SIZE, offset=offset)
        if everybody
        else None
    )
    rows = [(one.record, one.operator, browser(one.record.user_agent)) for one in found.items] if found else []
    context = {
        "own": [(record, browser(record.user_agent)) for record in own],
        "everybody": everybody,
        "rows": rows,
        "search": asked,
        "slice": Slice(offset, len(rows), found.total if found else 0, SIZE, [("q", asked)]),
        "current": identity.session,
    }
    return Show("sessions.html", "Sessions", context, problem=problem)


def end_own(visit: Visit) -> Outcome:
    sessions.end_session(visit.node, visit.session.identity, visit.params["session"])
    return Go("/sessions", "session-ended")


def end_others(visit: Visit) -> Outcome:
    sessions.end_other_sessions(visit.node, visit.session.identity)
    return Go("/sessions", "sessions-ended")


def end_anybodys(visit: Visit) -> Outcome:
    try:
        operator_sessions.end(visit.scope, visit.node, visit.params["session"])
    except Refused as error:
        return _page(visit, error)
    return Go("/sessions", "session-ended")


PAGES = (
    Page("GET", "/sessions", "", listed, nav="sessions"),
    Page("POST", "/sessions/others/end", "", end_others, nav="sessions"),
    Page("POST", "/sessions/{session}/end", "", end_own, nav="sessions"),
    Page("POST", "/operator-sessions/{session}/end", "users.manage", end_anybodys, nav="sessions"),
)
