"""The only place that reads the time; everything else is given a `Clock` or a time.

Times are aware datetimes in UTC. The control plane's decisions use the database's clock (store/engine.py `now`); this
one serves what happens outside a transaction and on the device.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """Aware, UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back; for durations only."""


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
