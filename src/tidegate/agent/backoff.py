"""How long to wait after a failure: doubling, bounded, spread out, so that a fleet does not come back all at once."""

from __future__ import annotations

from random import Random


class Backoff:
    def __init__(self, random: Random, *, first_seconds: float = 1.0, max_seconds: float = 300.0) -> None:
        self._random = random
        self._first = first_seconds
        self._max = max_seconds
        self._failures = 0

    def next(self, at_least_seconds: float = 0.0) -> float:
        """Seconds to wait after one more failure; `at_least_seconds` is what the other side asked for."""
        ceiling = min(self._max, self._first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return max(ceiling * self._random.uniform(0.5, 1.0), at_least_seconds * self._random.uniform(1.0, 1.25))

    def reset(self) -> None:
        self._failures = 0
