"""What a fleet sets for itself, and what the node's settings file says (SPEC section 12)."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from tidegate.control.domain.access import Scope
from tidegate.control.domain.fleets import FleetSettings
from tidegate.control.domain.rollouts.strategy import describe, parse_strategy
from tidegate.control.services import audit
from tidegate.control.services.fleets import INTERVAL
from tidegate.control.services.node import Node
from tidegate.control.store import fleets as store
from tidegate.errors import FieldError, Invalid

EVENTS_DAYS = range(1, 3_651)
STRATEGY_MAX = 16_384


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the node: what is in force, and whether the settings file says it. No value is a secret."""

    name: str
    value: str
    given: bool
    meaning: str


def get(scope: Scope, node: Node) -> FleetSettings:
    """What the scope's fleet has set."""
    scope.require("settings.manage")
    with node.db.read() as tx:
        return store.settings(tx, scope.fleet_id)


def change(
    scope: Scope, node: Node, *, interval_seconds: int, four_eyes: bool, default_strategy: Mapping[str, object] | None,
    device_events_days: int | None,
) -> FleetSettings:  # fmt: skip
    """Replace what the fleet has set; the audit record tells what changed, before and after.

    Rollouts that were created under four eyes stay so.

    Raises:
        Invalid: a value breaks its rule.
    """
    scope.require("settings.manage")
    errors = []
    if interval_seconds not in INTERVAL:
        rule = f"must be {INTERVAL.start} to {INTERVAL.stop - 1} seconds"
        errors.append(FieldError("/interval_seconds", rule))
    if device_events_days is not None and device_events_days not in EVENTS_DAYS:
        rule = f"must be {EVENTS_DAYS.start} to {EVENTS_DAYS.stop - 1} days"
        errors.append(FieldError("/device_events_days", rule))
    strategy = None
    if default_strategy is not None:
        described = describe(parse_strategy(default_strategy, "/default_strategy"))
        strategy = json.dumps(described, sort_keys=True)
        if len(strategy) > STRATEGY_MAX:
            errors.append(FieldError("/default_strategy", f"must be at most {STRATEGY_MAX:,} characters"))
    if errors:
        raise Invalid(f"cannot set the fleet {scope.fleet}: {errors[0].detail}", tuple(errors))
    chosen = FleetSettings(interval_seconds, four_eyes, strategy, device_events_days)
    with node.db.write() as tx:
        before = store.settings(tx, scope.fleet_id, lock=True)
        if before == chosen:
            return chosen
        store.set_settings(tx, scope.fleet_id, chosen)
        now, was = asdict(chosen), asdict(before)
        changed = [name for name in now if now[name] != was[name]]
        data: dict[str, object] = {
            "before": {name: was[name] for name in changed},
            "after": {name: now[name] for name in changed},
        }
        audit.record(tx, scope, action="fleet.set", subject=f"fleet:{scope.fleet}", data=data)
    return chosen


def of_node(scope: Scope, node: Node) -> tuple[Setting, ...]:
    """The node's settings in force, in the order of the reference; only for who manages settings of all fleets."""
    scope.require_everywhere("settings.manage")
    return tuple(_lines("", node.settings))


def _lines(prefix: str, settings: msgspec.Struct) -> typing.Iterator[Setting]:
    hints = typing.get_type_hints(type(settings), include_extras=True)
    for field in msgspec.structs.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, msgspec.Struct):
            yield from _lines(f"{prefix}{field.name}.", value)
            continue
        meta = typing.get_args(hints[field.name])[1]
        given = field.required or value != field.default
        yield Setting(prefix + field.name, _shown(value), given, meta.description or "")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "; ".join(_shown(one) for one in value)
    if isinstance(value, msgspec.Struct):
        return " ".join(f"{name}={_shown(inner)}" for name, inner in msgspec.structs.asdict(value).items())
    return "" if value is None else str(value)
