"""What a rollout is: states, strategy, tallies, plans, and what an open rollout waits on (SPEC section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum


class RolloutState(StrEnum):
    SCHEDULED = "scheduled"
    RUNNING = "running"
    SOAKING = "soaking"
    WAITING_FOR_APPROVAL = "waiting_for_approval"
    HALTED = "halted"
    COMPLETED = "completed"
    ABORTED = "aborted"


class AssignmentState(StrEnum):
    PENDING = "pending"
    ASSIGNED = "assigned"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    READY = "ready"
    APPLYING = "applying"
    PROBING = "probing"
    HEALTHY = "healthy"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    REVERTING = "reverting"
    REVERTED = "reverted"
    REVERT_FAILED = "revert_failed"
    SUPERSEDED = "superseded"
    SKIPPED = "skipped"


class Verb(StrEnum):
    HALT = "halt"
    RESUME = "resume"
    APPROVE = "approve"
    ABORT_KEEP = "abort_keep"
    ABORT_REVERT = "abort_revert"


_S = AssignmentState

#: Served, and leave not yet given: an abort or a newer rollout may still take it back.
WITHOUT_LEAVE = frozenset({_S.ASSIGNED, _S.DOWNLOADING, _S.VERIFYING, _S.READY})
#: Leave was given: only the device, or its apply deadline, ends it.
WITH_LEAVE = frozenset({_S.APPLYING, _S.PROBING})
#: What `max_in_flight` counts.
IN_FLIGHT = WITHOUT_LEAVE | WITH_LEAVE
OPEN = IN_FLIGHT | {_S.PENDING}
FAILURES = frozenset({_S.ROLLED_BACK, _S.FAILED})
#: How an assignment ends by what the device did.
OUTCOMES = FAILURES | {_S.HEALTHY}
REVERTS = frozenset({_S.REVERTING, _S.REVERTED, _S.REVERT_FAILED})
#: Ended without counting for or against the rollout.
UNCOUNTED = frozenset({_S.SUPERSEDED, _S.SKIPPED})

_R = RolloutState

#: Nothing is served and no leave is given in any other state.
SERVING = frozenset({_R.RUNNING, _R.SOAKING, _R.WAITING_FOR_APPROVAL, _R.COMPLETED})
#: The failure rule and an operator's halt apply here.
HALTABLE = frozenset({_R.RUNNING, _R.SOAKING, _R.WAITING_FOR_APPROVAL})
ENDED = frozenset({_R.COMPLETED, _R.ABORTED})

STRAGGLERS_DAYS = 90


@dataclass(frozen=True, slots=True)
class WaveSpec:
    """One wave as asked: exactly one of `percent` (cumulative), `count` (cumulative) and `group` is set."""

    percent: Decimal | None = None
    count: int | None = None
    group: str | None = None
    manual: bool = False
    soak_seconds: int = 0

    @property
    def label(self) -> str:
        if self.group is not None:
            return f"group {self.group}"
        return f"to {self.count} devices" if self.count is not None else f"to {self.percent:f} %"


@dataclass(frozen=True, slots=True)
class Strategy:
    """How a rollout widens; parsed and checked by strategy.py. `max_in_flight` None: the percentage counts."""

    waves: tuple[WaveSpec, ...] = (WaveSpec(percent=Decimal(100)),)
    max_failure_rate: Decimal = Decimal(0)
    max_in_flight: int | None = None
    max_in_flight_percent: Decimal = Decimal(10)
    deadline_seconds: int = 24 * 3600
    apply_deadline_seconds: int = 30 * 60
    offline_after_seconds: int = 3600

    def wave(self, number: int) -> WaveSpec:
        """The wave `number`, counted from 1."""
        return self.waves[number - 1]

    def tolerated(self, size_at_release: int) -> int:
        """How many unacknowledged failures a wave of this size may have before the rollout halts."""
        return int((self.max_failure_rate * size_at_release).to_integral_value(ROUND_FLOOR))

    def in_flight_limit(self, target_size: int) -> int:
        """Devices at work at once: the number asked for, else the percentage of the target, at least 10."""
        if self.max_in_flight is not None:
            return self.max_in_flight
        return max(10, int((self.max_in_flight_percent * target_size / 100).to_integral_value(ROUND_FLOOR)))


@dataclass(frozen=True, slots=True)
class Rollout:
    """What decides about a rollout, next to its tally. `released_wave` is 0 before the first release."""

    state: RolloutState
    strategy: Strategy
    target_size: int
    released_wave: int = 0
    resume_count: int = 0
    start_at: datetime | None = None
    soak_until: datetime | None = None
    completed_at: datetime | None = None
    abort_policy: str | None = None
    reason: str = ""
    withdrawn: bool = False

    def releases(self, wave: int) -> bool:
        """Whether a device of this wave may be served and given leave now."""
        return self.state in SERVING and wave <= self.released_wave


@dataclass(frozen=True, slots=True)
class WaveTally:
    """Counts of one wave. `absent` and `held` are of the pending ones: away longer than `offline_after`; on hold."""

    wave: int
    size: int
    counts: Mapping[AssignmentState, int] = field(default_factory=dict)
    size_at_release: int | None = None
    completed: bool = False
    unacknowledged: int = 0
    absent: int = 0
    held: int = 0

    def count(self, *states: AssignmentState) -> int:
        return sum(self.counts.get(state, 0) for state in states)

    @property
    def in_flight(self) -> int:
        return self.count(*IN_FLIGHT)

    @property
    def pending(self) -> int:
        return self.count(AssignmentState.PENDING)

    @property
    def healthy(self) -> int:
        return self.count(AssignmentState.HEALTHY)

    @property
    def failures(self) -> int:
        return self.count(*FAILURES)

    @property
    def finished(self) -> int:
        """Devices that tried and ended, without the failures that a resume has acknowledged."""
        return min(self.healthy + self.unacknowledged, self.healthy + self.failures)

    @property
    def awaited(self) -> int:
        """Devices that this wave still waits for."""
        return self.in_flight + max(0, self.pending - self.absent)


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts per wave, in order, from wave 1."""

    waves: tuple[WaveTally, ...]

    def wave(self, number: int) -> WaveTally:
        return self.waves[number - 1]

    def released(self, rollout: Rollout) -> tuple[WaveTally, ...]:
        return self.waves[: rollout.released_wave]

    def count(self, *states: AssignmentState) -> int:
        return sum(wave.count(*states) for wave in self.waves)

    @property
    def in_flight(self) -> int:
        return sum(wave.in_flight for wave in self.waves)

    def next_wave(self, after: int) -> int | None:
        """The next wave that has devices; waves that rounding left empty are passed over."""
        return next((wave.wave for wave in self.waves if wave.wave > after and wave.size > 0), None)


# -- what an open rollout waits on ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class After:
    """What follows: a soak, then a wave (none: the rollout is completed), by hand or by itself."""

    soak_seconds: int = 0
    wave: int | None = None
    manual: bool = False
    devices: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    at: datetime
    after: After


@dataclass(frozen=True, slots=True)
class Devices:
    """Devices of `wave` must report, or pass their deadline."""

    wave: int
    awaited: int
    of: int
    counts: Mapping[AssignmentState, int]
    held: int
    after: After


@dataclass(frozen=True, slots=True)
class Soak:
    wave: int
    until: datetime
    after: After


@dataclass(frozen=True, slots=True)
class Approval:
    """A person with rollouts.approve; `why` is ``manual`` or ``no-evidence``. `wave` None: approving completes it."""

    wave: int | None
    why: str
    devices: int
    complete_wave: int


@dataclass(frozen=True, slots=True)
class Resume:
    """A person: resume (with rollouts.approve) or abort."""

    reason: str
    finishing: int
    unacknowledged: int


@dataclass(frozen=True, slots=True)
class Stragglers:
    """A completed rollout still serves devices that were away."""

    devices: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Reverting:
    """An aborted rollout: `finishing` devices are at work, `reverting` were told to go back, `healthy` not yet."""

    finishing: int
    reverting: int
    to_decide: int


@dataclass(frozen=True, slots=True)
class Nothing:
    """Ended, and nothing is left to happen."""


WaitingOn = Start | Devices | Soak | Approval | Resume | Stragglers | Reverting | Nothing


@dataclass(frozen=True, slots=True)
class Plan:
    """What one pass does. `release_wave` and `complete_wave` are numbers to write, None to leave; `cancel_open` ends
    what was never served; `reason` is written with a change of state."""

    state: RolloutState
    waiting_on: WaitingOn
    reason: str = ""
    release_wave: int | None = None
    complete_wave: int | None = None
    soak_until: datetime | None = None
    cancel_open: bool = False
