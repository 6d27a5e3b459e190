"""Settings: what this fleet sets for itself, and what the node's settings file says."""

from __future__ import annotations

import json
from typing import Any

from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit, wrong
from tidegate.control.services import fleet_settings
from tidegate.control.services.fleet_settings import STRATEGY_MAX
from tidegate.errors import Refused, TidegateError


def shown(visit: Visit) -> Outcome:
    return _page(visit)


def _page(visit: Visit, problem: TidegateError | None = None, typed: dict[str, Any] | None = None) -> Show:
    found = fleet_settings.get(visit.scope, visit.node)
    strategy = found.default_strategy
    form = typed or {
        "interval_seconds": found.interval_seconds,
        "four_eyes": found.four_eyes,
        "default_strategy": json.dumps(json.loads(strategy), indent=1) if strategy is not None else "",
        "device_events_days": found.device_events_days or "",
    }
    everywhere = "settings.manage" in visit.scope.everywhere
    context = {
        "form": form,
        "settings": visit.node.settings,
        "of_node": fleet_settings.of_node(visit.scope, visit.node) if everywhere else None,
    }
    return Show("settings.html", "Settings", context, problem=problem)


def change(visit: Visit) -> Outcome:
    typed: dict[str, Any] = {
        "interval_seconds": visit.text("interval_seconds"),
        "four_eyes": visit.ticked("four_eyes"),
        "default_strategy": visit.text("default_strategy"),
        "device_events_days": visit.text("device_events_days"),
    }
    try:
        days = typed["device_events_days"]
        fleet_settings.change(
            visit.scope,
            visit.node,
            interval_seconds=_whole("interval_seconds", typed["interval_seconds"]),
            four_eyes=typed["four_eyes"],
            default_strategy=_strategy(typed["default_strategy"]),
            device_events_days=_whole("device_events_days", days) if days else None,
        )
    except Refused as error:
        return _page(visit, error, typed)
    return Go("/settings", "settings-changed")


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise wrong(name, "must be a whole number")
    return int(text)


def _strategy(text: str) -> dict[str, object] | None:
    if not text:
        return None
    if len(text) > STRATEGY_MAX:
        raise wrong("default_strategy", f"must be at most {STRATEGY_MAX:,} characters")
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise wrong("default_strategy", f"must be JSON: {str(error)[:200]}") from error
    if not isinstance(read, dict):
        raise wrong("default_strategy", 'must be an object, such as {"waves": [{"percent": 10}, {"percent": 100}]}')
    return read


PAGES = (
    Page("GET", "/settings", "settings.manage", shown, nav="settings"),
    Page("POST", "/settings", "settings.manage", change, nav="settings"),
)
