"""The composition root: one node with its listeners and workers, in one process and one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import anyio.to_thread
import msgspec
import sqlalchemy.exc
import structlog
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from tidegate.clock import Clock, SystemClock
from tidegate.control import server
from tidegate.control.api import enrollment, health, problems, repository, table
from tidegate.control.api.edge import Edge
from tidegate.control.api.operations import routes
from tidegate.control.blobs import open_blobs
from tidegate.control.channel import app as channel_app
from tidegate.control.channel import http
from tidegate.control.channel.app import ChannelApp
from tidegate.control.channel.load import MAX_FACTOR
from tidegate.control.console import app as console_app
from tidegate.control.openid import Provider
from tidegate.control.protocol import Immediate
from tidegate.control.server import Listener
from tidegate.control.services import disk
from tidegate.control.services.hub import Hub
from tidegate.control.services.keyring import Keyring
from tidegate.control.services.node import Node
from tidegate.control.services.setup import open_database, serving_names
from tidegate.control.settings import Settings, split_bind
from tidegate.control.store import fleets, migrations
from tidegate.control.workers import blobs as blob_sweep
from tidegate.control.workers import checkpoints, figures, freshness, holds, planner, retention, sboms
from tidegate.control.workers.runner import Runner
from tidegate.errors import Conflict, Defect, Unavailable

log = structlog.get_logger()


WORKERS = (planner, freshness, holds, checkpoints, sboms, retention, figures, blob_sweep)
_CONSOLE_CONNECTIONS = 2_000
_METRICS_CONNECTIONS = 32
_LISTEN_NEXT = "if another program or this node itself listens there already, end it or set another port"
#: Answers on an idle connection of the console come from a person; those of a device every interval.
_CONSOLE_KEEP_ALIVE_SECONDS = 75


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the node listens, ports that the system chose filled in."""

    console: str
    channel: str
    metrics: str


def operator_app(node: Node) -> ASGIApp:
    """What the console listener serves: operator API, console, and enrollment unless it listens by itself."""
    calls = [call for call in table.calls() if not (node.settings.enroll_bind and enrollment.for_new_devices(call))]
    return _edged(node, "console", [*routes(node, calls), *console_app.routes(node)])


def enroll_app(node: Node) -> ASGIApp:
    """What a device without a certificate needs, and nothing else: what the listener at `enroll_bind` serves."""
    health_of = [call for call in health.OPERATIONS if call.public]
    calls = [call for call in table.calls() if enrollment.for_new_devices(call) or call in health_of]
    return _edged(node, "enroll", routes(node, calls))


def _edged(node: Node, listener: str, served: list[BaseRoute]) -> ASGIApp:
    handlers = {404: problems.on_http_exception, 405: problems.on_http_exception}
    return Edge(_exact(Starlette(routes=served, exception_handlers=handlers)), node, listener)


def _exact(app: Starlette) -> Starlette:
    """With one address for each thing: a slash more is another, and not sent on to whatever host the caller names."""
    app.router.redirect_slashes = False
    return app


def metrics_app(node: Node, channel: ChannelApp, runner: Runner) -> ASGIApp:
    """`/metrics`, `/healthz` and `/readyz` in plain HTTP, for the machine itself."""

    async def metrics(_request: Request) -> Response:
        text = await anyio.to_thread.run_sync(_measured, node, channel.figures(), runner.stalled())
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return _exact(Starlette(routes=[Route("/metrics", metrics), *routes(node, health.OPERATIONS)]))


def _measured(node: Node, channel: dict[str, int], stalled: list[str]) -> bytes:
    node.metrics.set_channel(channel)
    node.metrics.workers_stalled.set(len(stalled))
    fullest = disk.look(node)
    node.metrics.disk.labels("used").set(fullest.used)
    node.metrics.disk.labels("free").set(fullest.free)
    node.metrics.disk_state.set(("ok", "high", "full").index(fullest.state))
    return node.metrics.render()


def build(settings: Settings, clock: Clock | None = None) -> Node:
    """A node on what `tidegate init` made, its schema brought up to date.

    Raises:
        Conflict: the database holds no node, or was written by a newer program.
        Unavailable: the database or the blob store cannot be reached.
    """
    database = open_database(settings)
    try:
        migrations.upgrade(database)
    except sqlalchemy.exc.DatabaseError as error:
        raise Unavailable(f"cannot use the database: {error.__cause__ or error}; see tidegate doctor") from error
    with database.read() as tx:
        if not fleets.every(tx):
            raise Conflict("cannot serve: the database holds no node; run tidegate init")
    return Node(
        db=database,
        blobs=open_blobs(settings),
        keyring=Keyring(settings.data_dir),
        hub=Hub(),
        settings=settings,
        clock=clock or SystemClock(),
        provider=None if settings.oidc is None else Provider(settings.oidc),
    )


