"""The device channel: a raw ASGI application for the hot path, in front of the update repository (SPEC section 8)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import anyio
import msgspec
import structlog
from anyio.to_thread import run_sync

from tidegate.control.channel import http
from tidegate.control.channel.desk import POLL_SECONDS, Desk, Said
from tidegate.control.channel.heartbeat import Heartbeats
from tidegate.control.channel.http import Disconnected, Receive, Scope, Send
from tidegate.control.channel.identity import Identities, Tls
from tidegate.control.channel.load import LOOK_SECONDS, Load
from tidegate.control.channel.logs import LogDesk
from tidegate.control.channel.presence import FLUSH_SECONDS, Presence
from tidegate.control.channel.reports import ReportQueue
from tidegate.control.problems import understood
from tidegate.control.services import registration, renewal, work
from tidegate.control.services.hub import Change
from tidegate.control.services.node import Node
from tidegate.errors import Defect, MethodNotAllowed, NotFound, Refused
from tidegate.ids import DeviceId
from tidegate.wire import device as wire
from tidegate.wire.device_calls import LOGS, MOST_BYTES, PREFIX

log = structlog.get_logger()

HEARTBEAT = f"{PREFIX}heartbeat".encode()
_REPOSITORY = "/repository/"

Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Call = Callable[[Scope, Receive], Awaitable[Any]]


class ChannelApp:
    """One per process and event loop. Nothing is served before `startup` has returned."""

    def __init__(self, node: Node, repository: Application) -> None:
        self._node = node
        self._repository = repository
        self._load = Load()
        self.desk = Desk(node)
        self.presence = Presence(node, lambda: self._load.factor)
        self.identities = Identities(node, self._identity_changed)
        self.heartbeats = Heartbeats(node, self.desk, self.presence, lambda: self._load.factor)
        self.reports = ReportQueue(node)
        self._logs = LogDesk(node, self.desk)
        self._calls: dict[str, Call] = {
            "heartbeat": self._heartbeat,
            "reports": self._report,
            "leave": self._leave,
            "register": self._register,
            "renew": self._renew,
        }
        self._decoders: dict[type, msgspec.json.Decoder[Any]] = {
            kind: msgspec.json.Decoder(kind) for kind in MOST_BYTES
        }
        self._unchanged = node.metrics.heartbeats.labels("unchanged")
        self._answered_anew = node.metrics.heartbeats.labels("changed")
        self._identity_nudge = asyncio.Event()
        self._changes: asyncio.Queue[Change] = asyncio.Queue()
        self._running: list[tuple[anyio.CancelScope, asyncio.Task[None]]] = []
        self._committer: asyncio.Task[None] | None = None
        self._stop_listening: Callable[[], None] = lambda: None

    # -- life ---------------------------------------------------------------------------------------------------------

    async def startup(self) -> None:
        """Read who may call and what is new, and start to keep up. Raises what the database raises."""
        loop = asyncio.get_running_loop()
        self._stop_listening = self._node.hub.subscribe(lambda change: _post(loop, self._changed, change))
        self.heartbeats.set_bundle(await run_sync(self._node.keyring.server_ca_pem))
        await self.identities.refresh()
        await self.desk.look()
        await self.presence.flush()
        self._committer = asyncio.create_task(self.reports.run(), name="channel reports")
        self._start("identities", lambda: self.identities.keep_fresh(self._identity_nudge))
        self._start("changes", self._apply_changes)
        self._start("generations", lambda: _every(POLL_SECONDS, self._look))
        self._start("presence", lambda: _every(FLUSH_SECONDS, self.presence.flush))
        self._start("load", self._watch_load)

    def _start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        # Cancelled through a scope, not as a task: then work in a thread ends before the task does, and nobody uses
        # the database after `shutdown`.
        scope = anyio.CancelScope()

        async def guarded() -> None:
            with scope:
                await run()

        self._running.append((scope, asyncio.create_task(guarded(), name=f"channel {name}")))

    async def shutdown(self) -> None:
        """Release held heartbeats, commit the reports that were taken, write presence."""
        self._stop_listening()
        self.heartbeats.close()
        self.reports.close()
        if self._committer is not None:
            await self._committer
        await self.stop_keeping_up()
        await self.presence.flush()

    async def stop_keeping_up(self) -> None:
        """End everything that runs in the background except the committing of reports."""
        for scope, _ in self._running:
            scope.cancel()
        await asyncio.gather(*(task for _, task in self._running))
        self._running.clear()

    def release_held(self) -> None:
        """Answer every held heartbeat now and hold none from here on; a server calls it before it drains."""
        self.heartbeats.close()

    def ended(self) -> list[str]:
        """What runs in the background and should not have ended, but has."""
        tasks = [task for _, task in self._running] + ([self._committer] if self._committer else [])
        return [task.get_name() for task in tasks if task.done()]

    def figures(self) -> dict[str, int]:
        """What metrics show."""
        return {
            "devices_known": len(self.identities),
            "devices_heard": len(self.desk),
            "heartbeats_held": self.heartbeats.held,
            "reports_waiting": len(self.reports),
            "database_waiting": self.desk.waiting,
            "presence_unwritten": self.presence.unwritten,
            "interval_factor": self._load.factor,
        }

    # -- one request --------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise Defect(f"the device channel speaks HTTP, not {scope['type']}")
        path: str = scope["path"]
        name = path.removeprefix(PREFIX) if path.startswith(PREFIX) else ""
        began, outcome = perf_counter(), "answered"
        try:
            if path.startswith(_REPOSITORY):
                caller = await self.identities.admit(scope)
                scope["device"] = caller.device
                await self._repository(scope, receive, send)
                return
            call = self._log if name.startswith(LOGS) else self._calls.get(name)
            if call is None:
                await self.identities.admit(scope)
                raise NotFound(f"cannot find {path[:256]}")
            if scope["method"] != "POST":
                raise MethodNotAllowed(f"cannot {scope['method']} {path}", ("POST",))
            await http.answer(send, await call(scope, receive))
        except Disconnected:
            outcome = "gone"
        except Exception as error:  # noqa: BLE001 - the edge: every error becomes a problem, the unforeseen ones logged
            told = understood(error)
            outcome = "refused" if isinstance(told, Refused) else "failed"
            await http.refuse(send, told)
        finally:
            self._count(self._counted_as(path, name), outcome, perf_counter() - began)

    def _counted_as(self, path: str, name: str) -> str:
        """A few names, whatever devices ask for."""
        if path.startswith(_REPOSITORY):
            return "repository"
        if name.startswith(LOGS):
            return "logs"
        return name if name in self._calls else "other"

    def _count(self, call: str, outcome: str, seconds: float) -> None:
        self._node.metrics.channel_requests.labels(call, outcome).inc()
        self._node.metrics.channel_seconds.labels(call).observe(seconds)

    async def _heartbeat(self, scope: Scope, receive: Receive) -> wire.HeartbeatAnswer:
        caller = await self.identities.admit(scope)
        beat = await self._body(scope, receive, wire.Heartbeat)
        answer = await self.heartbeats(caller, Said(beat))
        self._counted(answer)
        return answer

    def heartbeat_at_once(self, tls: Tls, body: bytes) -> bytes | None:
        """The answer to a heartbeat, where memory has it; None: call the application as for any other request.

        Refusals and errors are the application's to tell: whatever goes wrong here goes wrong there as well.
        """
        caller = self.identities.admit_known(tls)
        if caller is None:
            return None
        before: tuple[bytes, Said] | None = tls.get("heartbeat")
        if before is not None and before[0] == body:  # mostly a device says what it said the last time
            said = before[1]
        else:
            try:
                said = Said(http.decode(self._decoders[wire.Heartbeat], body))
            except Refused:
                return None
            tls["heartbeat"] = (body, said)
        answer = self.heartbeats.at_once(caller, said)
        if answer is None:
            return None
        self._counted(answer)
        return http.encode(answer)

    def _counted(self, answer: wire.HeartbeatAnswer) -> None:
        (self._unchanged if answer.desired is msgspec.UNSET else self._answered_anew).inc()

    async def _report(self, scope: Scope, receive: Receive) -> wire.ReportsAnswer:
        caller = await self.identities.admit(scope)
        batch = await self._body(scope, receive, wire.Reports)
        answer = await self.reports.put(caller.device, batch)
        standing = self.desk.standing(caller.device, caller.identity.installation, caller.identity.report_sequence)
        standing.installation, standing.sequence = batch.installation, answer.report_sequence
        standing.mark()
        for state, count in Counter(item.state for item in batch.items).items():
            self._node.metrics.reports.labels(state).inc(count)
        return answer

    async def _leave(self, scope: Scope, receive: Receive) -> wire.LeaveAnswer:
        caller = await self.identities.admit(scope)
        asked = await self._body(scope, receive, wire.LeaveRequest)
        answer = await self.desk.run(work.leave, self._node, caller.device, asked)
        self._node.metrics.leaves.labels("yes" if answer.granted else "no").inc()
        return answer

    async def _register(self, scope: Scope, receive: Receive) -> wire.Registered:
        caller = await self.identities.admit(scope)
        said = await self._body(scope, receive, wire.Register)
        await self.desk.run(registration.register, self._node, caller.device, said)
        interval = self.desk.interval_seconds(caller.device.fleet_id) * self._load.factor
        return wire.Registered(caller.device.name, caller.device.fleet, interval)

    async def _log(self, scope: Scope, receive: Receive) -> wire.LogTaken:
        caller = await self.identities.admit(scope)
        return await self._logs.take(caller.device, scope, receive)

    async def _renew(self, scope: Scope, receive: Receive) -> wire.Renewed:
        caller = await self.identities.admit(scope, renewing=True)
        asked = await self._body(scope, receive, wire.Renew)
        pem = await self.desk.run(renewal.renew, self._node, caller.device, caller.identity.fingerprint, asked.csr_pem)
        return wire.Renewed(pem, self._node.keyring.server_ca_pem().decode("ascii"))

    async def _body(self, scope: Scope, receive: Receive, kind: type[http.T]) -> http.T:
        body = await http.read_body(scope, receive, MOST_BYTES[kind])
        decoder: msgspec.json.Decoder[http.T] = self._decoders[kind]
        return http.decode(decoder, body)

    # -- keeping up ---------------------------------------------------------------------------------------------------

    def _changed(self, change: Change) -> None:
        if change.kind == "identity":
            self._identity_nudge.set()
        elif change.kind in ("rollouts", "devices"):
            self._changes.put_nowait(change)

    def _identity_changed(self, device_id: DeviceId) -> None:
        self.desk.forget(device_id)
        self.presence.forget(device_id)

    async def _apply_changes(self) -> None:
        while True:
            change = await self._changes.get()
            same = {change}
            while not self._changes.empty():
                same.add(self._changes.get_nowait())
            for one in same:
                try:
                    await self.desk.changed(one)
                except Exception as error:  # noqa: BLE001 - whatever the driver raises; the next look makes up for it
                    log.warning("cannot look at a change", fleet=one.fleet_id, error=str(error))

    async def _look(self) -> None:
        try:
            await self.desk.look()
            self.heartbeats.set_bundle(await run_sync(self._node.keyring.server_ca_pem))
        except Exception as error:  # noqa: BLE001 - whatever the driver raises: told, and tried again
            log.warning("cannot look for changes", error=str(error))

    async def _watch_load(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK_SECONDS
            await asyncio.sleep(LOOK_SECONDS)
            late = max(0.0, loop.time() - due)
            self._load = self._load.look(late_seconds=late, queued=self.desk.waiting + len(self.reports))


def create(node: Node, repository: Application) -> ChannelApp:
    """The device channel of this process; `repository` serves `/repository/*` to the device in ``scope["device"]``."""
    return ChannelApp(node, repository)


async def _every(seconds: float, act: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        await act()


def _post(loop: asyncio.AbstractEventLoop, function: Callable[[Change], None], change: Change) -> None:
    try:
        loop.call_soon_threadsafe(function, change)
    except RuntimeError:  # the loop is closed: nobody is left to be told
        return
