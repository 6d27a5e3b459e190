"""Settings in the operator API."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from tidegate.wire.operator.common import OperatorRequest


class FleetSettings(OperatorRequest, frozen=True, kw_only=True):
    """What a fleet sets for itself; a PUT replaces all of it.

    Without `default_strategy`, a rollout that names no strategy has one wave to all; without `device_events_days` the
    node's settings count.
    """

    interval_seconds: Annotated[int, Meta(ge=1, le=3600, description="How often its devices report.")]
    four_eyes: Annotated[
        bool, Meta(description="Approve and resume need another person than the one who created the rollout.")
    ] = False
    default_strategy: Annotated[
        dict[str, Any] | None, Meta(description="The strategy of rollouts that name none, as rollouts take it.")
    ] = None
    device_events_days: Annotated[
        Annotated[int, Meta(ge=1, le=3650)] | None, Meta(description="How long the history of its devices is kept.")
    ] = None


class NodeSetting(Struct, frozen=True):
    """`given`: the settings file says it; else it is the default. No value is a secret."""

    name: str
    value: str
    given: bool
    meaning: str


class NodeSettings(Struct, frozen=True):
    items: tuple[NodeSetting, ...]
    total: int
    next_cursor: str | None = None
