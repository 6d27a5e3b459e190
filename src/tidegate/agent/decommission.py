"""The end of a decommissioned device that was told to stop its workloads: nothing that was installed stays in force.

`identity/final.json` is the intent. Keys and certificate are gone before this begins, so that nothing here can put the
wipe off. Each artifact is taken out by the transaction's own removal, without the node: whatever cuts it off, the next
start of the agent goes on, until nothing is left or what is left cannot be removed.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

from tidegate.agent import state
from tidegate.agent.execute import Executor
from tidegate.agent.here import Here
from tidegate.agent.inforce import InForce
from tidegate.agent.inhibitor import InhibitFile
from tidegate.agent.journal import Damaged
from tidegate.agent.observe import book_of
from tidegate.agent.parts import Contents, JournalPort
from tidegate.agent.payloads.base import Payload, PayloadFacts
from tidegate.agent.perform import Stopped
from tidegate.agent.settings import Source
from tidegate.agent.transaction.book import Book, Ended
from tidegate.agent.transaction.model import Outcome
from tidegate.agent.words import plain
from tidegate.clock import SystemClock
from tidegate.errors import Unavailable
from tidegate.wire.device import DesiredState, LeaveAnswer, LeaveRequest, Report, ReportState, Work

log = logging.getLogger(__name__)

#: How often what has no time of its own is looked at again, such as the inhibitor.
LOOK_SECONDS = 5.0


class Untold:
    """The outbox of a device that nobody listens to: every state counts as told, so that nothing waits for a report."""

    def settle(self) -> None:
        return

    def told(self, work: str) -> frozenset[str]:
        return frozenset(get_args(ReportState))

    def add(self, report: Report) -> None:
        return


class Alone(Here):
    """The executor's way to a world without the node: nothing can be fetched, and nobody need be asked for leave."""

    def fetch(self, work: Work, store: Contents, wanted: Callable[[], bool]) -> None:
        raise Unavailable(f"cannot fetch {work.artifact}: this device is decommissioned")

    def leave(self, request: LeaveRequest) -> LeaveAnswer:
        return LeaveAnswer(granted=True)


def stop_workloads(source: Source) -> bool:
    """Take everything out of force that was installed; False when asked to stop before it was at an end.

    Raises:
        Conflict: another process still works on this state.
        OSError: the state folder cannot be written.
    """
    asked_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_stop.set())
    inforce = InForce(source)
    state_dir, ports = Path(inforce.settings.state_dir), Alone(inforce, asked_to_stop.is_set)
    executor = state.open_executor(
        state_dir,
        fetcher=ports,
        prober=ports,
        leave=ports,
        inhibitor=InhibitFile(ports.inhibited),
        clock=SystemClock(),
        pause=asked_to_stop.wait,
        owner=ports.owner(source),
        reports=Untold(),
    )
    try:
        for trouble in take_out(
            executor, state.journal(state_dir), state.payloads(state_dir), os.urandom(8).hex(), asked_to_stop.wait
        ):
            log.error("%s", plain(trouble))
    except Stopped:
        return False
    finally:
        executor.close()
    return True


def take_out(
    executor: Executor, journal: JournalPort, payloads: Mapping[str, Payload], life: str, pause: Callable[[float], bool]
) -> tuple[str, ...]:
    """Finish what is applying, drop what is not, then remove every artifact; why one stays in force, a sentence each.

    `life` names this process life: a removal that failed in an earlier one is begun anew.

    Raises:
        Stopped: the process was asked to stop.
    """
    try:
        _to_the_end(executor, DesiredState(), journal, payloads, pause)
        troubles = []
        for name in _on_device(payloads):
            work = f"decommission/{life}/{name}"
            _to_the_end(executor, DesiredState((Work(work, "remove", name),)), journal, payloads, pause)
            ended = _ended(journal, payloads, work)
            if ended is None or ended.outcome is not Outcome.REVERTED:
                troubles.append(f"cannot take {name} out of force: {ended.reason if ended else 'its end is not known'}")
            else:
                log.info("took %s out of force", name)
    except Unavailable as error:
        return (error.detail,)
    return tuple(troubles)


def _on_device(payloads: Mapping[str, Payload]) -> tuple[str, ...]:
    every = {(name, one.facts(name)) for one in payloads.values() for name in one.names()}
    return tuple(sorted({name for name, facts in every if facts != PayloadFacts()}))


def _to_the_end(
    executor: Executor,
    desired: DesiredState,
    journal: JournalPort,
    payloads: Mapping[str, Payload],
    pause: Callable[[float], bool],
) -> None:
    """Run until nothing is waited for; a wait is as long as its reason lasts.

    Raises:
        Unavailable: the journal is damaged, so that nothing may be touched before the owner has repaired it.
        Stopped: the process was asked to stop.
    """
    said = ""
    while (waiting := executor.run(desired)).waiting_on:
        damaged = book_of(journal, payloads)
        if isinstance(damaged, Damaged) and damaged.lasting:
            raise Unavailable(waiting.waiting_on)
        if waiting.waiting_on != said:
            said = waiting.waiting_on
            log.warning("stopping the workloads waits: %s", plain(said))
        if waiting.stopped or pause(LOOK_SECONDS if waiting.retry_seconds is None else waiting.retry_seconds):
            raise Stopped


def _ended(journal: JournalPort, payloads: Mapping[str, Payload], work: str) -> Ended | None:
    book = book_of(journal, payloads)
    return book.ended.get(work) if isinstance(book, Book) else None
