"""Which live pages are open, and what wakes them: one watch per fleet, shared by all of its streams.

A watch listens to the hub and, for what the hub of this process does not tell (another replica's doings, a role that
was taken away), looks at one mark every few seconds. While the mark stands still no stream asks the database anything.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from tidegate.control.problems import understood
from tidegate.control.services.hub import Change
from tidegate.control.services.node import Node
from tidegate.control.services.pulse import presence, pulse
from tidegate.ids import FleetId

MOST_STREAMS = 200
MOST_STREAMS_OF_A_SESSION = 12
#: How often a watch looks at the mark of its fleet; at presence, which is dearer, every so many looks.
LOOK_SECONDS = 5.0
LOOKS_PER_PRESENCE = 4
#: Pages drawn at once for streams: people who act come first.
DRAWN_AT_ONCE = 2


@dataclass(eq=False)
class Stream:
    """One open live page; `wake` is set when it should look again, `doubt` when it may no longer be theirs to see."""

    session: str
    fleet_id: FleetId
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    doubt: asyncio.Event = field(default_factory=asyncio.Event)


class Streams:
    """The open streams of one node. All methods are called in the event loop."""

    def __init__(
        self,
        most: int = MOST_STREAMS,
        most_of_a_session: int = MOST_STREAMS_OF_A_SESSION,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._most = most
        self._most_of_a_session = most_of_a_session
        self._look_seconds = look_seconds
        self._open: set[Stream] = set()
        self._watches: dict[FleetId, asyncio.Task[None]] = {}
        self._ending = asyncio.Event()
        self.limiter = anyio.CapacityLimiter(DRAWN_AT_ONCE)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def closed(self) -> bool:
        return self._ending.is_set()

    async def rest(self, stream: Stream, seconds: float) -> None:
        """Rest for `seconds`; until shutdown begins, or somebody's rights have changed, if that is sooner."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stream.doubt.wait(), seconds)

    def enter(self, node: Node, session: str, fleet_id: FleetId) -> Stream | None:
        """A place for one more stream; None when there is none left."""
        of_session = sum(1 for stream in self._open if stream.session == session)
        if self.closed or len(self._open) >= self._most or of_session >= self._most_of_a_session:
            return None
        stream = Stream(session, fleet_id)
        self._open.add(stream)
        if fleet_id not in self._watches:
            self._watches[fleet_id] = asyncio.create_task(self._watch(node, fleet_id))
        return stream

    def leave(self, stream: Stream) -> None:
        self._open.discard(stream)
        if not any(one.fleet_id == stream.fleet_id for one in self._open):
            watch = self._watches.pop(stream.fleet_id, None)
            if watch is not None:
                watch.cancel()

    def close(self) -> None:
        """End every stream and admit no more; called as soon as shutdown begins."""
        self._ending.set()
        for watch in self._watches.values():
            watch.cancel()
        self._watches.clear()
        self._doubt()

    def _doubt(self) -> None:
        """A session ended or a role changed: whose page is open is asked at once, whatever its fleet."""
        for stream in self._open:
            stream.doubt.set()
            stream.wake.set()

    def _wake(self, fleet_id: FleetId) -> None:
        for stream in self._open:
            if stream.fleet_id == fleet_id:
                stream.wake.set()

    async def _watch(self, node: Node, fleet_id: FleetId) -> None:
        loop = asyncio.get_running_loop()

        def nudged(change: Change) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is gone: the node is shutting down
                if change.kind == "people":
                    loop.call_soon_threadsafe(self._doubt)
                elif change.fleet_id == fleet_id:
                    loop.call_soon_threadsafe(self._wake, fleet_id)

        stop = node.hub.subscribe(nudged)
        seen: dict[str, tuple[int, ...]] = {}
        looks = 0
        try:
            while True:
                mark = await self._look(node, fleet_id, with_presence=looks % LOOKS_PER_PRESENCE == 0)
                changed = {part for part, value in mark.items() if seen.get(part, value) != value}
                if changed:
                    self._wake(fleet_id)
                if "people" in changed:
                    self._doubt()
                seen |= mark
                looks += 1
                await asyncio.sleep(self._look_seconds)
        finally:
            stop()

    async def _look(self, node: Node, fleet_id: FleetId, *, with_presence: bool) -> dict[str, tuple[int, ...]]:
        try:
            seen = await anyio.to_thread.run_sync(pulse, node, fleet_id, limiter=self.limiter)
            mark: dict[str, tuple[int, ...]] = {"pulse": seen, "people": (seen.of_node,)}
            if with_presence:
                mark["presence"] = await anyio.to_thread.run_sync(presence, node, fleet_id, limiter=self.limiter)
        except Exception as error:  # noqa: BLE001 - a database away for a while ends no watch
            understood(error)  # logs what nobody foresaw
            return {}
        return mark
