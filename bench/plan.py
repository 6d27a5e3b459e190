"""One `plan` at 10³ to 10⁶ devices, beside the floor: counting the same assignments once, as a list in memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

from bench.table import table
from tidegate.control.domain.rollouts.cohorts import cohorts
from tidegate.control.domain.rollouts.model import (
    AssignmentState,
    Rollout,
    RolloutState,
    Strategy,
    Tally,
    WaveSpec,
    WaveTally,
)
from tidegate.control.domain.rollouts.plan import plan
from tidegate.ids import DeviceId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STRATEGY = Strategy(waves=tuple(WaveSpec(percent=Decimal(percent)) for percent in (1, 10, 50, 100)))


def _best(action: Callable[[], object], repeat: int) -> float:
    """Seconds of the fastest of five rounds, per call."""
    rounds = []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(repeat):
            action()
        rounds.append((time.perf_counter() - started) / repeat)
    return min(rounds)


def _tally(devices: int) -> Tally:
    reached, waves = 0, []
    for number, spec in enumerate(STRATEGY.waves, start=1):
        assert spec.percent is not None
        upto = -(-devices * int(spec.percent) // 100)
        size, reached = upto - reached, upto
        counts = {AssignmentState.PENDING: size // 2, AssignmentState.HEALTHY: size - size // 2}
        waves.append(WaveTally(number, size, counts, size_at_release=size))
    return Tally(tuple(waves))


def run() -> str:
    rollout = Rollout(RolloutState.RUNNING, STRATEGY, target_size=0, released_wave=4)
    rows = []
    for exponent in (3, 4, 5, 6):
        devices = 10**exponent
        tally = _tally(devices)
        states = [AssignmentState.PENDING] * devices
        planned = _best(lambda tally=tally: plan(rollout, tally, NOW), 2000)  # type: ignore[misc]
        counted = _best(lambda states=states: Counter(states), 1)  # type: ignore[misc]
        started = time.perf_counter()
        cohorts("default", [DeviceId(number) for number in range(devices)], STRATEGY, {})
        ordered = time.perf_counter() - started
        ratio = f"{planned / counted:.6f}"
        rows.append((f"{devices:,}", f"{planned * 1e6:.1f} µs", f"{counted * 1e6:,.0f} µs", ratio, f"{ordered:.3f} s"))
    head = ("devices", "plan", "floor: counting the states once", "plan / floor", "cohorts, once at creation")
    return table("One planning pass", head, rows)
