"""The thin loop around `next_step`: observe, decide, journal or perform one step, and again.

    executor = open_executor(state_dir, fetcher=…, prober=…, leave=…, inhibitor=…, clock=…, pause=…,
                             owner=…)
    waiting = executor.run(desired)     # blocks until nothing can go on right now; None: only finish what is applying
    executor.desire(desired)            # from another thread: replaces the desired state while `run` goes on
    Waiting(waiting_on: str, retry_seconds: float | None, stopped: bool)

What a daemon shows (installed, in progress) is read by agent/view.py; reports are sent from agent/outbox.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from tidegate.agent.journal import Damaged
from tidegate.agent.observe import Life, book_of, observe, running_version, unknown
from tidegate.agent.orders import order_of
from tidegate.agent.outbox import TERMINAL
from tidegate.agent.parts import Parts
from tidegate.agent.perform import TROUBLE_RETRY_SECONDS, Performer, Stopped, words
from tidegate.agent.transaction.book import Book
from tidegate.agent.transaction.decide import goes_on_unwritten, next_step
from tidegate.agent.transaction.model import IN_FLIGHT, Kind, Record
from tidegate.agent.transaction.steps import Close, LookAgain, Wait
from tidegate.errors import Invalid, Unavailable
from tidegate.ids import ARTIFACT_NAME
from tidegate.wire.device import DesiredState

MAX_WORK = 256


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why nothing goes on, in words, and when to call again; `retry_seconds` None: when something changes."""

    waiting_on: str = ""
    retry_seconds: float | None = None
    stopped: bool = False


