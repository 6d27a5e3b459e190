"""Reading a strategy: every mistake is named by its JSON pointer and its rule, unknown keys by their name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from tidegate.control.domain.rollouts.model import Strategy, WaveSpec
from tidegate.errors import FieldError, Invalid

MAX_WAVES = 50
MAX_SOAK_SECONDS = 30 * 86_400
MAX_DEADLINE_SECONDS = 90 * 86_400
MAX_DEVICES = 10_000_000

_KEYS = frozenset(
    {
        "waves", "approval", "soak_seconds", "max_failure_rate", "max_in_flight",
        "deadline", "apply_deadline", "offline_after",
    }
)  # fmt: skip
_WAVE_KEYS = frozenset({"percent", "count", "group", "approval", "soak_seconds"})
_DURATION = re.compile(r"(\d{1,9})\s*(s|m|min|h|d)?")
_UNITS = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
_DECIMAL = re.compile(r"\d{1,3}(\.\d{1,12})?")


@dataclass
class _Reader:
    """Collects every mistake instead of stopping at the first."""

    errors: list[FieldError] = field(default_factory=list)

    def wrong(self, pointer: str, rule: str) -> None:
        self.errors.append(FieldError(pointer, rule))

    def unknown(self, raw: Mapping[str, object], known: frozenset[str], pointer: str) -> None:
        for key in raw:
            if key not in known:
                self.wrong(f"{pointer}/{key}", f"unknown key {key!r}; known are {', '.join(sorted(known))}")

    def whole(self, value: object, pointer: str, low: int, high: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.wrong(pointer, f"must be a whole number from {low:,} to {high:,}")
            return low
        return value

    def seconds(self, value: object, pointer: str) -> int:
        text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
        match = _DURATION.fullmatch(text)
        number = int(match[1]) * _UNITS[match[2]] if match else 0
        if not 1 <= number <= MAX_DEADLINE_SECONDS:
            self.wrong(pointer, 'must be seconds, or a duration such as "30m", "24h" or "7d", from 1 s to 90 d')
            return 1
        return number

    def decimal(self, value: object, pointer: str, rule: str) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
            self.wrong(pointer, rule)
            return Decimal(0)
        try:
            # A number of JSON is read by its shortest spelling, which is the one that was written.
            number = Decimal(str(value))
        except InvalidOperation:
            number = Decimal("NaN")
        # Written out, 1e99999999 has a hundred million digits: its size is looked at first.
        if not number.is_finite() or abs(number.adjusted()) > 20 or _DECIMAL.fullmatch(f"{number:f}") is None:
            self.wrong(pointer, rule)
            return Decimal(0)
        return number

    def manual(self, value: object, pointer: str) -> bool:
        if value not in ("auto", "manual"):
            self.wrong(pointer, "must be auto or manual")
        return value == "manual"


def parse_strategy(raw: Mapping[str, object] | None, pointer: str = "/strategy") -> Strategy:
    """The strategy that `raw` describes; none, or an empty one, is a single wave to 100 %.

    Raises:
        Invalid: with every mistake in it.
    """
    raw = raw or {}
    reader = _Reader()
    reader.unknown(raw, _KEYS, pointer)
    manual = reader.manual(raw.get("approval", "auto"), f"{pointer}/approval")
    soak = reader.whole(raw.get("soak_seconds", 0), f"{pointer}/soak_seconds", 0, MAX_SOAK_SECONDS)
    waves = _waves(reader, raw.get("waves", [{"percent": 100}]), f"{pointer}/waves", manual, soak)
    rate_rule = "must be a decimal number from 0 up to, not including, 1"
    rate = reader.decimal(raw.get("max_failure_rate", 0), f"{pointer}/max_failure_rate", rate_rule)
    if rate >= 1:
        reader.wrong(f"{pointer}/max_failure_rate", rate_rule)
    number, percent = _in_flight(reader, raw.get("max_in_flight"), f"{pointer}/max_in_flight")
    strategy = Strategy(
        waves=waves,
        max_failure_rate=rate,
        max_in_flight=number,
        max_in_flight_percent=percent,
        deadline_seconds=reader.seconds(raw.get("deadline", "24h"), f"{pointer}/deadline"),
        apply_deadline_seconds=reader.seconds(raw.get("apply_deadline", "30m"), f"{pointer}/apply_deadline"),
        offline_after_seconds=reader.seconds(raw.get("offline_after", "1h"), f"{pointer}/offline_after"),
    )
    if reader.errors:
        raise Invalid("cannot use this strategy", tuple(reader.errors))
    return strategy


def _in_flight(reader: _Reader, value: object, pointer: str) -> tuple[int | None, Decimal]:
    if value is None:
        return None, Decimal(10)
    if isinstance(value, str) and value.endswith("%"):
        rule = "must be a number of devices, or a percentage such as 10%"
        percent = reader.decimal(value[:-1].strip(), pointer, rule)
        if not 0 < percent <= 100:
            reader.wrong(pointer, rule)
        return None, percent
    return reader.whole(value, pointer, 1, MAX_DEVICES), Decimal(10)


def _waves(reader: _Reader, value: object, pointer: str, manual: bool, soak: int) -> tuple[WaveSpec, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not 1 <= len(value) <= MAX_WAVES:
        reader.wrong(pointer, f"must be a list of 1 to {MAX_WAVES} waves")
        return (WaveSpec(percent=Decimal(100)),)
    waves = []
    for index, raw in enumerate(value):
        if not isinstance(raw, Mapping):
            reader.wrong(f"{pointer}/{index}", 'must be an object such as {"percent": 10}')
            continue
        # The rollout's soak lies between waves; after the last one it is asked for by that wave itself.
        default_soak = soak if index < len(value) - 1 else 0
        waves.append(_wave(reader, raw, f"{pointer}/{index}", manual, default_soak))
    _check_widening(reader, waves, pointer)
    return tuple(waves)


def _wave(reader: _Reader, raw: Mapping[str, object], pointer: str, manual: bool, soak: int) -> WaveSpec:
    reader.unknown(raw, _WAVE_KEYS, pointer)
    sizes = [key for key in ("percent", "count", "group") if key in raw]
    if len(sizes) != 1:
        reader.wrong(pointer, "must have exactly one of percent, count and group")
    percent = count = group = None
    if "percent" in raw:
        rule = "must be a decimal number above 0 and at most 100"
        percent = reader.decimal(raw["percent"], f"{pointer}/percent", rule)
        if not 0 < percent <= 100:
            reader.wrong(f"{pointer}/percent", rule)
    elif "count" in raw:
        count = reader.whole(raw["count"], f"{pointer}/count", 1, MAX_DEVICES)
    elif isinstance(raw.get("group"), str) and raw["group"]:
        group = str(raw["group"])
    elif "group" in raw:
        reader.wrong(f"{pointer}/group", "must be the name of a group")
    return WaveSpec(
        percent=percent,
        count=count,
        group=group,
        manual=reader.manual(raw["approval"], f"{pointer}/approval") if "approval" in raw else manual,
        soak_seconds=reader.whole(raw.get("soak_seconds", soak), f"{pointer}/soak_seconds", 0, MAX_SOAK_SECONDS),
    )


def _check_widening(reader: _Reader, waves: Sequence[WaveSpec], pointer: str) -> None:
    percent, count = Decimal(0), 0
    for index, wave in enumerate(waves):
        if wave.percent is not None:
            if wave.percent <= percent and wave.percent > 0:
                reader.wrong(f"{pointer}/{index}/percent", f"must be above {percent:f}, the percent of an earlier wave")
            percent = max(percent, wave.percent)
        elif wave.count is not None:
            if wave.count <= count:
                reader.wrong(f"{pointer}/{index}/count", f"must be above {count}, the count of an earlier wave")
            count = max(count, wave.count)
    if waves and waves[-1].percent != 100:
        reader.wrong(f"{pointer}/{len(waves) - 1}/percent", "the last wave must go to 100 percent")


def describe(strategy: Strategy) -> dict[str, object]:
    """The strategy with every default written out, in the form that `parse_strategy` reads back to the same."""
    waves: list[dict[str, object]] = []
    for wave in strategy.waves:
        size: dict[str, object]
        if wave.group is not None:
            size = {"group": wave.group}
        elif wave.count is not None:
            size = {"count": wave.count}
        else:
            size = {"percent": f"{wave.percent:f}"}
        waves.append({**size, "approval": "manual" if wave.manual else "auto", "soak_seconds": wave.soak_seconds})
    limit = strategy.max_in_flight
    return {
        "waves": waves,
        "max_failure_rate": f"{strategy.max_failure_rate:f}",
        "max_in_flight": limit if limit is not None else f"{strategy.max_in_flight_percent:f}%",
        "deadline": strategy.deadline_seconds,
        "apply_deadline": strategy.apply_deadline_seconds,
        "offline_after": strategy.offline_after_seconds,
    }
