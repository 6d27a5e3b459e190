"""Static groups: named sets of devices (SPEC section 6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from tidegate.control.domain.devices import Hold
from tidegate.ids import DeviceId, FleetId, GroupId

MAX_NAMES_PER_CHANGE = 10_000


@dataclass(frozen=True, slots=True)
class Group:
    id: GroupId
    fleet_id: FleetId
    name: str
    created_at: datetime
    size: int
    hold: Hold | None


@dataclass(frozen=True, slots=True)
class Named:
    """Names sorted into devices that exist and names that nobody bears, each once and in the order given."""

    devices: tuple[DeviceId, ...]
    unknown: tuple[str, ...]


def resolve(names: Iterable[str], known: Mapping[str, DeviceId]) -> Named:
    """Sort `names` by what `known` has of them."""
    once = dict.fromkeys(names)
    return Named(
        tuple(known[name] for name in once if name in known),
        tuple(name for name in once if name not in known),
    )
