"""How much the heartbeat interval is widened under load: a decision over what one node notices of itself."""

from __future__ import annotations

from dataclasses import dataclass

MAX_FACTOR = 8
#: Seconds between two looks.
LOOK_SECONDS = 1.0
_LATE_SECONDS = 0.25
_QUEUED = 200
_CALM_LOOKS = 15


@dataclass(frozen=True, slots=True)
class Load:
    """`factor` times the fleet's interval is what devices are told; it halves after `_CALM_LOOKS` calm looks."""

    factor: int = 1
    calm_looks: int = 0

    def look(self, *, late_seconds: float, queued: int) -> Load:
        """After one more look: how late the event loop was, and how many requests wait for the database."""
        if late_seconds > _LATE_SECONDS or queued > _QUEUED:
            return Load(min(self.factor * 2, MAX_FACTOR), 0)
        if self.factor == 1:
            return self
        if self.calm_looks + 1 >= _CALM_LOOKS:
            return Load(self.factor // 2, 0)
        return Load(self.factor, self.calm_looks + 1)