class Executor:
    """One process life over one state folder; `run` from one thread, `desire` from any."""

    def __init__(self, parts: Parts, release: Callable[[], object] = lambda: None) -> None:
        self._parts = parts
        self._release = release
        self._performer = Performer(parts, self._wanted)
        self._book = Book()
        self._lives: dict[str, Life] = {}
        self._desired: DesiredState | None = None
        self._notice = ""
        self._unsettled = True

    def desire(self, desired: DesiredState | None) -> None:
        """What the node wants from now on; None: not known."""
        self._desired = desired

    def close(self) -> None:
        """Let another executor work on this state; the end of the process does so too."""
        self._release()

    def run(self, desired: DesiredState | None) -> Waiting:
        """Do all that can be done now, one transaction at a time."""
        self.desire(desired)
        book = book_of(self._parts.journal, self._parts.payloads)
        if isinstance(book, Damaged):
            return self._stand_still(book)
        self._book = book
        notice = desired.notice if desired is not None else ""
        for life in self._lives.values():
            life.untellable = ""
            if notice != self._notice and life.asked is not None and not life.asked.answer.granted:
                # What stood against it has changed, such as a halt that was resumed: worth asking again at once.
                life.asked = None
        self._notice = notice
        try:
            return self._passes()
        except Stopped:
            return Waiting("stopped on request", stopped=True)
        except OSError as error:
            return Waiting(f"cannot read the state of this device: {words(error)}", TROUBLE_RETRY_SECONDS)

    def _stand_still(self, damaged: Damaged) -> Waiting:
        """Touch nothing. What the node asks for fails with the reason, so that nobody waits for what cannot come."""
        waits = {"": Wait(unknown(damaged), None if damaged.lasting else TROUBLE_RETRY_SECONDS)}
        for work in self._desired.work[:MAX_WORK] if self._desired is not None and damaged.lasting else ():
            if not self._parts.outbox.told(work.id) & TERMINAL:
                outcome = "revert_failed" if work.kind in (Kind.REVERT, Kind.REMOVE) else "failed"
                self._report(waits, work.id, outcome, self._running(work.artifact), unknown(damaged))
        return _summary(waits)

    def _passes(self) -> Waiting:
        """Pass over all open work until a whole pass ends nothing, and the node wants nothing else meanwhile."""
        while True:
            desired, ended, waits = self._desired, False, dict[str, Wait]()
            for work in self._agenda():
                wait = self._take_up(work) or self._drive(work)
                if wait is None:
                    ended = True
                    continue
                waits[work] = wait
                record = self._book.record(work)
                if record is not None and record.phase in IN_FLIGHT:
                    # One transaction at a time: until this one is over, no other may begin.
                    return _summary(waits)
            self._tell_again(waits)
            if not ended and desired is self._desired:
                return _summary(waits)

    def _agenda(self) -> tuple[str, ...]:
        """Open work in the order to take it up: what is in flight, what the node took back, what it wants."""
        records = self._book.records
        flying = [record.order.work for record in records if record.phase in IN_FLIGHT]
        if self._desired is None:
            return tuple(flying)
        named = [work.id for work in self._desired.work[:MAX_WORK] if work.id not in self._book.ended]
        taken_back = [record.order.work for record in records if record.order.work not in named]
        return tuple(dict.fromkeys([*flying, *taken_back, *named]))

    def _drive(self, work: str) -> Wait | None:
        """Bring one piece of work as far as it goes now; None when it is over."""
        life = self._lives.setdefault(work, Life())
        while (record := self._book.record(work)) is not None:
            try:
                self._settle()
            except OSError as error:
                if not goes_on_unwritten(record):
                    return Wait(f"cannot flush the disk: {words(error)}", TROUBLE_RETRY_SECONDS)
            facts = observe(self._parts, self._book, record, life, self._wanted(work))
            decided, step = next_step(record, facts)
            trouble: Wait | None = None
            match step:
                case Wait():
                    return step
                case LookAgain():
                    trouble = self._write(self._book.entered(decided), unwritten=goes_on_unwritten(decided))
                case Close():
                    version = running_version(self._parts.payloads, record.order.artifact)
                    trouble = self._write(self._book.closed(record, version, self._named()))
                case _:
                    self._performer.perform(step, record, life, self._book)
            if trouble is not None:
                return trouble
        del self._lives[work]
        return None

    def _take_up(self, work: str) -> Wait | None:
        """Open a record for work that has none; a Wait when that cannot be."""
        if self._book.record(work) is not None or self._desired is None:
            return None
        asked = next((one for one in self._desired.work if one.id == work), None)
        if asked is None:
            return None
        try:
            order = order_of(asked)
        except Invalid as error:
            return Wait(f"cannot take up what the node asks for: {error.detail}")
        return self._write(self._book.entered(Record(order)))

    def _write(self, book: Book, *, unwritten: bool = False) -> Wait | None:
        """Journal `book`; a Wait when that cannot be done and nothing may happen without."""
        try:
            self._parts.journal.write(book)
        except OSError as error:
            if not unwritten:
                return Wait(f"cannot write the journal: {words(error)}", TROUBLE_RETRY_SECONDS)
        self._book = book
        return None

    def _settle(self) -> None:
        """Make durable, once in a life, what an earlier one may have renamed and not flushed; raises `OSError`.

        A rename that a new process sees can still be lost with the power; nothing may be built on it before.
        """
        if self._unsettled:
            self._parts.journal.settle()
            self._parts.outbox.settle()
            for name in sorted(self._book.names()):
                for payload in self._parts.payloads.values():
                    payload.settle(name)
            self._unsettled = False

    def _tell_again(self, waits: dict[str, Wait]) -> None:
        """Work that is over and that the node still asks for: tell its outcome, unless that is already under way."""
        for work in self._named() & self._book.ended.keys():
            ended = self._book.ended[work]
            self._report(waits, work, ended.outcome.value, ended.running_version, ended.reason, ended.output)

    def _report(
        self, waits: dict[str, Wait], work: str, state: str, version: str | None, reason: str, output: str = ""
    ) -> None:
        try:
            self._performer.report(work, state, version, reason, output)
        except (OSError, Unavailable, msgspec.ValidationError) as error:
            waits[work] = Wait(f"cannot report: {words(error)}", TROUBLE_RETRY_SECONDS)

    def _running(self, artifact: str) -> str | None:
        """The version that runs of what the node calls by this name, which may not even be one."""
        return running_version(self._parts.payloads, artifact) if ARTIFACT_NAME.fullmatch(artifact) else None

    def _named(self) -> frozenset[str]:
        desired = self._desired
        return frozenset() if desired is None else frozenset(work.id for work in desired.work[:MAX_WORK])

    def _wanted(self, work: str) -> bool:
        """Whether the node still names the work; what it wants is not known while it cannot be reached."""
        return self._desired is None or work in self._named()


def _summary(waits: dict[str, Wait]) -> Waiting:
    reasons = dict.fromkeys(wait.reason for wait in waits.values())
    retries = [wait.retry_seconds for wait in waits.values() if wait.retry_seconds is not None]
    return Waiting("; ".join(reasons), min(retries, default=None))
