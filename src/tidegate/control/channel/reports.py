"""Reports: many devices' batches in one transaction, acknowledged after its commit (SPEC P6)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog
from anyio.to_thread import run_sync

from tidegate.control.domain.devices import DeviceRef
from tidegate.control.problems import understood
from tidegate.control.services import work
from tidegate.control.services.node import Node
from tidegate.errors import Defect, Unavailable
from tidegate.wire.device import Reports, ReportsAnswer

log = structlog.get_logger()

MAX_QUEUED = 512
#: Of one transaction.
MAX_BATCHES = 64
MAX_ITEMS = 2_000


@dataclass(frozen=True, slots=True)
class _Waiting:
    device: DeviceRef
    reports: Reports
    answered: asyncio.Future[ReportsAnswer]


class ReportQueue:
    """Owned by one event loop; `run` is its only committer."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._waiting: list[_Waiting] = []
        self._arrived = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    async def put(self, device: DeviceRef, reports: Reports) -> ReportsAnswer:
        """Commit one batch, together with whatever else waits.

        Raises:
            Unavailable: the queue is full or the node goes down; nothing was written.
        """
        if self._closed or len(self._waiting) >= MAX_QUEUED:
            raise Unavailable("cannot take reports for now: too many wait to be written", retry_after_seconds=5)
        answered: asyncio.Future[ReportsAnswer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(device, reports, answered))
        self._arrived.set()
        return await answered

    async def run(self) -> None:
        """Commit what waits until `close` was called and nothing waits."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                await self._commit(self._take())
            if self._closed:
                return

    def close(self) -> None:
        """Take nothing new; what waits is still committed."""
        self._closed = True
        self._arrived.set()

    def _take(self) -> list[_Waiting]:
        items = 0
        for count, one in enumerate(self._waiting[:MAX_BATCHES]):
            items += len(one.reports.items)
            if items > MAX_ITEMS and count:
                break
        else:
            count = min(len(self._waiting), MAX_BATCHES)
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    async def _commit(self, group: list[_Waiting]) -> None:
        try:
            answers = await run_sync(work.report, self._node, [(one.device, one.reports) for one in group])
            if len(answers) != len(group):
                raise Defect(f"{len(group)} batches of reports were given {len(answers)} answers")
        except Exception as error:  # noqa: BLE001 - handed to those who wait for it
            told = understood(error)
            if len(group) == 1 or isinstance(told, Unavailable):
                for one in group:
                    if not one.answered.done():
                        one.answered.set_exception(told)
                return
            # One batch must not take the others down with it: each gets a transaction of its own.
            for one in group:
                await self._commit([one])
            return
        for one, answer in zip(group, answers, strict=True):
            if not one.answered.done():
                one.answered.set_result(answer)
