"""What one kind of artifact must be able to do on a device; the rest of an update is the same for all kinds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tidegate.agent.transaction.model import Release
from tidegate.errors import Unavailable
from tidegate.wire.descriptor import Descriptor


@dataclass(frozen=True, slots=True)
class PayloadFacts:
    """What is on the device of one artifact name: what runs, why that cannot be told, and which versions are whole.

    `unsettled` says why the machine is not exactly as `running` left it: a switch that was begun and has not ended, or
    somebody's hand. Making it current again, or another version, settles it.
    """

    running: Release | None = None
    foreign: str = ""
    whole: frozenset[Release] = field(default_factory=frozenset)
    unsettled: str = ""


class NotTaken(Unavailable):
    """What runs does not take a version: the reload of a workload failed; `output` is the last it said."""

    type = "not-taken"

    def __init__(self, detail: str, output: str = "") -> None:
        super().__init__(detail)
        self.output = output


class Payload(Protocol):
    """Every method may be interrupted anywhere and called again; `facts` tells how far it came."""

    def names(self) -> tuple[str, ...]:
        """Artifact names of which anything is on the device."""

    def facts(self, name: str) -> PayloadFacts:
        """What is true now; changes nothing."""

    def settle(self, name: str) -> None:
        """Make durable what `facts` shows: a rename seen by a new process may not yet survive a power cut."""

    def check(self, name: str, descriptor: Descriptor) -> None:
        """Refuse, before anything irreversible, a descriptor that this device cannot run.

        Raises:
            Refused: and asking again gives the same answer.
        """

    def laid_out(self, name: str) -> tuple[Release, ...]:
        """The whole versions, as far as can be told in the order in which they were laid out."""

    def changed(self, name: str, release: Release, descriptor: Descriptor) -> tuple[str, ...]:
        """Files of a whole version whose bytes, hashed again, are not the signed ones; raises `OSError`."""

    def stage(self, name: str, release: Release, descriptor: Descriptor) -> None:
        """Lay the verified version out beside what runs; whole by one rename, without touching what runs.

        Of a version that is laid out already, every file is hashed, and one that has changed is replaced by a rename of
        the verified one: bytes that nobody signed are no version, also where they run.

        Raises:
            Untrusted: the content store's bytes are not those of the descriptor any more; they were removed.
            OSError: the world is broken for now.
        """

    def refusal(self, name: str, release: Release) -> str:
        """Why the device's owner does not let this whole version be made current; empty when it may be."""

    def switch(self, name: str, to: Release | None) -> None:
        """Make `to`, which is whole, the one that runs; None: nothing runs.

        One atomic change for whoever reads; where more has to be done, `facts` is unsettled until all of it is.

        Raises:
            Refused, Untrusted, NotTaken, OSError: `restore` puts right what was begun.
        """

    def restore(self, name: str, to: Release | None) -> None:
        """Go back to what ran before, as `switch`: no network, no leave, and no room on any disk.

        What it needs was made by the `switch` that is taken back, and is there until `forget`.
        """

    def forget(self, name: str, keep: Collection[Release]) -> None:
        """Remove the versions that are not in `keep`, and what broken stagings left; never what runs."""

    def damaged(self, name: str) -> tuple[str, ...]:
        """What of the device's own records of this name cannot be used, and what that holds up, a sentence each."""

    def repair(self, name: str) -> tuple[str, ...]:
        """Replace damaged records by what the machine shows; what was done, a sentence each."""

    def artifact(self, name: str) -> Path | None:
        """Where a probe finds what runs; None when nothing does, or when it has no place in the file system."""
