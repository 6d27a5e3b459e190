"""A selector's tree against one device: pure, the same on the node and on the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.versions import sort_key
from tidegate.wire.device import HardwareProfile
from tidegate.wire.selector.columns import HARDWARE, ORDER
from tidegate.wire.selector.parse import parse
from tidegate.wire.selector.tree import (
    All,
    Compare,
    Contains,
    Expression,
    Leaf,
    Not,
    OneOf,
    Some,
    Value,
    leaves,
    written,
)

#: Reasons that an answer gives.
MOST_REASONS = 10
_SHOWN_MAX = 64


@dataclass(frozen=True, slots=True)
class Subject:
    """What a selector judges."""

    hardware: HardwareProfile
    tags: Mapping[str, str] = field(default_factory=dict)
    declared: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    agent_version: str = ""


def matches(expression: Expression, subject: Subject) -> bool:
    match expression:
        case All(of=parts):
            return all(matches(part, subject) for part in parts)
        case Some(of=parts):
            return any(matches(part, subject) for part in parts)
        case Not(of=part):
            return not matches(part, subject)
        case Contains(name=name, value=value):
            return value in getattr(subject.hardware, name)
        case OneOf(name=name, values=values, negated=negated):
            known = _fact(name, subject)
            return known is not None and (known in values) is not negated
        case Compare():
            known = _fact(expression.name, subject)
            return known is not None and _holds(known, expression)


def unmet(text: str, hardware: HardwareProfile) -> str:
    """Why a device with this hardware does not meet `text`; empty when it does. An empty `text` asks for nothing.

    Raises:
        Invalid: `text` is no selector, or asks for something else than hardware.
    """
    if not text:
        return ""
    expression = parse(text, "/target_hardware", HARDWARE)
    subject = Subject(hardware)
    if matches(expression, subject):
        return ""
    names = sorted({leaf.name for leaf in leaves(expression)})
    return f"it needs {text}; the device has {', '.join(f'{name} {_shown(name, subject)}' for name in names)}"


def why_not(expression: Expression, subject: Subject) -> tuple[str, ...]:
    """What keeps a device from matching: the comparisons that fail, with what it has; empty when it matches."""
    return tuple(dict.fromkeys(_reasons(expression, subject)))[:MOST_REASONS]


def _reasons(expression: Expression, subject: Subject) -> list[str]:
    if matches(expression, subject):
        return []
    match expression:
        case All(of=parts) | Some(of=parts):
            return [reason for part in parts for reason in _reasons(part, subject)]
        case Not(of=part):
            return [f"{written(expression)}: the device has {_told(part, subject)}"]
        case _:
            return [f"{written(expression)}: the device has {_told(expression, subject)}"]


def _told(expression: Expression, subject: Subject) -> str:
    named: dict[str, Leaf] = {leaf.name: leaf for leaf in leaves(expression)}
    return ", ".join(f"{name} {_shown(name, subject)}" for name in named)


def _fact(name: str, subject: Subject) -> Value | None:
    """What the device has; None where it is not known."""
    prefix, dot, key = name.partition(".")
    if dot:
        return (subject.tags if prefix == "tags" else subject.declared).get(key)
    value: Value = getattr(subject if name in ("name", "agent_version") else subject.hardware, name)
    return value or None


def _shown(name: str, subject: Subject) -> str:
    if HARDWARE.get(name) == "set":
        return ", ".join(getattr(subject.hardware, name)) or "none"
    known = _fact(name, subject)
    if known is None:
        return "not set" if "." in name else "unknown"
    text = str(known)
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"


def _holds(known: Value, asked: Compare) -> bool:
    operator = asked.operator
    if operator == "==":
        return known == asked.value
    if operator == "!=":
        return known != asked.value
    if operator == "startswith":
        return str(known).startswith(str(asked.value))
    assert operator in ORDER
    left, right = _ordered(known), _ordered(asked.value)
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]


def _ordered(value: Value) -> tuple[int, bytes]:
    """Numbers by value, texts as versions; a column is always one of the two."""
    return (value, b"") if isinstance(value, int) else (0, sort_key(value))
