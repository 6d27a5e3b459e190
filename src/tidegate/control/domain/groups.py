"""Groups: named sets of devices, listed by hand or said by a selector (SPEC section 6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from tidegate.control.domain.devices import Hold
from tidegate.ids import DeviceId, FleetId, GroupId, RolloutId, TokenId

MAX_NAMES_PER_CHANGE = 10_000


@dataclass(frozen=True, slots=True)
class Group:
    """`selector` None: static. `size` counts living devices."""

    id: GroupId
    fleet_id: FleetId
    name: str
    selector: str | None
    created_at: datetime
    size: int
    hold: Hold | None


@dataclass(frozen=True, slots=True)
class Uses:
    """What speaks of a group by its name: baseline rollouts of its members to come, and tokens that still enroll."""

    baselines: tuple[RolloutId, ...] = ()
    tokens: tuple[TokenId, ...] = ()


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
