"""What the executor is put together from: the ports that somebody else implements, and the bundle of all parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tidegate.agent.journal import Damaged
from tidegate.agent.payloads.base import Payload
from tidegate.agent.transaction.book import Book
from tidegate.clock import Clock
from tidegate.errors import Unavailable
from tidegate.wire.device import LeaveAnswer, LeaveRequest, Probe, Report, Work


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One attempt; `output` is the last of what the probe said, for people."""

    passed: bool
    output: str = ""


class Contents(Protocol):
    """The content store (agent/store.py), as the executor and a fetcher need it."""

    def has(self, sha256: str) -> bool: ...
    def read(self, sha256: str, max_bytes: int) -> bytes: ...
    def partial_length(self, sha256: str) -> int: ...
    def append(self, sha256: str, chunk: bytes, length: int) -> None: ...
    def restart(self, sha256: str) -> None: ...
    def finish(self, sha256: str, length: int) -> None: ...
    def put(self, sha256: str, data: bytes) -> None: ...
    def recheck(self, sha256: str, length: int) -> bool: ...
    def is_also(self, sha256: str, other: str, length: int) -> bool: ...
    def collect(self, keep: Collection[str]) -> None: ...


class NoRoom(Unavailable):
    """The disk has too little room for a download; what the device can do without is removed, and it is tried again."""

    type = "no-room"


class Fetcher(Protocol):
    def fetch(self, work: Work, store: Contents, wanted: Callable[[], bool]) -> None:
        """Verify the descriptor that `work` names against the pinned root; put it, then its files, into `store`.

        `wanted` says between chunks whether to go on.

        Raises:
            Refused: this device can never apply it; the work fails.
            NoRoom: see there.
            Unavailable, Untrusted, OSError: not now; tried again later.
        """


class Prober(Protocol):
    def refusal(self, probe: Probe) -> str:
        """Why this device's owner does not let `probe` be run; empty when it may."""

    def attempt(self, probe: Probe, artifact: Path | None) -> ProbeResult:
        """Make one attempt, within the probe's timeout; a probe that cannot be run has not passed."""


class LeaveGiver(Protocol):
    def leave(self, request: LeaveRequest) -> LeaveAnswer:
        """Raises `TidegateError` when the node cannot be asked or does not answer."""


class Inhibitor(Protocol):
    def reason(self) -> str:
        """Why the device's owner wants no update to start now; empty when one may."""


class JournalPort(Protocol):
    def read(self) -> Book | Damaged | None: ...
    def settle(self) -> None: ...
    def write(self, book: Book) -> None: ...


class OutboxPort(Protocol):
    def settle(self) -> None: ...
    def told(self, work: str) -> frozenset[str]: ...
    def add(self, report: Report) -> None: ...


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Parts:
    """Everything that an executor touches; `entry` names this process life and is never used again by another.

    `pause(seconds)` waits, and returns True as soon as the process is asked to stop.
    """

    journal: JournalPort
    outbox: OutboxPort
    store: Contents
    payloads: Mapping[str, Payload]
    fetcher: Fetcher
    prober: Prober
    leave: LeaveGiver
    inhibitor: Inhibitor
    clock: Clock
    entry: str
    pause: Callable[[float], bool]
