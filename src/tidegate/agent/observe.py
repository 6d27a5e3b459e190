"""From the machine to `Facts`: reads only, and joins in what this process life has learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from tidegate.agent.journal import Damaged
from tidegate.agent.orders import probe_of
from tidegate.agent.parts import Contents, JournalPort, Parts
from tidegate.agent.payloads.base import Payload, PayloadFacts
from tidegate.agent.requirements import unmet
from tidegate.agent.transaction.book import Book, Slot
from tidegate.agent.transaction.model import Attempt, Facts, Fetched, Kind, Leave, Phase, Record, Release, Trouble
from tidegate.clock import Clock
from tidegate.errors import Untrusted
from tidegate.wire import descriptor as descriptors
from tidegate.wire.descriptor import DESCRIPTOR_MAX_BYTES, Descriptor
from tidegate.wire.device import LeaveAnswer

#: Bytes hashed longer ago than this are hashed again before a version is made current.
CHECK_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Checked:
    """What hashing a version again has shown, and when, by the monotonic clock; `damage` empty: all as signed."""

    damage: str
    at: float


@dataclass(frozen=True, slots=True)
class Asked:
    """An answer to a leave request, and when the request was sent, on both clocks."""

    answer: LeaveAnswer
    monotonic: float
    wall: datetime

    def age_seconds(self, clock: Clock) -> float:
        """The larger of both clocks' ages: a suspended device's monotonic clock stands still."""
        return max(clock.monotonic() - self.monotonic, (clock.now() - self.wall).total_seconds())


@dataclass(slots=True)
class Life:
    """What one process life has learned about one piece of work; a crash forgets it."""

    fetched: Fetched | None = None
    refused: str = ""
    trouble: str = ""
    trouble_until: float = 0.0
    asked: Asked | None = None
    attempts: list[Attempt] = field(default_factory=list)
    switch_failed: str = ""
    switch_output: str = ""
    switches: int = 0
    restore_failures: int = 0
    restore_trouble: str = ""
    cleaned: bool = False
    untellable: str = ""
    checked: dict[Release, Checked] = field(default_factory=dict)

    def damage(self, release: Release | None, now: float) -> str | None:
        """What is wrong with the bytes of a version; None when they have not been hashed lately."""
        found = None if release is None else self.checked.get(release)
        return None if found is None or now - found.at > CHECK_SECONDS else found.damage


def observe(parts: Parts, book: Book, record: Record, life: Life, wanted: bool) -> Facts:
    """The facts about one record, now."""
    order, slot = record.order, book.slots.get(record.order.artifact, Slot())
    payload = payload_of(parts.payloads, record, book)
    on_device = any_facts(parts.payloads, order.artifact) if payload is None else payload.facts(order.artifact)
    goal, now = order.goal, parts.clock.monotonic()
    return Facts(
        entry=parts.entry,
        running=on_device.running,
        foreign=on_device.foreign,
        unsettled=on_device.unsettled,
        goal_whole=goal in on_device.whole,
        way_back_whole=record.way_back is None or record.way_back in on_device.whole,
        goal_damage=life.damage(goal, now),
        way_back_damage=life.damage(record.way_back, now),
        kept=goal is not None and goal in (slot.current, slot.previous),
        content_whole=goal is not None and content_whole(parts.store, goal),
        told=parts.outbox.told(order.work),
        wanted=wanted,
        inhibited=parts.inhibitor.reason(),
        unmet=unmet(record.requires, lambda name: running_version(parts.payloads, name)),
        not_allowed=_not_allowed(parts, record, payload),
        leave=_leave(life.asked, parts.clock),
        fetched=life.fetched,
        refused=life.refused,
        trouble=Trouble(life.trouble, life.trouble_until - now) if life.trouble and now < life.trouble_until else None,
        attempts=tuple(life.attempts),
        switch_failed=life.switch_failed,
        switch_output=life.switch_output,
        restore_failures=life.restore_failures,
        restore_trouble=life.restore_trouble,
        cleaned=life.cleaned,
        untellable=life.untellable,
    )


def _not_allowed(parts: Parts, record: Record, payload: Payload | None) -> str:
    """Only what is new here is held back by it: going back is not."""
    order = record.order
    if record.phase is not Phase.READY or order.kind not in (Kind.INSTALL, Kind.RESTORE):
        return ""
    refusals = (parts.prober.refusal(probe_of(plan)) for plan in order.probes)
    refused = next(filter(None, refusals), "")
    if refused or payload is None or order.goal is None:
        return refused
    return payload.refusal(order.artifact, order.goal)


def book_of(journal: JournalPort, payloads: Mapping[str, Payload]) -> Book | Damaged:
    """What the journal says; one that is gone while there are artifacts on the device is damaged too."""
    found = journal.read()
    if found is None and any(payload.names() for payload in payloads.values()):
        return Damaged("the journal is gone, and there are artifacts on the device")
    return found or Book()


def unknown(damaged: Damaged) -> str:
    """The state of a device whose journal is damaged, and who can do what about it, in words."""
    return (
        f"cannot tell the state of this device: {damaged.reason};"
        " what runs is left alone until its owner runs tidegate-agent repair"
    )


def payload_of(payloads: Mapping[str, Payload], record: Record, book: Book) -> Payload | None:
    """The payload that lays this record's artifact out: as fetched, as journaled, or the one that has something."""
    name = record.order.artifact
    known = payloads.get(record.payload or book.slots.get(name, Slot()).payload)
    return known or next((one for one in payloads.values() if one.facts(name) != PayloadFacts()), None)


def any_facts(payloads: Mapping[str, Payload], name: str) -> PayloadFacts:
    """From the first payload that has something of that name."""
    for payload in payloads.values():
        facts = payload.facts(name)
        if facts != PayloadFacts():
            return facts
    return PayloadFacts()


def running_version(payloads: Mapping[str, Payload], name: str) -> str | None:
    running = any_facts(payloads, name).running
    return None if running is None else running.version


def read_descriptor(store: Contents, release: Release) -> Descriptor | None:
    """The release's descriptor from the content store, its digest checked; None when it is not there or not one."""
    try:
        return descriptors.decode(store.read(release.descriptor_sha256, DESCRIPTOR_MAX_BYTES))
    except (OSError, Untrusted, msgspec.MsgspecError):
        return None


def contents(store: Contents, release: Release) -> frozenset[str]:
    """Digests of everything that belongs to a release, as far as its descriptor is there to tell."""
    descriptor = read_descriptor(store, release)
    files = () if descriptor is None else descriptor.files
    return frozenset({release.descriptor_sha256, *(file.sha256 for file in files)})


def content_whole(store: Contents, release: Release) -> bool:
    descriptor = read_descriptor(store, release)
    return descriptor is not None and all(store.has(file.sha256) for file in descriptor.files)


def _leave(asked: Asked | None, clock: Clock) -> Leave | None:
    if asked is None:
        return None
    answer, age = asked.answer, asked.age_seconds(clock)
    if not answer.granted and age >= answer.retry_after_seconds:
        return None
    retry = max(0.0, answer.retry_after_seconds - age)
    return Leave(answer.granted, age, answer.valid_seconds, answer.reason, retry)