class Service:
    """A node that listens: everything started by `start` is ended by `stop`, in the opposite order."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._sockets = _bind(settings)
        self.settings = _with_ports(settings, self._sockets)
        try:
            self.node = build(self.settings, clock)
            self.node.keyring.renew_server_certificate(serving_names(self.settings), self.node.clock.now())
        except BaseException:
            for bound in self._sockets.values():
                bound.close()
            raise
        self.channel = channel_app.create(self.node, repository.repository_app(self.node))
        self.runner = Runner(self.node, [module.RECONCILER for module in WORKERS])
        self.listeners = self._listeners()
        self._serving: list[asyncio.Task[None]] = []
        _add_checks(self.node, self.runner, self.channel)

    @property
    def addresses(self) -> Addresses:
        metrics = f"http://{self.settings.metrics_bind}/metrics" if self.settings.metrics_bind else ""
        return Addresses(self.settings.effective_console_url, self.settings.effective_channel_url, metrics)

    async def start(self) -> None:
        """Returns when every listener accepts connections."""
        await self.channel.startup()
        self.runner.start()
        self._serving = [asyncio.create_task(listener.serve()) for listener in self.listeners]
        while not all(listener.started for listener in self.listeners):
            failed = [task for task in self._serving if task.done()]
            if failed:
                raise Unavailable(f"cannot listen: {failed[0].exception() or 'the listener ended'}")
            await asyncio.sleep(0)

    async def ended(self) -> None:
        """Waits until a listener ends by itself, which none should."""
        await asyncio.wait(self._serving, return_when=asyncio.FIRST_COMPLETED)

    async def stop(self) -> None:
        """Answer what is held, finish what is under way, write what is buffered; within about ten seconds."""
        self.channel.release_held()
        console_app.close_streams(self.node)
        for listener in self.listeners:
            listener.should_exit = True
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self.channel.shutdown()
        for name in await anyio.to_thread.run_sync(self.runner.stop):
            log.warning("worker did not finish in time", worker=name)
        self.node.db.dispose()

    def _listeners(self) -> list[Listener]:
        files = self.node.keyring.serving_files()
        # The channel widens the interval under load; that must not cost a handshake a heartbeat.
        idle = self.settings.interval_seconds * MAX_FACTOR + 60
        others = _CONSOLE_CONNECTIONS * (2 if "enroll_bind" in self._sockets else 1)
        room = max(1_000, server.raise_file_limit() - others - 1_000)
        made = [
            Listener(
                operator_app(self.node),
                self._sockets["console_bind"],
                server.console_context(files.certificate, files.key),
                keep_alive_seconds=_CONSOLE_KEEP_ALIVE_SECONDS,
                max_connections=_CONSOLE_CONNECTIONS,
            ),
            Listener(
                self.channel,
                self._sockets["device_bind"],
                server.device_context(files.certificate, files.key, files.device_ca),
                keep_alive_seconds=idle,
                max_connections=room,
                immediates=[Immediate(channel_app.HEARTBEAT, http.OK_HEADERS, self.channel.heartbeat_at_once)],
            ),
        ]
        if "enroll_bind" in self._sockets:
            made.append(
                Listener(
                    enroll_app(self.node),
                    self._sockets["enroll_bind"],
                    server.console_context(files.certificate, files.key),
                    keep_alive_seconds=_CONSOLE_KEEP_ALIVE_SECONDS,
                    max_connections=_CONSOLE_CONNECTIONS,
                )
            )
        if "metrics_bind" in self._sockets:
            made.append(
                Listener(
                    metrics_app(self.node, self.channel, self.runner),
                    self._sockets["metrics_bind"],
                    None,
                    keep_alive_seconds=_CONSOLE_KEEP_ALIVE_SECONDS,
                    max_connections=_METRICS_CONNECTIONS,
                )
            )
        return made


def run(settings: Settings, ready: Callable[[Addresses], None]) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is called once everything listens.

    Raises:
        Conflict, Invalid, Unavailable: the node cannot start.
    """
    uvloop.run(_run(settings, ready))


async def _run(settings: Settings, ready: Callable[[Addresses], None]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    async with serving(settings) as service:
        ready(service.addresses)
        log.info("serving", console=service.addresses.console, channel=service.addresses.channel)
        waits = [asyncio.create_task(stopping.wait()), asyncio.create_task(service.ended())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        log.info("stopping")
    if not stopping.is_set():
        raise Defect("a listener ended by itself")


@contextlib.asynccontextmanager
async def serving(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Service]:
    """A started service; stopped at the end."""
    service = Service(settings, clock)
    try:
        await service.start()
        yield service
    finally:
        await service.stop()


def _bind(settings: Settings) -> dict[str, socket.socket]:
    bound: dict[str, socket.socket] = {}
    try:
        for name in ("console_bind", "enroll_bind", "device_bind", "metrics_bind"):
            address = getattr(settings, name)
            if address:
                bound[name] = server.bind(*split_bind(address, name))
    except OSError as error:
        for opened in bound.values():
            opened.close()
        raise Unavailable(f"cannot listen on {name} {address}: {error.strerror}; {_LISTEN_NEXT}") from error
    return bound


def _with_ports(settings: Settings, sockets: dict[str, socket.socket]) -> Settings:
    """The settings with the ports that the system chose where they say 0."""
    changes = {}
    for name, bound in sockets.items():
        host, _, port = getattr(settings, name).rpartition(":")
        changes[name] = f"{host}:{bound.getsockname()[1]}" if port == "0" else f"{host}:{port}"
    return msgspec.structs.replace(settings, **changes)


def _add_checks(node: Node, runner: Runner, channel: ChannelApp) -> None:
    def database() -> None:
        with node.db.read() as tx:
            fleets.every(tx)

    def keys() -> None:
        node.keyring.authority()
        node.keyring.audit_signer()

    def workers() -> None:
        stalled = runner.stalled()
        if stalled:
            raise Unavailable(f"workers stalled: {', '.join(stalled)}")

    def tasks() -> None:
        if ended := channel.ended():
            raise Unavailable(f"ended by themselves: {', '.join(ended)}")

    checks = {"database": database, "blobs": node.blobs.check, "keys": keys, "workers": workers, "channel": tasks}
    for name, check in checks.items():
        node.health.add(name, check)
    node.health.add_warning("disk-high", lambda: disk.look(node).state != "ok")
