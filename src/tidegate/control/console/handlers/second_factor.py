"""One's own second factor on the account page, and its removal on a user's page."""

from __future__ import annotations

from tidegate.control.console.handlers import account
from tidegate.control.console.visit import Go, Outcome, Page, Visit
from tidegate.control.services import second_factor
from tidegate.errors import FieldError, Invalid, Refused


def _of_this_form(error: Refused) -> Refused:
    """The page has another form with a field `password`; this one's is named apart."""
    if not isinstance(error, Invalid):
        return error
    fields = (FieldError("/totp_password", one.detail) if one.pointer == "/password" else one for one in error.errors)
    return Invalid(error.detail, tuple(fields), type=error.type)


def begin(visit: Visit) -> Outcome:
    try:
        second_factor.begin(visit.node, visit.session.identity, visit.secret("totp_password"))
    except Refused as error:
        return account.page(visit, _of_this_form(error))
    return Go("/account#second-factor")


def confirm(visit: Visit) -> Outcome:
    """The answer shows the recovery codes, this once; they are in no address and no cache."""
    try:
        codes = second_factor.confirm(visit.node, visit.session.identity, visit.text("code"))
    except Refused as error:
        return account.page(visit, _of_this_form(error))
    return account.page(visit, codes=codes)


def renew(visit: Visit) -> Outcome:
    try:
        codes = second_factor.renew_recovery_codes(
            visit.node, visit.session.identity, visit.secret("totp_password"), visit.text("code")
        )
    except Refused as error:
        return account.page(visit, _of_this_form(error))
    return account.page(visit, codes=codes)


def remove(visit: Visit) -> Outcome:
    try:
        second_factor.remove(visit.node, visit.session.identity, visit.secret("totp_password"), visit.text("code"))
    except Refused as error:
        return account.page(visit, _of_this_form(error))
    return Go("/account", "second-factor-removed")


def remove_of(visit: Visit) -> Outcome:
    second_factor.remove_of(visit.scope, visit.node, visit.params["name"])
    return Go(f"/users/{visit.params['name']}", "second-factor-removed")


PAGES = (
    Page("POST", "/account/second-factor", "", begin, nav="account"),
    Page("POST", "/account/second-factor/confirm", "", confirm, nav="account"),
    Page("POST", "/account/second-factor/recovery-codes", "", renew, nav="account"),
    Page("POST", "/account/second-factor/remove", "", remove, nav="account"),
    Page("POST", "/users/{name}/second-factor/remove", "users.manage", remove_of, nav="users"),
)
