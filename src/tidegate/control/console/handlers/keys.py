"""API keys: the list, making one, revoking one."""

from __future__ import annotations

from tidegate.control.console.people_words import where
from tidegate.control.console.views import Slice
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit, wrong
from tidegate.control.console.visit import typed as as_struct
from tidegate.control.domain.access import EVERY_FLEET
from tidegate.control.domain.people import ApiKey
from tidegate.control.services import api_keys, roles
from tidegate.errors import Refused, TidegateError
from tidegate.ids import ApiKeyId
from tidegate.wire.operator.people import NewApiKey

SIZE = 50
EXPIRIES = (("30", "30 d"), ("90", "90 d"), ("365", "1 year"), ("", "never"))
#: Look and words of a key's state.
STATES = {"valid": "valid", "suspended": "held", "lapsed": "held", "expired": "expired", "revoked": "decommissioned"}


def listed(visit: Visit) -> Outcome:
    return _page(visit, {"name": "", "role": "viewer", "every_fleet": False, "expires": "90"})


def _page(
    visit: Visit,
    typed: dict[str, object],
    problem: TidegateError | None = None,
    *,
    made: tuple[ApiKey, str] | None = None,
) -> Show:
    offset = visit.offset()
    page = api_keys.list_api_keys(visit.scope, visit.node, limit=SIZE, offset=offset)
    rows = [
        (key, key.state(visit.now), where("*" if key.grant.fleet_id == EVERY_FLEET else visit.scope.fleet))
        for key in page.items
    ]
    context = {
        "rows": rows,
        "looks": STATES,
        "slice": Slice(offset, len(page.items), page.total, SIZE),
        "typed": typed,
        "expiries": EXPIRIES,
        "roles": [(name, name) for name in roles.names(visit.scope, visit.node)],
        "everywhere": "keys.manage" in visit.scope.everywhere,
        "made": made,
    }
    return Show("api_keys.html", "API keys", context, problem=problem)


def create(visit: Visit) -> Outcome:
    """The answer shows the secret, this once; it is in no address and no cache."""
    typed: dict[str, object] = {
        "name": visit.text("name"),
        "role": visit.text("role"),
        "every_fleet": visit.ticked("every_fleet"),
        "expires": visit.text("expires"),
    }
    try:
        expires = visit.text("expires")
        if expires not in dict(EXPIRIES):
            raise wrong("expires", "must be one of the choices")
        body = as_struct(
            {"name": visit.text("name"), "role": visit.text("role"), "every_fleet": visit.ticked("every_fleet")},
            NewApiKey,
        )
        made = api_keys.create_api_key(
            visit.scope, visit.node, name=body.name, role=body.role, every_fleet=body.every_fleet,
            expires_days=int(expires) if expires else None,
        )  # fmt: skip
    except Refused as error:
        return _page(visit, typed, error)
    return _page(visit, {"name": "", "role": "viewer", "every_fleet": False, "expires": "90"}, made=made)


def revoke(visit: Visit) -> Outcome:
    api_keys.revoke_api_key(visit.scope, visit.node, ApiKeyId(visit.integer("key")))
    return Go("/api-keys", "key-revoked")


PAGES = (
    Page("GET", "/api-keys", "keys.manage", listed, nav="keys"),
    Page("POST", "/api-keys", "keys.manage", create, nav="keys"),
    Page("POST", "/api-keys/{key}/revoke", "keys.manage", revoke, nav="keys"),
)
