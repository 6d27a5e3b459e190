"""What the services take and give about rollouts; api, console and command line print these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tidegate.control.domain.rollouts.listing import (
    AssignmentFilter,
    AssignmentPage,
    AssignmentView,
    RolloutFilter,
    TimelineEntry,
    WayBackCount,
)
from tidegate.control.domain.rollouts.model import AssignmentState, RolloutState, Verb, WaitingOn
from tidegate.ids import RolloutId
from tidegate.wire.device import Probe

__all__ = [
    "AbortPreview",
    "AssignmentFilter",
    "AssignmentPage",
    "AssignmentView",
    "Incompatible",
    "NewRollout",
    "Preview",
    "RolloutDetail",
    "RolloutFilter",
    "RolloutPage",
    "Superseded",
    "Target",
    "TimelineEntry",
    "VerbView",
    "WavePreview",
    "WaveView",
    "WayBackCount",
]


@dataclass(frozen=True, slots=True)
class Target:
    """Exactly one: a group's name, a selector, device names, or every active device of the fleet."""

    group: str | None = None
    selector: str | None = None
    devices: tuple[str, ...] | None = None
    everyone: bool = False


@dataclass(frozen=True, slots=True)
class NewRollout:
    """`channel`: take the version that it points at now; `version` is empty then."""

    artifact: str
    version: str
    target: Target
    strategy: Mapping[str, object] | None = None
    probes: tuple[Probe, ...] = ()
    skip_incompatible: bool = False
    baseline: bool = False
    start_at: datetime | None = None
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class WavePreview:
    """`first` names some of the cohort; `tolerated` is how many failures do not halt yet."""

    wave: int
    label: str
    size: int
    cumulative: int
    manual: bool
    soak_seconds: int
    tolerated: int
    first: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Incompatible:
    device: str
    reason: str


@dataclass(frozen=True, slots=True)
class Superseded:
    """An older open rollout of the same artifact name, whose open devices in the target end as superseded."""

    rollout: RolloutId
    version: str
    state: RolloutState


@dataclass(frozen=True, slots=True)
class Preview:
    """What creating would do; nothing is created. Lists are cut at `LISTED`, counts are whole."""

    artifact: str
    version: str
    target_size: int
    waves: tuple[WavePreview, ...]
    strategy: Mapping[str, object]
    max_in_flight: int
    unknown: tuple[str, ...]
    incompatible: tuple[Incompatible, ...]
    incompatible_count: int
    held: tuple[str, ...]
    held_count: int
    supersedes: tuple[Superseded, ...]
    refusals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WaveView:
    wave: int
    label: str
    percent: str | None
    size: int
    manual: bool
    soak_seconds: int
    released: bool
    released_at: datetime | None
    completed_at: datetime | None
    counts: Mapping[AssignmentState, int]
    unacknowledged: int
    tolerated: int
    absent: int
    held: int


@dataclass(frozen=True, slots=True)
class VerbView:
    """`why_not` is empty when the verb is possible now and the viewer may; else the reason, in words."""

    verb: Verb
    permission: str
    why_not: str

    @property
    def possible(self) -> bool:
        return not self.why_not


@dataclass(frozen=True, slots=True)
class RolloutDetail:
    """`waiting_on` is the sentence of `waiting`. `counts` is the sum over all waves."""

    id: RolloutId
    artifact: str
    version: str
    kind: str
    state: RolloutState
    state_since: datetime
    reason: str
    waiting: WaitingOn
    waiting_on: str
    target: str
    target_size: int
    released_wave: int
    waves: tuple[WaveView, ...]
    counts: Mapping[AssignmentState, int]
    strategy: Mapping[str, object]
    max_in_flight: int
    probes: tuple[Probe, ...]
    baseline: bool
    created_at: datetime
    created_by: str
    start_at: datetime | None
    soak_until: datetime | None
    completed_at: datetime | None
    abort_policy: str | None
    resume_count: int
    generation: int
    channel: str | None = None
    verbs: tuple[VerbView, ...] = ()

    @property
    def released_size(self) -> int:
        return sum(wave.size for wave in self.waves if wave.released)

    @property
    def unacknowledged(self) -> int:
        return sum(wave.unacknowledged for wave in self.waves)


@dataclass(frozen=True, slots=True)
class RolloutPage:
    items: tuple[RolloutDetail, ...]
    total: int
    next_before: int | None


@dataclass(frozen=True, slots=True)
class AbortPreview:
    """Consequences of both policies in numbers. `skipped` and `finishing` are the same for both."""

    rollout: RolloutDetail
    skipped: Mapping[AssignmentState, int]
    finishing: int
    stay: int
    rolled_back: int
    failed: int
    reverting: int
    back: tuple[WayBackCount, ...]
    revert_refused: str = ""
