"""What the audit log holds, in words: an act's data as names and values, and what was done to a rollout."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from tidegate.control.console import words

#: As much of one value as a list shows; the record's canonical form has the rest.
VALUE_MAX = 160
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_DONE = {
    "rollout.create": "Created",
    "rollout.approve": "Approved",
    "rollout.resume": "Resumed",
    "rollout.halt": "Halted",
    "rollout.abort": "Aborted",
    "rollout.complete": "Completed",
}
#: What the planner did by itself, with the wave that it did it to.
_OF_A_WAVE = {"rollout.release": "released", "rollout.soak": "complete, soaking"}


def told(data: str) -> list[tuple[str, str]]:
    """The names and values of a record's data, in its order."""
    return [(name, words.shortened(_said(value), VALUE_MAX)) for name, value in json.loads(data).items()]


def _said(value: object) -> str:
    """One value as people read it; words that are the API's stay as they are."""
    match value:
        case None | "":
            return "none"
        case bool():
            return "true" if value else "false"
        case int():
            return words.number(value)
        case str() if _INSTANT.fullmatch(value):
            return words.stamp(datetime.fromisoformat(value).astimezone(UTC))
        case dict():
            return ", ".join(f"{name} {_said(one)}" for name, one in value.items()) or "none"
        case list():
            return ", ".join(_said(one) for one in value) or "none"
    return str(value)


def done(kind: str, data: Mapping[str, object]) -> str:
    """An act on a rollout, as its timeline says it; what is not known here stays the action's own name."""
    wave = data.get("wave")
    if kind in _OF_A_WAVE and isinstance(wave, int):
        count = data.get("devices")
        size = f" to {words.plural(count, 'device')}" if kind == "rollout.release" and isinstance(count, int) else ""
        return f"Wave {wave} {_OF_A_WAVE[kind]}{size}"
    if kind == "rollout.wait":
        return "waiting_for_approval"
    if kind == "rollout.abort" and data.get("policy"):
        return f"Aborted with {data['policy']}"
    return _DONE.get(kind, kind)
