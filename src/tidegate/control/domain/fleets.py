"""What a fleet is: tenant and trust domain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tidegate.ids import FleetId

DEFAULT_FLEET = "default"


@dataclass(frozen=True, slots=True)
class Fleet:
    """`frozen_reason`: the whole fleet is held while it is set and `frozen_until` (None: for good) has not come."""

    id: FleetId
    name: str
    interval_seconds: int
    frozen_reason: str | None
    frozen_until: datetime | None
    device_generation: int


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """What a fleet may set for itself. `four_eyes`: also true of every fleet where the node asks for it.

    `default_strategy` is JSON, for rollouts that name none; None: one wave to all. `device_events_days` None: as the
    node's settings say.
    """

    interval_seconds: int
    four_eyes: bool
    default_strategy: str | None
    device_events_days: int | None
