"""What `next_step` may ask for: one effect each, performed by agent/perform.py."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.agent.transaction.model import Release


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
class Check:
    """Hash every byte of a version that lies on the device again, against its signed descriptor."""

    release: Release


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


Step = LookAgain | Tell | Fetch | Stage | Check | AskLeave | Switch | RunProbe | Restore | Clean | Close | Wait
