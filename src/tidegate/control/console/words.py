"""Numbers, times and durations as the console writes them, and the look of each state.

Thousands separators, units after a space, at most two decimals; times are UTC, absolute when past, relative when
awaited.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal

#: Tone and icon of every state, by its name in the API. Shape and word come first; the colour only repeats them.
LOOKS: dict[str, tuple[str, str]] = {
    # rollouts
    "scheduled": ("quiet", "scheduled"),
    "running": ("flow", "running"),
    "soaking": ("flow", "soaking"),
    "waiting_for_approval": ("wait", "waiting_for_approval"),
    "halted": ("bad", "halted"),
    "completed": ("good", "completed"),
    "aborted": ("quiet", "aborted"),
    # assignments
    "pending": ("quiet", "pending"),
    "assigned": ("flow", "assigned"),
    "downloading": ("flow", "downloading"),
    "verifying": ("flow", "verifying"),
    "ready": ("flow", "ready"),
    "applying": ("flow", "applying"),
    "probing": ("flow", "probing"),
    "healthy": ("good", "healthy"),
    "rolled_back": ("back", "rolled_back"),
    "failed": ("bad", "failed"),
    "reverting": ("back", "reverting"),
    "reverted": ("good", "reverted"),
    "revert_failed": ("bad", "revert_failed"),
    "superseded": ("quiet", "superseded"),
    "skipped": ("quiet", "skipped"),
    "open": ("flow", "open"),
    # devices
    "online": ("good", "online"),
    "offline": ("quiet", "offline"),
    "never": ("quiet", "pending"),
    "drifted": ("back", "drifted"),
    "held": ("wait", "held"),
    "frozen": ("wait", "freeze"),
    "identity-conflict": ("bad", "warn"),
    "decommissioned": ("quiet", "decommissioned"),
    "restore": ("flow", "reverting"),
    # logs asked of a device
    "waiting": ("flow", "pending"),
    "refused": ("bad", "failed"),
    "cancelled": ("quiet", "aborted"),
    # artifacts, certificates, waves
    "published": ("good", "completed"),
    "withdrawn": ("bad", "withdrawn"),
    "received": ("flow", "running"),
    "invalid": ("bad", "failed"),
    "valid": ("good", "completed"),
    "expired": ("bad", "failed"),
    "expires": ("wait", "warn"),
    "complete": ("good", "completed"),
    "not released": ("quiet", "pending"),
}


def tone(state: str) -> str:
    return LOOKS.get(state, ("quiet", "info"))[0]


def icon(state: str) -> str:
    return LOOKS.get(state, ("quiet", "info"))[1]


def number(value: int) -> str:
    return f"{value:,}"


def plural(count: int, one: str, many: str = "") -> str:
    """``1 device``, ``1,040 devices``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def percent(share: Decimal | float) -> str:
    """A share of one as ``1.2 %``: at most two decimals, none that are zero."""
    hundredths = (Decimal(str(share)) * 100).quantize(Decimal("0.01"), ROUND_HALF_UP)
    text = f"{hundredths:f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


_STEPS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))


def duration(seconds: float) -> str:
    """``45 s``, ``30 min``, ``3 h 44 min``, ``16 d``: two units where the first is small."""
    whole = int(max(0, seconds))
    for size, unit, part, part_unit in _STEPS:
        if whole >= size:
            first, rest = divmod(whole, size)
            second = rest // part
            return f"{first:,} {unit}" if second == 0 or first >= 10 else f"{first} {unit} {second} {part_unit}"
    return f"{whole} s"


def file_size(count: int) -> str:
    """Binary units: ``394 MiB``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{count} B" if unit == "B" else f"{size:.3g} {unit}" if size < 100 else f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"


def clock(at: datetime | None, now: datetime) -> str:
    """A past time: hours and minutes today, the date before."""
    if at is None:
        return "never"
    at, now = at.astimezone(UTC), now.astimezone(UTC)
    return f"{at:%H:%M}" if at.date() == now.date() else f"{at:%Y-%m-%d}"


def stamp(at: datetime) -> str:
    """Date and time in full."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def machine(at: datetime) -> str:
    """For the `datetime` attribute."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def until(at: datetime, now: datetime) -> str:
    """An awaited time: ``in 5 d 2 h``, or ``4 min ago`` when it has passed."""
    seconds = (at - now).total_seconds()
    return f"in {duration(seconds)}" if seconds >= 0 else f"{duration(-seconds)} ago"


def ago(at: datetime, now: datetime) -> str:
    return duration((now - at).total_seconds())


def short_hash(value: str) -> str:
    """The two ends of a hash or key id; the whole of it when it is short."""
    return value if len(value) <= 12 else f"{value[:4]}…{value[-4:]}"


def shortened(text: str, limit: int = 240) -> str:
    """A device's own words, shortened at the end, never reworded."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def ended(text: str) -> str:
    """A reason as a sentence that another may follow."""
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


_DURATION = re.compile(r"(\d{1,9})\s*(s|m|min|h|d)?")
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


def seconds_of(text: str) -> int | None:
    """What a person writes for a duration: ``30 min``, ``2 h 30 min``, ``90``, ``none``; None when it is none."""
    text = text.strip().lower()
    if text in ("", "none"):
        return 0
    if re.fullmatch(rf"(?:{_DURATION.pattern}\s*)+", text) is None:
        return None
    return sum(int(number) * _UNITS[unit or "s"] for number, unit in _DURATION.findall(text))
