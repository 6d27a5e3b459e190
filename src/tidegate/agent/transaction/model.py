"""What the update transaction is about: record (what we meant), facts (what the machine is), step (what next).

Plain values only, so that every state the device can be in can be written down in a test. The journal
(agent/journal.py) makes records durable, agent/execute.py observes facts and performs steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

#: Process lives that may run a version on trial; one more restart than this and the device goes back.
TRIAL_CEILING = 3
#: Tries of one process life to put the previous version back before it says that it cannot.
RESTORE_ATTEMPTS = 3
#: Leave older than this at the start is void, whatever the answer said (SPEC section 7).
LEAVE_SECONDS = 60.0
#: Terminal outcomes remembered beyond those of work that the node still names.
OUTCOMES_KEPT = 1024


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

    Durable: `running` (what `current` leads to), `foreign` (why `current` is not ours to read), `goal_whole`,
    `way_back_whole` (staged on the device, complete), `kept` (the goal is journaled as current or previous),
    `content_whole` (the goal's verified bytes are in the content store), `told` (states already reported).
    From outside: `wanted` (the node still names the work), `inhibited`, `unmet`, `leave`.
    Of this life: `entry`, `fetched`, `refused`, `trouble`, `attempts`, `switch_failed`, `restore_failures`, `cleaned`,
    `untellable` (the outbox cannot be written).
    """

    entry: str
    running: Release | None = None
    foreign: str = ""
    goal_whole: bool = False
    way_back_whole: bool = True
    kept: bool = False
    content_whole: bool = False
    told: frozenset[str] = frozenset()
    wanted: bool = True
    inhibited: str = ""
    unmet: str = ""
    leave: Leave | None = None
    fetched: Fetched | None = None
    refused: str = ""
    trouble: Trouble | None = None
    attempts: tuple[Attempt, ...] = ()
    switch_failed: str = ""
    restore_failures: int = 0
    restore_trouble: str = ""
    cleaned: bool = False
    untellable: str = ""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """The record changed: journal it, then observe and decide anew. No other step comes with a changed record."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Put the fact that `state` was reached into the outbox."""

    state: str
    reason: str = ""
    output: str = ""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Download and verify the goal's descriptor and files into the content store."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Lay the goal out beside what runs, whole by one rename."""


@dataclass(frozen=True, slots=True)
class AskLeave:
    """Ask the node whether to start applying now."""


@dataclass(frozen=True, slots=True)
class Switch:
    """Make `to` current, by one rename."""

    to: Release | None


@dataclass(frozen=True, slots=True)
class RunProbe:
    """Wait `delay_seconds`, then make attempt `number` of the order's probe `probe`."""

    probe: int
    number: int
    delay_seconds: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Make `to` current again, from what is on the device, by one rename."""

    to: Release | None


@dataclass(frozen=True, slots=True)
class Clean:
    """Remove what nobody needs any more: versions and contents other than current, previous and staged."""


@dataclass(frozen=True, slots=True)
class Close:
    """The transaction is over: remember its outcome and drop its record."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do now; `reason` is for people, `retry_seconds` None means until something changes."""

    reason: str
    retry_seconds: float | None = None


Step = LookAgain | Tell | Fetch | Stage | AskLeave | Switch | RunProbe | Restore | Clean | Close | Wait


@dataclass(frozen=True, slots=True)
class Slot:
    """What the journal knows of one artifact name: `previous` is kept until the next commit."""

    current: Release | None = None
    previous: Release | None = None
    payload: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """A terminal outcome, remembered so that the same work id is never done twice."""

    outcome: Outcome
    reason: str = ""
    output: str = ""
    running_version: str | None = None


@dataclass(frozen=True, slots=True)
class Book:
    """All that the journal holds: a slot per artifact name, a record per open work id, an outcome per finished one."""

    slots: dict[str, Slot] = field(default_factory=dict)
    records: tuple[Record, ...] = ()
    ended: dict[str, Ended] = field(default_factory=dict)

    def record(self, work: str) -> Record | None:
        return next((record for record in self.records if record.order.work == work), None)

    def names(self) -> frozenset[str]:
        """Artifact names that the journal knows of."""
        return frozenset({*self.slots, *(record.order.artifact for record in self.records)})

    def kept(self, name: str) -> frozenset[Release]:
        """Versions of `name` that must stay on the device: current, previous, and both ends of what is under way."""
        slot = self.slots.get(name, Slot())
        ends = [slot.current, slot.previous]
        for record in self.records:
            if record.order.artifact == name and record.phase is not Phase.DONE:
                ends += [record.order.goal, record.way_back]
        return frozenset(release for release in ends if release is not None)

    def entered(self, record: Record) -> Book:
        """With `record` in place of the one of the same work; a finished one settles its slot in the same write."""
        known = self.record(record.order.work) is not None
        records = (
            tuple(record if old.order.work == record.order.work else old for old in self.records)
            if known
            else (*self.records, record)
        )
        return replace(self, records=records, slots=self._settled(record))

    def _settled(self, record: Record) -> dict[str, Slot]:
        name, slot = record.order.artifact, self.slots.get(record.order.artifact, Slot())
        if record.outcome in (Outcome.HEALTHY, Outcome.REVERTED):
            goal = record.order.goal
            previous = record.way_back if record.way_back != goal else slot.previous
            settled = Slot(goal, previous, record.payload or slot.payload)
        else:
            # Rolled back, dropped or never begun: what was there before is still what the journal stands for.
            return self.slots
        kept = {other: value for other, value in self.slots.items() if other != name}
        return kept if settled.current is None else kept | {name: settled}

    def closed(self, record: Record, running_version: str | None, named: frozenset[str]) -> Book:
        """Without the record of this work; `named` are the work ids whose outcome must not be forgotten yet."""
        records = tuple(old for old in self.records if old.order.work != record.order.work)
        if record.outcome is None or record.outcome is Outcome.DROPPED:
            return replace(self, records=records)
        ended = self.ended | {
            record.order.work: Ended(record.outcome, record.reason, record.output, running_version),
        }
        spare = [work for work in ended if work not in named and work != record.order.work]
        for work in spare[: max(0, len(ended) - OUTCOMES_KEPT)]:
            del ended[work]
        return replace(self, records=records, ended=ended)
