"""A device as data: what is visible, what is durable, and a crash after any effect.

The real executor and the real decisions run on it; only the parts that touch the world are replaced, behind the same
interfaces. Each durable change is two effects, seen and flushed. A crash is either the death of the process (what was
seen stays) or the loss of power (only what was flushed stays). The machine watches while it runs and raises `Violation`
the moment a promise is broken; `Machine.run` restarts it until it is at rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tidegate.agent import journal as journals
from tidegate.agent.execute import Executor, Waiting
from tidegate.agent.outbox import Box
from tidegate.agent.parts import Parts
from tidegate.agent.transaction.book import Book, Slot
from tidegate.agent.transaction.model import LEAVE_SECONDS, TRIAL_CEILING, Phase, Record, Release
from tidegate.testing.clock import FakeClock
from tidegate.testing.machine_parts import Content, Model, Notes, Outside, Placed, Reports
from tidegate.wire import descriptor as descriptors
from tidegate.wire.config import ConfigOptions
from tidegate.wire.descriptor import Descriptor, Kind, PayloadFile
from tidegate.wire.device import DesiredState, LeaveAnswer, Requirement

Crash = Literal["death", "power"]
MAX_EFFECTS = 3000
MAX_LOOKS = 6000
MAX_LIVES = 40


class Violation(AssertionError):
    """A promise was broken."""


class Crashed(BaseException):
    """The process or the power went away; nothing of ours may catch it."""


@dataclass(frozen=True)
class Published:
    """A version that exists in the world: its release, its signed descriptor's bytes, its files by digest."""

    release: Release
    descriptor: bytes
    files: Mapping[str, bytes]


def publish(
    name: str, version: str, data: bytes, requires: tuple[Requirement, ...] = (), config: ConfigOptions | None = None
) -> Published:
    """A version with one file: a config when there are options for one, else a model."""
    digest = hashlib.sha256(data).hexdigest()
    file = PayloadFile("model.onnx", digest, len(data))
    kind: Kind = "model" if config is None else "config"
    made = Descriptor("default", name, version, kind, (file,), requires=requires, config=config)
    encoded = descriptors.encode(made)
    return Published(Release(version, hashlib.sha256(encoded).hexdigest()), encoded, {digest: data})


@dataclass(frozen=True)
class World:
    """What is outside of the device, as a scenario wants it; each callable is told how often it was asked before.

    `meddles`: somebody else writes to the destination whenever this version was put there.
    `destination`: versions go to a place of their own too, and a workload is told to read them anew.
    `rots` maps the name of an effect to the version whose bits flip when it first happens.
    """

    published: Mapping[str, Published] = field(default_factory=dict)
    fetch: Callable[[int], Literal["good", "untrusted", "refused", "unreachable"]] = lambda _: "good"
    leave: Callable[[int], LeaveAnswer] = lambda _: LeaveAnswer(True)
    leave_takes_seconds: Callable[[int], float] = lambda _: 0.0
    probe: Callable[[str, str, int], bool] = lambda _probe, _version, _count: True
    inhibited: Callable[[int], str] = lambda _: ""
    journal_fails: Callable[[Machine], bool] = lambda _: False
    outbox_fails: Callable[[Machine], bool] = lambda _: False
    refusal: str = ""
    rots: Mapping[str, Published] = field(default_factory=dict)
    switch_fails: Callable[[int], bool] = lambda _: False
    restore_fails: Callable[[int], bool] = lambda _: False
    destination: bool = False
    reload_fails: Callable[[str], bool] = lambda _: False
    meddles: Callable[[str], bool] = lambda _: False


@dataclass
class Seen:
    """What the machine counted."""

    fetches: int = 0
    leaves: int = 0
    inhibitions: int = 0
    switches: int = 0
    restores: int = 0
    restores_unwritten: int = 0
    probes: list[tuple[str, str, int]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    exposed: dict[str, set[int]] = field(default_factory=dict)
    verified: set[Release] = field(default_factory=set)
    leave_at: dict[str, float] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)


