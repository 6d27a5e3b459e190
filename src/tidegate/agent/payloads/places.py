"""The destinations of one config, in one switch: what is put there, what is kept for going back, what was before."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tidegate.agent.files import PRIVATE_FOLDER, Files, make_folders, replace_durably
from tidegate.agent.payloads.destination import Destinations, NoFolder, Spot, There
from tidegate.agent.payloads.held import Held, Records
from tidegate.errors import Untrusted
from tidegate.wire.config import ConfigOptions

NEW_FILE_MODE = 0o644


@dataclass(frozen=True, slots=True)
class Version:
    """What the signed descriptor of a whole version says, and its file's bytes, both hashed just now."""

    data: bytes
    options: ConfigOptions

    def is_at(self, there: There | None) -> bool:
        wanted = self.options.mode_bits
        return there is not None and there.data == self.data and (wanted is None or there.mode == wanted)

    def mode(self, before: int | None) -> int:
        """Of its file, where one of mode `before` was."""
        wanted = self.options.mode_bits
        return wanted if wanted is not None else NEW_FILE_MODE if before is None else before


@dataclass(frozen=True, slots=True)
class Edited:
    """Where what somebody wrote by hand is kept once; `known` gives the files of all versions on the device."""

    path: Path
    known: Callable[[], Iterable[bytes]]
    files: Files

    def keep(self, there: There | None, held: Held) -> None:
        if there is not None and there.sha256 != held.sha256 and there.data not in self.known():
            make_folders(self.files, self.path.parent, PRIVATE_FOLDER)
            replace_durably(self.files, self.path, there.data)


@dataclass(frozen=True, slots=True)
class Places:
    """`before`: the version that ran when the switch began, if it can be used; `back`: it is being taken back.

    Forward, what going back will put somewhere is written beside it first. Going back renames that: it needs no room.
    """

    records: Records
    at: Destinations
    edited: Edited
    before: Version | None
    back: bool

    def prepare(self, spot: Spot, goal: Version) -> Callable[[], None] | None:
        """Take the destination of `goal` and get its file ready; gives what puts it there, None where it is there."""
        there = spot.look()
        held = self._held(goal.options.destination, there)
        if not self.back:
            self._keep(spot, held, there)
        if goal.is_at(there):
            spot.clear()
            return None
        self.edited.keep(there, held)
        if self.back and goal.is_at(spot.kept()):
            return spot.bring_back
        mode, owner = (there.mode, there.owner) if there else (held.mode, held.owner)
        spot.prepare(goal.data, goal.mode(mode), owner)
        return spot.place

    def vacate_others(self, destination: str) -> None:
        for held in tuple(self.records.all()):
            if held.destination != destination:
                self._vacate(held)

    def sweep(self) -> None:
        """Nothing is taken back any more: only the files themselves stay at the destinations. Raises `OSError`."""
        for held in (*self.records.all(), *self.records.left()):
            with suppress(NoFolder), self.at.open(held.destination) as spot:
                spot.sweep()
        self.records.sweep()

    def _held(self, destination: str, there: There | None) -> Held:
        try:
            held = self.records.hold_again(destination) if self.back else self.records.of(destination)
        except Untrusted:
            # What was there before the first version matters when the last one leaves.
            return Held(destination)
        return held or self.records.hold(destination, there)

    def _vacate(self, held: Held) -> None:
        """Put back what was there before the first version, and let go of the destination."""
        before = self.records.before(held)
        with suppress(NoFolder), self.at.open(held.destination) as spot:
            there = spot.look()
            if before != there:
                self.edited.keep(there, held)
                if not self.back:
                    self._keep(spot, held, there)
            if before is None:
                spot.remove()
            elif before != there:
                self._put(spot, before)
        self.records.let_go(held)

    def _put(self, spot: Spot, before: There) -> None:
        if self.back and spot.kept() == before:
            spot.bring_back()
        else:
            spot.prepare(before.data, before.mode, before.owner)
            spot.place()

    def _keep(self, spot: Spot, held: Held, there: There | None) -> None:
        """Beside the destination, what going back will put there."""
        before = self.before
        if before is None or before.options.destination != held.destination:
            wanted = self.records.before(held)
        elif before.is_at(spot.kept()):
            return  # as the last try of this switch left it
        elif before.is_at(there):
            wanted = there
        else:
            mode, owner = (there.mode, there.owner) if there else (held.mode, held.owner)
            wanted = There(before.data, before.mode(mode), owner or (os.geteuid(), os.getegid()))
        if wanted is not None:
            spot.keep(wanted)
