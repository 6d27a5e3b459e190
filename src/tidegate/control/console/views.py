"""What templates show that no service says by itself: slices of lists, rows put into words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from tidegate.control.console import words
from tidegate.control.domain.devices import Device
from tidegate.control.services.devices import DeviceView
from tidegate.wire.operator.common import MAX_OFFSET, MAX_TOTAL


@dataclass(frozen=True, slots=True)
class Slice:
    """Where a page of a list stands; `asked` are the other parts of its address."""

    offset: int
    shown: int
    total: int
    size: int
    asked: Sequence[tuple[str, str]] = ()

    @property
    def clipped(self) -> bool:
        """Whether the total is only known to be more."""
        return self.total > MAX_TOTAL

    @property
    def previous(self) -> int | None:
        return max(0, self.offset - self.size) if self.offset else None

    @property
    def next(self) -> int | None:
        after = self.offset + self.shown
        return after if after < self.total and after <= MAX_OFFSET and self.shown else None

    def query(self, offset: int) -> str:
        asked = [(name, value) for name, value in self.asked if value]
        return "?" + urlencode([*asked, *([("offset", str(offset))] if offset else [])])


@dataclass(frozen=True, slots=True)
class Chip:
    """One filter of a list; `href` chooses it."""

    label: str
    href: str
    current: bool
    state: str = ""


def device_state(view: DeviceView) -> str:
    """The one state that matters most, by its name."""
    if not view.device.active:
        return "decommissioned"
    return "held" if view.device.hold is not None else view.presence


def device_why(device: Device, now: datetime) -> str:
    """Why nothing is happening on it, or what is, in one line."""
    if not device.active:
        at = device.decommissioned_at
        return f"decommissioned {words.clock(at, now)}: every request with its identity is refused"
    if device.hold is not None:
        until = f" until {words.stamp(device.hold.until)}" if device.hold.until else ""
        return f"held{until}: {words.shortened(device.hold.reason, 120)}"
    if device.in_progress:
        first = device.in_progress[0]
        return words.shortened(f"{first.state}: {first.detail}" if first.detail else first.state, 160)
    if device.waiting_on:
        return words.shortened(device.waiting_on, 160)
    if device.last_seen_at is None:
        return "enrolled, and has not sent a heartbeat yet"
    return "nothing open"


_FACTS = (
    ("Board", "board"),
    ("Architecture", "arch"),
    ("OS", "os"),
    ("OS version", "os_version"),
    ("Kernel", "kernel"),
    ("Cores", "cpu_count"),
    ("Memory", "ram_bytes"),
    ("Store", "disk_bytes"),
    ("Accelerators", "accelerators"),
    ("Runtimes", "runtimes"),
)


def hardware_facts(device: Device) -> list[tuple[str, str]]:
    """The detected facts that there are, in a fixed order."""
    facts = []
    for label, key in _FACTS:
        value = device.hardware.get(key)
        if not value:
            continue
        if key.endswith("_bytes"):
            facts.append((label, words.file_size(int(value))))
        elif isinstance(value, list | tuple):
            facts.append((label, ", ".join(map(str, value))))
        else:
            facts.append((label, str(value)))
    return facts