class Machine:
    """One device. `crash` is asked after each effect (its number, its name) whether and how to crash there."""

    def __init__(self, world: World, crash: Callable[[int, str], Crash | None] = lambda _n, _name: None) -> None:
        self.world = world
        self.clock = FakeClock()
        self.seen = Seen()
        self.effects = 0
        self.looks = 0
        self.lives = 0
        self.visible: dict[str, Any] = {}
        self.durable: dict[str, Any] = {}
        self.foreign = ""
        self.journal_failing = False
        self.last_inhibition = ""
        #: What a workload has read last, by artifact name; when the power comes back it reads what is there.
        self.reads: dict[str, Release | None] = {}
        self._crash = crash

    # What a scenario begins with.

    def installed(self, name: str, current: Published, previous: Published | None = None) -> None:
        """As an earlier, finished transaction left it."""
        versions = [one for one in (current, previous) if one is not None]
        slot = Slot(current.release, None if previous is None else previous.release, "model")
        self._begin("journal", journals.encode(Book({name: slot})))
        self._begin(f"current {name}", current.release)
        if self.world.destination:
            self._begin(f"at {name}", current.release)
            self.reads[name] = current.release
        self._begin(f"whole {name}", frozenset(one.release for one in versions))
        self.holds(*versions)
        self.seen.verified |= {one.release for one in versions}

    def holds(self, *versions: Published) -> None:
        """Bytes that lie in the content store already."""
        content = dict(self.visible.get("content", {}))
        for one in versions:
            content |= {one.release.descriptor_sha256: one.descriptor, **one.files}
        self._begin("content", content)

    def _begin(self, part: str, value: Any) -> None:
        self.visible[part] = self.durable[part] = value

    def rot(self, version: Published) -> None:
        """Bits flip in a version's files, in the store and where it is laid out: nothing shows it but hashing."""
        for state in (self.visible, self.durable):
            state["rotten"] = state.get("rotten", frozenset()) | {version.release}
            content = state.get("content", {})
            state["content"] = content | {one: b"rotten" for one in version.files if one in content}

    def rotten(self) -> frozenset[Release]:
        """Versions laid out whose bytes have changed."""
        found: frozenset[Release] = self.visible.get("rotten", frozenset())
        return found

    # The disk: a change is seen first and durable later.

    def show(self, part: str, value: Any) -> None:
        """Change what is seen of one part, as a rename does."""
        self.visible[part] = value
        self.effect(f"{part} seen")

    def flush(self, part: str) -> None:
        """Make durable what is seen of one part, as flushing its folder does."""
        if part in self.visible:
            self.durable[part] = self.visible[part]
            self.effect(f"{part} flushed")

    def effect(self, name: str) -> None:
        """Something happened that a crash may come after."""
        self.effects += 1
        self.seen.events.append(name)
        if name in self.world.rots and self.seen.events.count(name) == 1:
            self.rot(self.world.rots[name])
        if self.effects > MAX_EFFECTS:
            raise Violation("it does not come to rest")
        self._whole_at_every_instant()
        crash = self._crash(self.effects, name)
        if crash == "power":
            self.visible = dict(self.durable)
            self.reads = {name: self.visible.get(f"at {name}") for name in self.reads}
            self._whole_at_every_instant()
        if crash is not None:
            raise Crashed

    def look(self) -> None:
        """The executor observed something; a loop without effects is found here."""
        self.looks += 1
        if self.looks > MAX_LOOKS:
            raise Violation("it looks again for ever")

    # What must hold.

    def _whole_at_every_instant(self) -> None:
        for part, running in self.visible.items():
            kind, _, name = part.partition(" ")
            if kind == "current" and running is not None and running not in self.visible.get(f"whole {name}", ()):
                raise Violation(f"{name}: what runs is not whole")

    def begins_applying(self, record: Record) -> None:
        """The journal says that applying begins: leave must be there and fresh, and nobody may be against it."""
        asked = self.seen.leave_at.get(record.order.work)
        if asked is None or self.clock.monotonic() - asked > LEAVE_SECONDS:
            raise Violation("applying begins without fresh leave")
        if self.last_inhibition:
            raise Violation("applying begins against the inhibitor")

    def exposes(self, record: Record) -> None:
        """The goal runs, or is about to, on trial, in this process life."""
        if self.journal_failing:
            raise Violation("a step forward without a journal")
        lives = self.seen.exposed.setdefault(record.order.work, set())
        lives.add(self.lives)
        if len(lives) > TRIAL_CEILING or len(lives) > record.trials:
            raise Violation(f"{record.order.work}: {len(lives)} trials, {record.trials} of them spent before")

    def probing(self, version: str) -> None:
        """A probe is about to look at what runs."""
        on_trial = [one for one in self.book().records if one.phase is Phase.PROBING]
        if len(on_trial) != 1:
            raise Violation("a probe that the journal does not stand for")
        self.exposes(on_trial[0])
        goal = on_trial[0].order.goal
        if version != ("" if goal is None else goal.version):
            raise Violation("a probe looks at something else than the version on trial")
        if self.world.destination and self.reads.get("vad") != goal and on_trial[0].entry == f"life {self.lives}":
            raise Violation("a probe looks at a workload that was not told")

    def must_be_verified(self, release: Release) -> None:
        if release not in self.seen.verified:
            raise Violation(f"{release.version} is used and was never verified on this device")

    def must_be_as_signed(self, release: Release) -> None:
        if release in self.rotten():
            raise Violation(f"{release.version} is made current, and its bytes have changed")

    def must_not_be_foreign(self) -> None:
        if self.foreign:
            raise Violation("something that is not ours is touched")

    def violation(self, reason: str) -> Violation:
        return Violation(reason)

    def book(self) -> Book:
        """What the journal says now."""
        book = journals.decode(self.visible["journal"]) if "journal" in self.visible else Book()
        if not isinstance(book, Book):
            raise Violation(book.reason)
        return book

    def box(self) -> Box:
        box: Box = self.visible.get("outbox", Box("0" * 32))
        return box

    def running(self, name: str) -> Release | None:
        return self.visible.get(f"current {name}")

    def in_trial(self, name: str) -> Record | None:
        """The record that has put `name` on trial."""
        phases = (Phase.APPLYING, Phase.PROBING)
        return next((one for one in self.book().records if one.order.artifact == name and one.phase in phases), None)

    # Time goes on.

    def life(self) -> Executor:
        """A new process."""
        self.lives += 1
        if self.lives > MAX_LIVES:
            raise Violation("it does not come to rest in any life")
        parts = Parts(
            journal=Notes(self),
            outbox=Reports(self),
            store=Content(self),
            payloads={"model": Placed(self) if self.world.destination else Model(self)},
            fetcher=(outside := Outside(self)),
            prober=outside,
            leave=outside,
            inhibitor=outside,
            clock=self.clock,
            entry=f"life {self.lives}",
            pause=outside.pause,
        )
        return Executor(parts)

    def run(self, desired: DesiredState) -> Waiting:
        """Start, crash and start again until it rests; each life first finishes what is in flight, without the node."""
        while True:
            try:
                executor = self.life()
                executor.run(None)
                for _ in range(20):
                    waiting = executor.run(desired)
                    if waiting.retry_seconds is None:
                        return waiting
                    self.clock.advance(waiting.retry_seconds)
                return waiting
            except Crashed:
                continue
