"""Devices: the list with search and filters."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlencode

from tidegate.control.console.views import Chip, Slice, caret, device_states, device_why
from tidegate.control.console.visit import Outcome, Page, Show, Visit
from tidegate.control.services import devices, groups
from tidegate.control.services.devices import Search
from tidegate.control.store.device_list import Counts
from tidegate.errors import Invalid, NotFound, TidegateError

SIZE = 50


def _search(visit: Visit) -> tuple[Search, str]:
    """What is asked for, and which filter that is."""
    text, group = visit.ask("q").strip(), visit.ask("group")
    which = visit.ask("filter")
    tags = {}
    if "=" in text:
        # `site=plant-8` looks for the tag; anything else is a part of the name.
        key, _, value = text.partition("=")
        tags, text = {key.strip(): value.strip()}, ""
    known = {
        "online": Search(text=text, presence="online"),
        "offline": Search(text=text, presence="offline"),
        "never": Search(text=text, presence="never"),
        "held": Search(text=text, held=True),
        "drifted": Search(text=text, drifted=True),
        "identity-conflict": Search(text=text, conflict=True),
        "decommissioned": Search(state="decommissioned", text=text),
    }
    chosen = known.get(which, Search(text=text))
    search = replace(
        chosen,
        group=group or None,
        selector=visit.ask("selector").strip(),
        tags=tags,
        artifact=visit.ask("artifact") or None,
        version=visit.ask("version") or None,
    )
    return search, which if which in known else ""


def _chips(visit: Visit, counts: Counts, which: str) -> list[Chip]:
    kept = [(name, visit.ask(name)) for name in ("q", "selector", "group", "artifact", "version") if visit.ask(name)]
    rows = (
        ("", "All", counts.total, ""),
        ("online", "online", counts.online, "online"),
        ("offline", "offline", counts.offline, "offline"),
        ("never", "not seen yet", counts.never, "never"),
        ("held", "held", counts.held, "held"),
        ("drifted", "drifted", counts.drifted, "drifted"),
        ("identity-conflict", "identity-conflict", counts.conflict, "identity-conflict"),
        ("decommissioned", "decommissioned", counts.decommissioned, "decommissioned"),
    )
    return [
        Chip(
            f"{label} {count:,}",
            "/devices?" + urlencode([*kept, *([("filter", key)] if key else [])]),
            key == which,
            state,
        )
        for key, label, count, state in rows
        if count or key == which or not key
    ]


def listed(visit: Visit) -> Outcome:
    """A search that cannot be understood says so and shows every device instead."""
    search, which = _search(visit)
    problem: TidegateError | None = None
    offset = visit.offset()
    try:
        page = devices.listed(visit.scope, visit.node, search, limit=SIZE, offset=offset)
    except (Invalid, NotFound) as error:
        problem, offset = error, 0
        page = devices.listed(visit.scope, visit.node, Search(), limit=SIZE)
    counts = devices.counts(visit.scope, visit.node)
    asked = [(name, visit.ask(name)) for name in ("q", "selector", "group", "artifact", "version", "filter")]
    return Show(
        "devices.html",
        "Devices",
        {
            "counts": counts,
            "may_act": visit.scope.allows("devices.write") or visit.scope.allows("groups.write"),
            "rows": [(view, device_states(view), device_why(view, visit.now)) for view in page.items],
            "slice": Slice(offset, len(page.items), page.total, SIZE, asked),
            "chips": _chips(visit, counts, which),
            "groups": groups.names(visit.scope, visit.node),
            "asked": dict(asked),
            "caret": caret(visit.ask("selector").strip()),
        },
        problem=problem,
    )


PAGES = (Page("GET", "/devices", "devices.read", listed, nav="devices", live=True, presence=True),)
