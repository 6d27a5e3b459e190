"""What a daemon shows of the device without working on it: read afresh each time, safe beside a running executor."""

from __future__ import annotations

from pathlib import Path

from tidegate.agent import state
from tidegate.agent.journal import Damaged
from tidegate.agent.observe import book_of, unknown
from tidegate.agent.outbox import TERMINAL
from tidegate.agent.transaction.book import Book, Slot
from tidegate.agent.transaction.model import IN_FLIGHT, Phase, Record
from tidegate.wire.device import DesiredState, InProgress, Installed, ReportState

MAX_ITEMS = 256
DRIFT_MAX = 1024

_STATES: dict[Phase, ReportState] = {
    Phase.FETCH: "downloading",
    Phase.STAGE: "verifying",
    Phase.READY: "ready",
    Phase.APPLYING: "applying",
    Phase.PROBING: "probing",
    Phase.ROLLBACK: "applying",
    Phase.DONE: "applying",
}


class View:
    def __init__(self, state_dir: Path) -> None:
        self._journal = state.journal(state_dir)
        self._payloads = state.payloads(state_dir)
        self.outbox = state.outbox(state_dir)
        #: Percent downloaded, by work id, as the working process said last; of no importance beyond this process.
        self.downloaded: dict[str, int] = {}

    def installed(self) -> tuple[Installed, ...]:
        """What runs, as the machine shows it; only the previous version is the journal's word.

        Of what is just being switched nothing is called drift.
        """
        book = self._book()
        flying = {record.order.artifact for record in book.records if record.phase in IN_FLIGHT}
        found = []
        for payload in self._payloads.values():
            for name in payload.names():
                facts, slot = payload.facts(name), book.slots.get(name, Slot())
                if facts.running is not None:
                    kept = slot.previous if slot.previous in facts.whole and slot.previous != facts.running else None
                    found.append(
                        Installed(
                            name,
                            facts.running.version,
                            facts.running.descriptor_sha256,
                            None if kept is None else kept.version,
                            "" if name in flying else facts.unsettled[:DRIFT_MAX],
                        )
                    )
        return tuple(found[:MAX_ITEMS])

    def in_progress(self) -> tuple[InProgress, ...]:
        """Work taken up and not over."""
        records = self._book().records[:MAX_ITEMS]
        return tuple(InProgress(one.order.work, _STATES[one.phase], self._detail(one)) for one in records)

    def damaged(self) -> str:
        """That the state is unknown, why, and what its owner can do, as a sentence; empty when it is known."""
        book = book_of(self._journal, self._payloads)
        return unknown(book) if isinstance(book, Damaged) else ""

    def held_up(self) -> tuple[str, ...]:
        """Which artifacts cannot be changed because a record about them is damaged, and what their owner can do."""
        return tuple(
            sentence
            for payload in self._payloads.values()
            for name in payload.names()
            for sentence in payload.damaged(name)
        )[:MAX_ITEMS]

    def has_work(self, desired: DesiredState | None) -> bool:
        """Whether an executor would find anything to do; None: before the node has said what it wants."""
        book = book_of(self._journal, self._payloads)
        if isinstance(book, Damaged):
            works = () if desired is None else desired.work
            return any(not (book.lasting and self.outbox.told(work.id) & TERMINAL) for work in works)
        if desired is None:
            return any(record.phase in IN_FLIGHT for record in book.records)
        return bool(book.records) or any(not self._over(book, work.id) for work in desired.work)

    def _over(self, book: Book, work: str) -> bool:
        """Whether the work has ended and its outcome is told, or waits in the outbox."""
        ended = book.ended.get(work)
        return ended is not None and ended.outcome.value in self.outbox.told(work)

    def _book(self) -> Book:
        book = book_of(self._journal, self._payloads)
        return Book() if isinstance(book, Damaged) else book

    def _detail(self, record: Record) -> str:
        if record.phase is Phase.FETCH and record.order.work in self.downloaded:
            return f"{self.downloaded[record.order.work]} %"
        if record.phase is Phase.ROLLBACK:
            return f"rolling back: {record.reason}"[:1024]
        if record.phase in (Phase.APPLYING, Phase.PROBING) and record.trials > 1:
            return f"trial {record.trials}"
        return ""
