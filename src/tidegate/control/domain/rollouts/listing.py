"""Lines of lists about rollouts: what is asked for, and what is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tidegate.control.domain.rollouts.model import AssignmentState, RolloutState
from tidegate.ids import RolloutId


@dataclass(frozen=True, slots=True)
class RolloutFilter:
    """`states`, `artifact`, `group` (the target), `open_only` narrow;
    `before` walks: rollouts with smaller ids (newest come first)."""

    states: frozenset[RolloutState] = frozenset()
    artifact: str = ""
    group: str = ""
    open_only: bool = False
    limit: int = 50
    offset: int = 0
    before: int | None = None


@dataclass(frozen=True, slots=True)
class AssignmentView:
    """One device in one rollout, for people. `released`: its wave is, so that it may be served."""

    device: str
    rollout: RolloutId
    artifact: str
    version: str
    wave: int
    state: AssignmentState
    state_since: datetime
    reason: str
    output: str
    drifted: bool
    served_at: datetime | None
    last_seen_at: datetime | None
    previous_version: str | None
    why_waiting: str = ""
    released: bool = True


@dataclass(frozen=True, slots=True)
class AssignmentFilter:
    """`show`: ``all``, ``attention``, ``open``, ``healthy`` or one state.

    `after` is where a walk in the same order goes on.
    `by_wave`: in an order that nothing changes, for a walk; else what needs attention first.
    """

    show: str = "all"
    search: str = ""
    limit: int = 50
    offset: int = 0
    after: tuple[int, ...] | None = None
    by_wave: bool = False


@dataclass(frozen=True, slots=True)
class AssignmentPage:
    """`next_after`: the sort key behind which a walk goes on; None at the end."""

    items: tuple[AssignmentView, ...]
    total: int
    next_after: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class WayBackCount:
    """How many devices go back to `version` (None: the artifact is removed), how many of them are offline now."""

    version: str | None
    devices: int
    offline: int
    withdrawn: bool


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of a rollout's history, newest first."""

    at: datetime
    kind: str
    detail: str
    device: str | None = None
    actor: str = ""
    data: Mapping[str, object] = field(default_factory=dict)
