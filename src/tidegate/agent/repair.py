"""`tidegate-agent repair`: a damaged journal is set aside, and a new one is written from what the machine shows.

So are damaged records of single artifacts, such as what was at a config's destination before.

Run by the device's owner, for only he knows what happened to the disk. Nothing that runs is touched, and nothing is
believed that was not hashed; what only the damaged journal knew is said to be lost.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tidegate.agent import state
from tidegate.agent.files import Files
from tidegate.agent.journal import Damaged
from tidegate.agent.observe import book_of, read_descriptor
from tidegate.agent.parts import Contents
from tidegate.agent.payloads.base import Payload
from tidegate.agent.transaction.book import Book, Ended, Slot
from tidegate.agent.transaction.model import Outcome, Release
from tidegate.errors import Unavailable

MENDED = "left as it is, and mended when this version is installed or restored again"


@dataclass(frozen=True, slots=True)
class Found:
    """One version on the device; `damage` says why it cannot be called the signed one."""

    release: Release
    damage: str


def repair(state_dir: Path, files: Files | None = None) -> tuple[str, ...]:
    """What was done and found, a sentence each; safe to run again after any interruption.

    Raises:
        Conflict: an update is being worked on.
        Unavailable: the new journal cannot be written; the state stays unknown.
    """
    try:
        lock = state.lock_of(state_dir)
    except FileNotFoundError:
        raise Unavailable(f"cannot repair {state_dir}: there is no such folder") from None
    try:
        journal, payloads = state.journal(state_dir, files), state.payloads(state_dir, files)
        mended = [said for payload in payloads.values() for name in payload.names() for said in payload.repair(name)]
        damaged = book_of(journal, payloads)
        if not isinstance(damaged, Damaged):
            return (*mended, "the journal is whole: nothing was changed" + (" in it" if mended else ""))
        book, found = rebuilt(payloads, state.store(state_dir, files), state.outbox(state_dir, files).outcomes())
        aside = journal.set_aside()
        journal.write(book)
    except OSError as error:
        raise Unavailable(f"cannot repair {state_dir}: {error.strerror or error}") from error
    finally:
        os.close(lock)
    kept = () if aside is None else (f"it is kept as {aside}",)
    return (
        *mended,
        damaged.reason,
        *kept,
        *found,
        "a new journal was written; the agent goes on with its next heartbeat",
    )


def rebuilt(payloads: Mapping[str, Payload], store: Contents, outcomes: Mapping[str, str]) -> tuple[Book, list[str]]:
    """The journal that the machine itself stands for, and what there is to say about it."""
    slots: dict[str, Slot] = {}
    found: list[str] = []
    for kind, payload in payloads.items():
        for name in payload.names():
            facts = payload.facts(name)
            if facts.foreign:
                found.append(f"{name}: {facts.foreign}; left as it is")
                continue
            versions = [_hashed(payload, store, name, release) for release in payload.laid_out(name)]
            previous = _previous(facts.running, versions)
            found += [_said(name, one, facts.running, previous) for one in versions]
            if facts.unsettled:
                found.append(f"{name}: {facts.unsettled}; left as it is")
            if facts.running is not None:
                slots[name] = Slot(facts.running, previous, kind)
    ended = {work: Ended(Outcome(outcome), "told before the journal was damaged") for work, outcome in outcomes.items()}
    if ended:
        found.append(f"{len(ended)} pieces of work are over, as the reports about them say")
    return Book(slots, ended=ended), found


def _hashed(payload: Payload, store: Contents, name: str, release: Release) -> Found:
    descriptor = read_descriptor(store, release)
    if descriptor is None:
        return Found(release, "its signed descriptor is not on the device")
    try:
        changed = payload.changed(name, release, descriptor)
    except OSError as error:
        return Found(release, f"it cannot be read: {error.strerror or error}")
    return Found(release, f"these files have changed: {', '.join(changed)}" if changed else "")


def _previous(running: Release | None, versions: list[Found]) -> Release | None:
    """The version to keep for a way back: intact, laid out last before what runs, or last of all."""
    order = [one.release for one in versions]
    sound = [one.release for one in versions if not one.damage and one.release != running]
    before = [one for one in sound if running in order and order.index(one) < order.index(running)]
    return next(reversed(before or sound), None)


def _said(name: str, one: Found, running: Release | None, previous: Release | None) -> str:
    what = f"{name} {one.release.version}"
    if one.release == running:
        return f"{what} runs, {f'but {one.damage}; {MENDED}' if one.damage else 'every byte as signed'}"
    if one.release == previous and running is not None:
        return f"{what} is kept as the previous version, every byte as signed"
    return f"{what} is removed with the next update{f': {one.damage}' if one.damage else ''}"
