"""Groups: the list, and making one, with what a selector matches shown before anything is made."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from tidegate.control.console.views import Slice, caret
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit
from tidegate.control.services import groups, selection
from tidegate.control.services.selection import Selection
from tidegate.errors import Refused, TidegateError

SIZE = 50
_NAMES = re.compile(r"[\s,;]+")
KINDS = (("selector", "by a selector: computed, it follows facts and tags"), ("static", "static: the devices I name"))


@dataclass(frozen=True, slots=True)
class Typed:
    """The form as a person left it."""

    name: str = ""
    kind: str = "selector"
    selector: str = ""
    devices: str = ""
    device: str = ""


def listed(visit: Visit) -> Outcome:
    search, offset = visit.ask("q").strip()[:128], visit.offset()
    page = groups.listed(visit.scope, visit.node, search=search, limit=SIZE, offset=offset)
    return Show(
        "groups.html",
        "Groups",
        {
            "items": page.items,
            "search": search,
            "slice": Slice(offset, len(page.items), page.total, SIZE, [("q", search)]),
        },
    )


def names_in(text: str) -> list[str]:
    """Device names, however they are separated."""
    return [name for name in _NAMES.split(text) if name]


def previewed(visit: Visit, selector: str, device: str) -> tuple[Selection | None, TidegateError | None]:
    """What the selector matches, or why it cannot be said; neither while it is empty."""
    if not selector:
        return None, None
    try:
        return selection.preview(visit.scope, visit.node, selector, device=device), None
    except Refused as error:
        return None, error


def begin(visit: Visit) -> Outcome:
    """The form; the address may bring a selector, as the Devices page does."""
    typed = Typed(kind=visit.ask("kind") or "selector", selector=visit.ask("selector").strip())
    return _form(visit, typed)


def _read(visit: Visit) -> Typed:
    return Typed(*(visit.text(name) for name in Typed.__dataclass_fields__))


def again(visit: Visit) -> Outcome:
    return _form(visit, _read(visit))


def create(visit: Visit) -> Outcome:
    typed = _read(visit)
    by_selector = typed.kind == "selector"
    names = [] if by_selector else names_in(typed.devices)
    try:
        made = groups.create(visit.scope, visit.node, typed.name, names, typed.selector if by_selector else None)
    except Refused as error:
        return _form(visit, typed, error)
    if made.unknown:
        return _unknown(visit, made)
    return Go(f"/groups/{quote(made.group.name)}", "group-created")


def _unknown(visit: Visit, made: groups.Membership) -> Show:
    """It is made; who was not found is told on a page of its own, as no address should carry names."""
    return Show("group_names.html", made.group.name, {"made": made, "shown": made.unknown[:100], "verb": "added"})


def _form(visit: Visit, typed: Typed, problem: TidegateError | None = None) -> Show:
    found, trouble = previewed(visit, typed.selector, typed.device) if typed.kind == "selector" else (None, None)
    return Show(
        "group_new.html",
        "New group",
        {"typed": typed, "kinds": KINDS, "found": found, "caret": caret(typed.selector)},
        problem=problem or trouble,
    )


PAGES = (
    Page("GET", "/groups", "groups.read", listed, nav="groups"),
    Page("GET", "/new-group", "groups.write", begin, nav="groups"),
    Page("POST", "/new-group", "groups.write", create, nav="groups"),
    Page("POST", "/new-group/preview", "groups.write", again, nav="groups"),
)
