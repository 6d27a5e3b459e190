"""Add device: mint an enrollment token, print the installer command, wait for the device."""

from __future__ import annotations

from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit, wrong
from tidegate.control.services import groups, installer, tokens
from tidegate.control.services.tokens import Minted, TokenTerms, TokenView
from tidegate.errors import FieldError, Invalid, Refused, TidegateError
from tidegate.ids import TokenId

EXPIRIES = ((3_600, "1 h"), (28_800, "8 h"), (86_400, "1 d"), (604_800, "7 d"), (2_592_000, "30 d"))
MOST = 200


def shown(visit: Visit) -> Outcome:
    typed = {
        "expires": "3600",
        "uses": "1",
        "device_name": visit.ask("name"),
        "may_replace": bool(visit.ask("recover")),
        "tags": "",
        "groups": [],
    }
    token = visit.ask("token")
    known = token.isascii() and token.isdigit() and len(token) < 18
    watched = tokens.get(visit.scope, visit.node, TokenId(int(token))) if known else None
    return _page(visit, typed, watched=watched)


def _page(
    visit: Visit,
    typed: dict[str, object],
    *,
    problem: TidegateError | None = None,
    minted: Minted | None = None,
    watched: TokenView | None = None,
) -> Show:
    scope, node = visit.scope, visit.node
    listed = tokens.listed(scope, node, live=True, limit=MOST)
    view = minted.view if minted else watched
    return Show(
        "add_device.html",
        "Add device",
        {
            "typed": typed,
            "expiries": EXPIRIES,
            "groups": groups.names(scope, node, static_only=True),
            "minted": minted,
            "watched": view,
            "command": _in_lines(installer.command(scope, node, minted.view.device_name).text) if minted else "",
            "tokens": listed.items,
            "total": listed.total,
        },
        problem=problem,
        live_at=f"/add-device?token={view.id}" if view else "",
    )


def _in_lines(command: str) -> str:
    """The same command over several lines: a shell joins them again."""
    return command.replace(" && ", " \\\n  && ").replace(" --", " \\\n     --")


def _tags(text: str) -> dict[str, str]:
    """``site=plant-8 line=press`` as tags.

    Raises:
        Invalid: a part without ``=``, or a key given twice.
    """
    tags: dict[str, str] = {}
    for part in text.split():
        key, separator, value = part.partition("=")
        if not separator or key in tags:
            rule = f"{part} must be key=value" if not separator else f"{key} is given twice"
            raise Invalid(f"cannot accept the tags: {rule}", (FieldError("/tags", rule),))
        tags[key] = value
    return tags


def mint(visit: Visit) -> Outcome:
    """The answer shows the secret, this once; it is in no address and no cache."""
    typed = {
        "expires": visit.text("expires", "3600"),
        "uses": visit.text("uses", "1"),
        "device_name": visit.text("device_name"),
        "may_replace": visit.ticked("may_replace"),
        "tags": visit.text("tags"),
        "groups": [name for name in visit.texts("groups") if name],
    }
    try:
        uses = visit.text("uses", "1")
        if not (uses.isascii() and uses.isdigit() and len(uses) < 9):
            raise wrong("uses", "must be a whole number")
        expires = visit.text("expires", "3600")
        if expires not in {str(seconds) for seconds, _ in EXPIRIES}:
            raise wrong("expires", "must be one of the choices")
        terms = TokenTerms(
            device_name=visit.text("device_name") or None,
            expires_in_seconds=int(expires),
            uses=int(uses),
            may_replace=visit.ticked("may_replace") or None,
            tags=_tags(visit.text("tags")),
            groups=[name for name in visit.texts("groups") if name],
        )
        minted = tokens.mint(visit.scope, visit.node, terms)
    except Refused as error:
        return _page(visit, typed, problem=error)
    return _page(visit, typed, minted=minted)


def revoke(visit: Visit) -> Outcome:
    tokens.revoke(visit.scope, visit.node, TokenId(visit.integer("token")))
    return Go("/add-device", "revoked")


PAGES = (
    Page("GET", "/add-device", "tokens.write", shown, nav="devices", live=True),
    Page("POST", "/add-device", "tokens.write", mint, nav="devices"),
    Page("POST", "/tokens/{token}/revoke", "tokens.write", revoke, nav="devices"),
)
