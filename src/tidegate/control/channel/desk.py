"""What the channel remembers of each device: its desired state, what is new about it, and the heartbeat it holds open.

A desired state is computed by services/work.py in a transaction; here it is only kept, until something may have
changed it: a nudge, a generation that moved (looked at every few seconds), a report or another `installed`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection
from typing import TypeVar, TypeVarTuple, Unpack

import anyio
import msgspec
from anyio.to_thread import run_sync

from tidegate.control.domain.devices import DeviceRef
from tidegate.control.services import logs, work
from tidegate.control.services.hub import Change
from tidegate.control.services.node import Node
from tidegate.control.store import fleets
from tidegate.errors import Unavailable
from tidegate.ids import DeviceId, FleetId
from tidegate.wire.device import DesiredState, Heartbeat, LogRequest

#: Requests at the database at once, and how many may wait for their turn.
WORKERS = 4
MAX_WAITING = 500
POLL_SECONDS = 5.0
R = TypeVar("R")
Ts = TypeVarTuple("Ts")
_JSON = msgspec.json.Encoder()


def digest_of(state: DesiredState) -> str:
    """What a device sends back as `seen`."""
    return hashlib.sha256(_JSON.encode(state)).hexdigest()


EMPTY = DesiredState()
_EMPTY_DIGEST = digest_of(EMPTY)


class Said:
    """A heartbeat, with the digest of what it says is installed and its words about what is in progress as JSON."""

    __slots__ = ("beat", "in_progress", "installed")

    def __init__(self, beat: Heartbeat) -> None:
        self.beat = beat
        self.in_progress = _JSON.encode(beat.in_progress)
        self.installed = hashlib.sha256(_JSON.encode(sorted(beat.installed, key=lambda one: one.artifact))).digest()


class Standing:
    """One device, between its heartbeats."""

    __slots__ = (
        "computed",
        "desired",
        "device",
        "digest",
        "held",
        "installation",
        "installed",
        "logs",
        "sequence",
        "turn",
        "wanted",
    )

    def __init__(self, device: DeviceRef, installation: str | None, sequence: int) -> None:
        self.device = device
        self.installation = installation
        self.sequence = sequence
        self.installed: bytes | None = None  # digest of what it last said it runs; None: not told yet
        self.desired = EMPTY
        self.digest = _EMPTY_DIGEST
        self.logs: tuple[LogRequest, ...] = ()  # what is wanted of its logs
        self.wanted = 1  # grows with every change; `desired` answers for the change numbered `computed`
        self.computed = 0
        self.held: asyncio.Future[None] | None = None
        self.turn = 0  # grows with every heartbeat that is held; only the last one is

    def settled(self, said: Said) -> bool:
        """Whether `desired` is the answer to this, with nothing to look up."""
        return self.installed == said.installed and self.computed >= self.wanted

    @property
    def busy(self) -> bool:
        """It was given something to do."""
        return self.digest != _EMPTY_DIGEST or bool(self.logs)

    @property
    def stale(self) -> bool:
        return self.computed < self.wanted

    def mark(self) -> None:
        """Its desired state may have changed; a held heartbeat looks at once."""
        self.wanted += 1
        self.wake()

    def wake(self) -> None:
        if self.held is not None and not self.held.done():
            self.held.set_result(None)

    def sequence_of(self, installation: str) -> int:
        """The highest report acknowledged from that installation."""
        return self.sequence if installation == self.installation else 0


class Desk:
    """Owned by one event loop."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._standing: dict[DeviceId, Standing] = {}
        self._generations: dict[FleetId, int] = {}
        self._intervals: dict[FleetId, int] = {}
        self._limiter = anyio.CapacityLimiter(WORKERS)

    def __len__(self) -> int:
        return len(self._standing)

    @property
    def waiting(self) -> int:
        return self._limiter.statistics().tasks_waiting

    def interval_seconds(self, fleet_id: FleetId) -> int:
        return self._intervals.get(fleet_id, self._node.settings.interval_seconds)

    def standing(self, device: DeviceRef, installation: str | None, sequence: int) -> Standing:
        """The device's place; a new one takes what is on record about its reports."""
        found = self._standing.get(device.id)
        if found is None:
            found = self._standing[device.id] = Standing(device, installation, sequence)
        return found

    def forget(self, device_id: DeviceId) -> None:
        """Its identity changed: a held heartbeat ends, and the next one starts from what is on record."""
        gone = self._standing.pop(device_id, None)
        if gone is not None:
            gone.wake()

    def wake_all(self) -> None:
        for standing in self._standing.values():
            standing.wake()

    async def settle(self, standing: Standing, said: Said) -> None:
        """Make `standing.desired` current, telling the rollouts first what the device runs, where that is new.

        Touches the database only when there is something new.

        Raises:
            Unavailable: too many requests wait already.
        """
        if standing.installed != said.installed:
            remember = await self.run(work.observe, self._node, standing.device, said.beat.installed)
            # False: a report crossed with this heartbeat, and the next one is looked at again.
            standing.installed = said.installed if remember else None
            standing.wanted += 1
        if standing.stale:
            await self.compute(standing)

    async def compute(self, standing: Standing) -> None:
        wanted = standing.wanted
        desired, asked = await self.run(self._wanted_of, standing.device)
        if wanted > standing.computed:
            standing.desired, standing.digest, standing.computed = desired, digest_of(desired), wanted
            standing.logs = asked

    def _wanted_of(self, device: DeviceRef) -> tuple[DesiredState, tuple[LogRequest, ...]]:
        return work.desired(self._node, device), logs.pending(self._node, device)

    async def run(self, function: Callable[[Unpack[Ts]], R], *args: *Ts) -> R:
        """Call `function` in a thread, when its turn comes."""
        if self.waiting >= MAX_WAITING:
            raise Unavailable("cannot look this up for now: too many devices ask at once", retry_after_seconds=15)
        return await run_sync(function, *args, limiter=self._limiter)

    # -- learning that something changed ------------------------------------------------------------------------------

    async def changed(self, change: Change) -> None:
        """A nudge from this process."""
        if change.devices is not None:
            self.mark(change.devices)
        else:
            await self._mark_fleet(change.fleet_id)

    def mark(self, device_ids: Collection[DeviceId]) -> None:
        for device_id in device_ids:
            standing = self._standing.get(device_id)
            if standing is not None:
                standing.mark()

    async def look(self) -> None:
        """Re-read the generations; where one moved, look at every device that has or had something to do."""
        found = await run_sync(self._read)
        for fleet_id, generation in found.items():
            if self._generations.get(fleet_id) != generation:
                await self._mark_fleet(fleet_id)
                self._generations[fleet_id] = generation

    def _read(self) -> dict[FleetId, int]:
        with self._node.db.read() as tx:
            self._intervals = {fleet.id: fleet.interval_seconds for fleet in fleets.every(tx)}
        return dict(work.generation(self._node))

    async def _mark_fleet(self, fleet_id: FleetId) -> None:
        busy = await run_sync(work.devices_with_work, self._node, fleet_id)
        busy |= await run_sync(logs.devices_asked, self._node, fleet_id)
        had = {
            device_id
            for device_id, standing in self._standing.items()
            if standing.device.fleet_id == fleet_id and standing.busy
        }
        self.mark(busy | had)
