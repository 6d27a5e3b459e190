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
from tidegate.wire.selector import BadSelector, parse


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


@dataclass(frozen=True, slots=True)
class Caret:
    """Where a selector cannot be read: the line, and the mark under the place."""

    line: str
    mark: str
    detail: str


def caret(selector: str) -> Caret | None:
    """None where there is none, or it can be read."""
    try:
        if selector:
            parse(selector)
    except BadSelector as error:
        begin = max(0, error.position - 60)
        line = " ".join(selector.split("\n"))[begin : error.position + 60]
        return Caret(line, " " * (error.position - 1 - begin) + "^", error.errors[0].detail)
    return None


def device_state(view: DeviceView) -> str:
    """The one state that matters most, by its name."""
    if not view.device.active:
        return "decommissioned"
    if view.holds:
        return "held"
    return "drifted" if view.drifted else view.presence


def device_states(view: DeviceView) -> list[str]:
    """Everything that is true of it: presence first, then what keeps it from being as it should."""
    if not view.device.active:
        return ["decommissioned"]
    conflict = view.device.identity_conflict_at is not None
    also = (("held", bool(view.holds)), ("drifted", view.drifted), ("identity-conflict", conflict))
    return [view.presence, *(name for name, true in also if true)]


def device_why(view: DeviceView, now: datetime) -> str:
    """Why nothing is happening on it, or what is, in one line."""
    device = view.device
    if not device.active:
        at = device.decommissioned_at
        return f"decommissioned {words.clock(at, now)}: every request with its identity is refused"
    for subject, hold in view.holds:
        until = f" until {words.stamp(hold.until)}" if hold.until else ""
        by = "" if subject.startswith("device ") else f" by {subject}"
        return f"held{by}{until}: {words.shortened(hold.reason, 120)}"
    if device.in_progress:
        first = device.in_progress[0]
        return words.shortened(f"{first.state}: {first.detail}" if first.detail else first.state, 160)
    if device.waiting_on:
        return words.shortened(device.waiting_on, 160)
    if device.last_seen_at is None:
        return "enrolled, and has not sent a heartbeat yet"
    return "runs something else than a rollout left there" if view.drifted else "nothing open"


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
