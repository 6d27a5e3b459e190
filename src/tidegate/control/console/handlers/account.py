"""One's own account: roles, password, theme, sessions."""

from __future__ import annotations

from tidegate.control.console import qr
from tidegate.control.console.people_words import browser, where
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit, wrong
from tidegate.control.services import people, second_factor, sessions
from tidegate.errors import Refused, TidegateError


def shown(visit: Visit) -> Outcome:
    return page(visit)


def page(visit: Visit, problem: TidegateError | None = None, *, codes: tuple[str, ...] = ()) -> Show:
    """`codes`: recovery codes that were made just now."""
    enrolment = second_factor.pending_own(visit.node, visit.session.identity)
    identity = visit.session.identity
    return Show(
        "account.html",
        "Account",
        {
            "roles": people.roles_of(visit.node, identity),
            "own": [(one, browser(one.user_agent)) for one in sessions.list_sessions(visit.node, identity)],
            "where": where,
            "current": identity.session,
            "factor": second_factor.standing(visit.node, identity),
            "enrolment": enrolment,
            "picture": None if enrolment is None else qr.svg(enrolment.uri),
            "codes": codes,
        },
        problem=problem,
    )


def change_password(visit: Visit) -> Outcome:
    identity = visit.session.identity
    try:
        password = visit.secret("password")
        if password != visit.secret("again"):
            raise wrong("again", "must be the same as the new password")
        people.change_own_password(
            visit.scope, visit.node, identity.operator_id, current=visit.secret("current"), password=password,
            keep_session=identity.session or "",
        )  # fmt: skip
    except Refused as error:
        return page(visit, error)
    return Go("/account", "password-changed")


PAGES = (
    Page("GET", "/account", "", shown, nav="account", secret=True),  # of a second factor that is being set up
    Page("POST", "/account/password", "", change_password, nav="account"),
)
