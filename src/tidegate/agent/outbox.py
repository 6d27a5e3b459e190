"""The outbox: reports that the node has not yet acknowledged, with their growing sequence.

Installation id and sequence live and die together, in this one file: if it is damaged, a new installation begins with
sequence 1. What has been told of a work id is remembered after its reports are gone, so that each state of it is told
once, however often the transaction is taken up again. Shared between the process that works and the one that
sends: every change holds a lock and starts from what is on disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from dataclasses import replace as changed
from pathlib import Path

import msgspec

from tidegate.agent.files import Files, RealFiles, make_folders, replace_durably
from tidegate.errors import Unavailable
from tidegate.wire.device import Report, Reports, ReportsAnswer

MAX_REPORTS = 500
MAX_WORKS = 1024
MAX_BYTES = 16 << 20
TERMINAL = frozenset({"healthy", "rolled_back", "failed", "reverted", "revert_failed"})
_MAGIC = b"tidegate-outbox 1 "


@dataclass(frozen=True, slots=True)
class Box:
    """`last` is the highest sequence given out; `told` maps work id to state to the sequence that told it."""

    installation: str
    last: int = 0
    items: tuple[Report, ...] = ()
    told: dict[str, dict[str, int]] = field(default_factory=dict)


class Outbox:
    def __init__(self, path: Path, files: Files | None = None, new_id: Callable[[], str] | None = None) -> None:
        self._path = path
        self._files = files or RealFiles()
        self._new_id = new_id or (lambda: os.urandom(16).hex())

    def installation(self) -> str:
        """The id under which sequences count; made durable when first asked for."""
        box = self._read()
        if box is not None:
            return box.installation
        with self._locked():
            return self._load().installation

    def told(self, work: str) -> frozenset[str]:
        """States of `work` already put in, acknowledged or not."""
        box = self._read()
        return frozenset() if box is None else frozenset(box.told.get(work, ()))

    def outcomes(self) -> dict[str, str]:
        """The terminal state told of each work that is remembered."""
        box = self._read()
        told = {} if box is None else box.told
        return {work: state for work, states in told.items() for state in states if state in TERMINAL}

    def add(self, report: Report) -> None:
        """Queue a fact durably under the next sequence; a state already told of that work changes nothing.

        Raises:
            OSError: the disk is full or broken.
            Unavailable: too many reports wait to be acknowledged.
        """
        with self._locked():
            box = self._load()
            if report.state not in box.told.get(report.work, ()):
                self._save(with_report(box, report))

    def pending(self, limit: int = 100) -> Reports | None:
        """The oldest reports not acknowledged, or None."""
        box = self._read()
        return Reports(box.installation, box.items[:limit]) if box is not None and box.items else None

    def acknowledge(self, answer: ReportsAnswer) -> None:
        """Drop what the node has decided on: accepted, replay and refused are all final."""
        final = {result.sequence for result in answer.results}
        with self._locked():
            box = self._load()
            if any(item.sequence in final for item in box.items):
                self._save(changed(box, items=tuple(item for item in box.items if item.sequence not in final)))

    def node_knows(self, sequence: int) -> None:
        """The node has nothing after `sequence` (it was restored from a backup): forget that it was told.

        Outcomes of work that it still asks for are then reported again.
        """
        with self._locked():
            box = self._load()
            queued = {item.sequence for item in box.items}
            told = {
                work: {state: at for state, at in states.items() if at <= sequence or at in queued}
                for work, states in box.told.items()
            }
            if told != box.told:
                self._save(changed(box, told=told))

    def settle(self) -> None:
        """Make durable what an earlier process may have renamed without flushing."""
        if self._path.exists():
            self._files.sync_folder(self._path.parent)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        make_folders(self._files, self._path.parent)
        lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _read(self) -> Box | None:
        """What is on the disk, whole at any instant; None when there is nothing that verifies."""
        try:
            with self._path.open("rb") as file:
                return decode(file.read(MAX_BYTES + 1))
        except FileNotFoundError:
            return None

    def _load(self) -> Box:
        """For a change, under the lock: what is on the disk, or a new installation."""
        box = self._read()
        if box is not None:
            return box
        if self._path.exists():
            # Damaged: kept as evidence. The new installation id tells the node that sequences start anew.
            self._files.rename(self._path, self._path.with_name(f"{self._path.name}.damaged"))
        box = Box(self._new_id())
        self._save(box)
        return box

    def _save(self, box: Box) -> None:
        replace_durably(self._files, self._path, encode(box))


def with_report(box: Box, report: Report) -> Box:
    """`box` with one more report, bounded: intermediate states of work that went on since give way first.

    Raises:
        Unavailable: nothing can give way.
    """
    items = box.items
    if len(items) >= MAX_REPORTS:
        latest = {item.work: item.sequence for item in items} | {report.work: box.last + 1}
        spare = next(
            (item for item in items if item.state not in TERMINAL and item.sequence != latest[item.work]), None
        )
        if spare is None:
            raise Unavailable(f"cannot report: {len(items)} reports wait for the node to acknowledge them")
        items = tuple(item for item in items if item is not spare)
    sequence = box.last + 1
    states = box.told.get(report.work, {}) | {report.state: sequence}
    # The work told of last goes to the end, so that the front is what can be forgotten.
    told = {work: old for work, old in box.told.items() if work != report.work} | {report.work: states}
    for work in list(told)[: max(0, len(told) - MAX_WORKS)]:
        del told[work]
    return Box(box.installation, sequence, (*items, msgspec.structs.replace(report, sequence=sequence)), told)


def encode(box: Box) -> bytes:
    body = msgspec.json.encode(box)
    return _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def decode(data: bytes) -> Box | None:
    """None when the bytes do not verify."""
    header, separator, body = data.partition(b"\n")
    if not separator or header != _MAGIC + hashlib.sha256(body).hexdigest().encode() or len(data) > MAX_BYTES:
        return None
    try:
        return msgspec.json.decode(body, type=Box)
    except msgspec.MsgspecError:
        return None
