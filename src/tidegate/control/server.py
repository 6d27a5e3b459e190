"""Listeners: sockets, TLS, and the sweep over their connections. What one connection may do stands in protocol.py."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, cast

import uvicorn

from tidegate.control.protocol import Immediate, Protocol

#: OpenSSL's X509_V_FLAG_NO_CHECK_TIME: an expired device certificate may still renew, so the application judges times.
NO_CHECK_TIME = 0x200000
HANDSHAKE_SECONDS = 15.0
#: How long an ended connection waits for the other side's end of TLS; one that reads nothing never sends it.
GOODBYE_SECONDS = 2.0
GRACE_SECONDS = 8.0


class Listener(uvicorn.Server):
    """One application on one bound socket; signals are the composition root's."""

    def __init__(
        self,
        app: Any,
        bound: socket.socket,
        tls: ssl.SSLContext | None,
        *,
        keep_alive_seconds: int,
        max_connections: int,
        immediates: Collection[Immediate] = (),
    ) -> None:
        """`immediates`: requests that may be answered without asking `app`."""
        config = uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            timeout_keep_alive=keep_alive_seconds,
            timeout_graceful_shutdown=int(GRACE_SECONDS),
            limit_concurrency=max_connections,
            backlog=2048,
        )
        super().__init__(config)
        self._bound = bound
        self._context = tls
        self._immediates = {one.target: one for one in immediates}

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            return Protocol(self.config, self.server_state, loop, self._immediates)

        server = await loop.create_server(
            protocol,
            sock=self._bound,
            ssl=self._context,
            backlog=self.config.backlog,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if self._context is not None else None,
            ssl_shutdown_timeout=GOODBYE_SECONDS if self._context is not None else None,
        )
        self.servers = [server]
        self._renew_heads()
        self.started = True

    async def on_tick(self, counter: int) -> bool:
        """uvicorn's, ten times a second; once a second it renews the date of the answers."""
        ending = await super().on_tick(counter)
        if counter % 10 == 0:
            self._renew_heads()
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                cast(Protocol, connection).sweep(now)
        return ending

    def _renew_heads(self) -> None:
        for immediate in self._immediates.values():
            immediate.renew_head(self.server_state.default_headers)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int) -> socket.socket:
    """A bound TCP socket. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def console_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.3 with the serving certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    return context


def device_context(certificate: Path, key: Path, device_ca: Path) -> ssl.SSLContext:
    """TLS 1.3 that demands a certificate of the device CA.

    Without session tickets: a resumed session would not show its certificate again. Times are not checked here, so that
    an expired certificate can renew; the application checks them, and revocation, on every request.
    """
    context = console_context(certificate, key)
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= NO_CHECK_TIME
    context.load_verify_locations(device_ca)
    return context


def raise_file_limit() -> int:
    """Open files allowed to this process, as many as the system lets it have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):  # some systems name a hard limit that they do not give
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft
