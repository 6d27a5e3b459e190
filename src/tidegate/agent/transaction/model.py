"""What the update transaction is about: the record (what we meant) and the facts (what the machine is).

Plain values only, so that every state the device can be in can be written down in a test. The journal
(agent/journal.py) makes records durable, agent/execute.py observes facts and performs steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: Process lives that may run a version on trial; one more restart than this and the device goes back.
TRIAL_CEILING = 3
#: Tries of one process life to put the previous version back before it says that it cannot.
RESTORE_ATTEMPTS = 3
#: Leave older than this at the start is void, whatever the answer said (SPEC section 7).
LEAVE_SECONDS = 60.0


class Kind(StrEnum):
    INSTALL = "install"
    REVERT = "revert"
    RESTORE = "restore"
    REMOVE = "remove"


class Phase(StrEnum):
    FETCH = "fetch"
    STAGE = "stage"
    READY = "ready"
    APPLYING = "applying"
    PROBING = "probing"
    ROLLBACK = "rollback"
    DONE = "done"


#: From here on the transaction must be finished before another may apply.
IN_FLIGHT = frozenset({Phase.APPLYING, Phase.PROBING, Phase.ROLLBACK, Phase.DONE})


class Outcome(StrEnum):
    HEALTHY = "healthy"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    REVERTED = "reverted"
    REVERT_FAILED = "revert_failed"
    #: The node took the work back before leave was given: nothing is reported, and the same id may come again.
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Release:
    """One version of an artifact name, told apart by the digest of its signed descriptor."""

    version: str
    descriptor_sha256: str


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """When a probe is tried; `spec` is its JSON, opaque here, and `label` names it to people."""

    spec: str
    label: str
    attempts: int
    initial_delay_seconds: int = 0
    interval_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """What the node asked for; never changes once taken up. `goal` is None to have nothing of that name."""

    work: str
    kind: Kind
    artifact: str
    goal: Release | None
    descriptor_path: str = ""
    probes: tuple[ProbePlan, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """How far one order has come, as journaled before each effect.

    `verified`: the fetcher verified the goal's descriptor and files. `way_back`: what ran when applying began; None for
    nothing. `trials`: process lives that were about to run the goal; `entry` names the one that spent the last.
    """

    order: Order
    phase: Phase = Phase.FETCH
    verified: bool = False
    payload: str = ""
    requires: tuple[tuple[str, str], ...] = ()
    way_back: Release | None = None
    trials: int = 0
    entry: str = ""
    outcome: Outcome | None = None
    reason: str = ""
    output: str = ""


@dataclass(frozen=True, slots=True)
class Leave:
    """An answer of the node, with its age from the moment the question was sent."""

    granted: bool
    age_seconds: float
    valid_seconds: float = LEAVE_SECONDS
    reason: str = ""
    retry_after_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One finished attempt of one probe, by this process life."""

    probe: int
    number: int
    passed: bool
    output: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What the verified descriptor says that the transaction must know: which payload lays it out, what it requires."""

    payload: str
    requires: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong in the world, and in how many seconds it is worth trying again (0: now)."""

    reason: str
    retry_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What the machine is, as observed after the last step; whatever is not durable is forgotten by a new process life.

    Durable: `running` (what `current` leads to), `foreign` (why `current` is not ours to read), `unsettled` (why the
    machine is not exactly as `running` left it), `goal_whole`,
    `way_back_whole` (staged on the device, complete), `kept` (the goal is journaled as current or previous),
    `content_whole` (the goal's verified bytes are in the content store), `told` (states already reported).
    Hashed in this life, not long ago: `goal_damage` and `way_back_damage`; None: not known, empty: every byte is the
    signed one.
    From outside: `wanted` (the node still names the work), `inhibited`, `unmet`,
    `not_allowed` (what of the order the device's owner does not allow), `leave`.
    Of this life: `entry`, `fetched`, `refused`, `trouble`, `attempts`, `switch_failed` with its `switch_output`,
    `restore_failures`, `cleaned`,
    `untellable` (the outbox cannot be written).
    """

    entry: str
    running: Release | None = None
    foreign: str = ""
    unsettled: str = ""
    goal_whole: bool = False
    way_back_whole: bool = True
    goal_damage: str | None = None
    way_back_damage: str | None = None
    kept: bool = False
    content_whole: bool = False
    told: frozenset[str] = frozenset()
    wanted: bool = True
    inhibited: str = ""
    unmet: str = ""
    not_allowed: str = ""
    leave: Leave | None = None
    fetched: Fetched | None = None
    refused: str = ""
    trouble: Trouble | None = None
    attempts: tuple[Attempt, ...] = ()
    switch_failed: str = ""
    switch_output: str = ""
    restore_failures: int = 0
    restore_trouble: str = ""
    cleaned: bool = False
    untellable: str = ""
