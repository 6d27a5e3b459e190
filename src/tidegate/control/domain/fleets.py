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
