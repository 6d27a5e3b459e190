"""The heartbeat: answered from memory while nothing is new, held open until something is (SPEC section 8)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import datetime

import msgspec

from tidegate.control.channel.desk import Desk, Said, Standing
from tidegate.control.channel.identity import Caller
from tidegate.control.channel.presence import Presence
from tidegate.control.services.node import Node
from tidegate.wire.device import Heartbeat, HeartbeatAnswer, LogRequest

MAX_WAIT_SECONDS = 60


class Heartbeats:
    """Owned by one event loop. `interval_factor` is how much the interval is widened now."""

    def __init__(self, node: Node, desk: Desk, presence: Presence, interval_factor: Callable[[], int]) -> None:
        self._node = node
        self._desk = desk
        self._presence = presence
        self._factor = interval_factor
        self._held = 0
        self._closing = False
        self._bundle = ""
        self._bundle_sha256 = ""

    @property
    def held(self) -> int:
        return self._held

    def set_bundle(self, pem: bytes) -> None:
        """The CA bundle that devices verify the node with."""
        self._bundle = pem.decode("ascii")
        self._bundle_sha256 = hashlib.sha256(pem).hexdigest()

    def close(self) -> None:
        """Answer every held heartbeat now and hold none from here on."""
        self._closing = True
        self._desk.wake_all()

    def at_once(self, caller: Caller, said: Said) -> HeartbeatAnswer | None:
        """The answer, where memory has it and the device does not want to wait for another; else None."""
        standing = self._standing(caller)
        if not standing.settled(said):
            return None
        interval = self._interval(caller)
        if said.beat.wait_seconds and not _news(caller, standing, said.beat.seen) and not self._closing:
            return None
        now = self._node.clock.now()
        self._presence.heard(caller.device.id, now, said.beat.waiting_on, said.in_progress)
        return self._answer(caller, standing, said.beat, interval, now)

    async def __call__(self, caller: Caller, said: Said) -> HeartbeatAnswer:
        answer = self.at_once(caller, said)
        if answer is not None:
            return answer
        now = self._node.clock.now()
        beat = said.beat
        self._presence.heard(caller.device.id, now, beat.waiting_on, said.in_progress)
        standing = self._standing(caller)
        await self._desk.settle(standing, said)
        interval = self._interval(caller)
        wait = min(beat.wait_seconds, interval, MAX_WAIT_SECONDS)
        if wait and not _news(caller, standing, beat.seen):
            await self._hold(caller, standing, beat.seen, wait)
        return self._answer(caller, standing, beat, interval, now)

    def _standing(self, caller: Caller) -> Standing:
        return self._desk.standing(caller.device, caller.identity.installation, caller.identity.report_sequence)

    def _interval(self, caller: Caller) -> int:
        return self._desk.interval_seconds(caller.device.fleet_id) * self._factor()

    async def _hold(self, caller: Caller, standing: Standing, seen: str, seconds: float) -> None:
        """Wait until the desired state is another, time is over, the device calls anew, or the node goes down."""
        standing.turn += 1  # one held heartbeat per device: the older one is answered
        standing.wake()
        if self._held >= self._node.settings.max_held or self._closing or caller.tls.get("closed"):
            return
        turn = standing.turn
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        self._held += 1
        try:
            while not _news(caller, standing, seen) and standing.turn == turn and not self._closing:
                if standing.stale:
                    await self._desk.compute(standing)
                    continue
                woken: asyncio.Future[None] = loop.create_future()
                standing.held = caller.tls["held"] = woken
                timer = loop.call_at(ends, _expire, woken)
                try:
                    await woken
                finally:
                    timer.cancel()
                if not standing.stale:
                    return  # out of time, the connection is gone, or the device's record changed
        finally:
            self._held -= 1
            if standing.turn == turn:
                standing.held = None

    def _answer(
        self, caller: Caller, standing: Standing, beat: Heartbeat, interval: int, now: datetime
    ) -> HeartbeatAnswer:
        # The bundle itself goes once over each connection, and again when it has changed.
        tell_bundle = caller.tls.get("ca_bundle_sha256") != self._bundle_sha256
        caller.tls["ca_bundle_sha256"] = self._bundle_sha256
        untold = _untold(caller, standing)
        caller.tls["logs_told"] = standing.logs
        return HeartbeatAnswer(
            interval_seconds=interval,
            desired_digest=standing.digest,
            ca_bundle_sha256=self._bundle_sha256,
            server_time=now,
            desired=msgspec.UNSET if standing.digest == beat.seen else standing.desired,
            log_requests=untold,
            report_sequence=standing.sequence_of(beat.installation),
            renew_now=now >= caller.renew_at,
            ca_bundle=self._bundle if tell_bundle else "",
        )


def _news(caller: Caller, standing: Standing, seen: str) -> bool:
    """Whether there is something to tell that need not wait."""
    return standing.digest != seen or bool(_untold(caller, standing))


def _untold(caller: Caller, standing: Standing) -> tuple[LogRequest, ...]:
    """Log requests are told once over each connection: an agent that starts anew makes a new one."""
    if not standing.logs:
        return ()
    told = caller.tls.get("logs_told", ())
    return tuple(one for one in standing.logs if one not in told)


def _expire(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
