"""A strategy as the fields of the form that creates a rollout."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.control.domain.rollouts.model import Strategy, WaveSpec

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, slots=True)
class WaveRow:
    """One wave as typed: `to` is ``10 %``, ``25`` (devices) or ``group lab``."""

    to: str
    approval: str = "auto"
    soak: str = "none"


@dataclass(frozen=True, slots=True)
class StrategyFields:
    """What the form says of a strategy; as it stands here: what it suggests where the fleet sets no default."""

    waves: tuple[WaveRow, ...] = (WaveRow("10 %"), WaveRow("50 %"), WaveRow("100 %"))
    max_failure_rate: str = "0 %"
    max_in_flight: str = "10 %"
    deadline: str = "24 h"
    apply_deadline: str = "30 min"
    offline_after: str = "1 h"


def fields_of(strategy: Strategy) -> StrategyFields:
    """The fields that the form reads back to exactly this strategy."""
    limit = strategy.max_in_flight
    return StrategyFields(
        waves=tuple(_row(wave) for wave in strategy.waves),
        max_failure_rate=f"{(strategy.max_failure_rate * 100).normalize():f} %",
        max_in_flight=str(limit) if limit is not None else f"{strategy.max_in_flight_percent:f} %",
        deadline=_exactly(strategy.deadline_seconds),
        apply_deadline=_exactly(strategy.apply_deadline_seconds),
        offline_after=_exactly(strategy.offline_after_seconds),
    )


def _row(wave: WaveSpec) -> WaveRow:
    if wave.group is not None:
        to = f"group {wave.group}"
    else:
        to = str(wave.count) if wave.count is not None else f"{wave.percent:f} %"
    soak = _exactly(wave.soak_seconds) if wave.soak_seconds else "none"
    return WaveRow(to, "manual" if wave.manual else "auto", soak)


def _exactly(seconds: int) -> str:
    """In the largest unit that loses nothing: ``90 min``, not ``1 h 30 min`` and not ``1 h``."""
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return f"{seconds // size} {unit}"
