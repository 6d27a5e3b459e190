"""Settings: what this fleet sets for itself, and what the node's settings file says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tidegate.control.console import words
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit, wrong
from tidegate.control.services import fleet_settings
from tidegate.control.services.fleet_settings import STRATEGY_MAX, Setting
from tidegate.errors import Refused, TidegateError

#: What settings are about, by how their names begin; the last takes every other.
SUBJECTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Addresses", ("console_", "device_bind", "channel_", "metrics_", "enroll_")),
    ("Devices", ("trust_domain", "interval_", "certificate_", "renewal_", "max_held")),
    ("Storage", ("data_dir", "database_", "blob_", "upload_", "disk_", "seal_key")),
    ("People", ("four_eyes", "totp_", "oidc", "session")),
    ("Keeping", ("device_events_", "idempotency_", "old_metadata_", "log_bundles_")),
    ("Log", ("log_",)),
    ("Others", ("",)),
)


@dataclass(frozen=True, slots=True)
class OfNode:
    """The node's settings by subject; `given`: how many its file sets."""

    subjects: tuple[tuple[str, tuple[Setting, ...]], ...]
    given: int


def of_node(settings: Sequence[Setting]) -> OfNode:
    """Each under the first subject whose beginning it has, in their own order; sizes and large numbers for people."""
    found: dict[str, list[Setting]] = {subject: [] for subject, _ in SUBJECTS}
    for one in settings:
        subject = next(subject for subject, begins in SUBJECTS if one.name.startswith(begins))
        found[subject].append(replace(one, value=_readable(one)))
    subjects = tuple((subject, tuple(lines)) for subject, lines in found.items() if lines)
    return OfNode(subjects, sum(one.given for one in settings))


def _readable(one: Setting) -> str:
    if not (one.value.isascii() and one.value.isdigit()):
        return one.value
    return words.file_size(int(one.value)) if one.name.endswith("_bytes") else words.number(int(one.value))


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
        "in_force": found,
        "of_node": of_node(fleet_settings.of_node(visit.scope, visit.node)) if everywhere else None,
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
