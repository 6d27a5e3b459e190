"""Listeners: TLS, limits on what a connection may cost, and the client certificate for the application.

uvicorn's protocol hands no client certificate to the application and waits for ever on a slow client; this subclass
mends both. Sizes and seconds stand here because they protect the process, not a feature.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
from asyncio import TimerHandle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

log = structlog.get_logger()

#: OpenSSL's X509_V_FLAG_NO_CHECK_TIME: an expired device certificate may still renew, so the application judges times.
NO_CHECK_TIME = 0x200000
HANDSHAKE_SECONDS = 15.0
#: A request's headers must be whole this long after its first byte, and have at most so many bytes.
HEADER_SECONDS = 15.0
HEADER_BYTES = 64 * 1024
#: A body, and the reading of an answer, must go on within this time.
STALL_SECONDS = 60.0
GRACE_SECONDS = 8.0


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 on one connection.

    ``scope["extensions"]["tls"]`` is one dict per connection, the same object for all of its requests:
    ``client_certificate_der`` (bytes or None), ``on_close``, callables for when the connection is gone, and ``closed``
    from then on; the application may keep in it what it derived.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        self._tls: dict[str, Any] = {"client_certificate_der": certificate, "on_close": []}
        self._header_bytes = 0
        self._header_timer: TimerHandle | None = None
        self._stall_timer: TimerHandle | None = None
        self._write_timer: TimerHandle | None = None
        self._last_data = 0.0
        # A client that connects and says nothing is as slow as one that says it slowly.
        self._begin_headers()

    def data_received(self, data: bytes) -> None:
        if self._header_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._begin_headers()
        if self._header_timer is not None:
            self._header_bytes += len(data)
        self._last_data = self.loop.time()
        super().data_received(data)
        if self._header_timer is not None and self._header_bytes > HEADER_BYTES:
            self._refuse(431)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"tls": cast(dict[object, object], self._tls)}
        if self._header_timer is None:
            self._begin_headers()

    def on_headers_complete(self) -> None:
        self._end_headers()
        super().on_headers_complete()
        if self._stall_timer is None and not self.transport.is_closing():
            self._stall_timer = self.loop.call_later(STALL_SECONDS, self._check_body)

    def on_response_complete(self) -> None:
        self._cancel("_stall_timer")
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(STALL_SECONDS, self._give_up, "the answer is not read")

    def resume_writing(self) -> None:
        self._cancel("_write_timer")
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in ("_header_timer", "_stall_timer", "_write_timer"):
            self._cancel(timer)
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        self._tls["closed"] = True
        for call in self._tls["on_close"]:
            call()

    def _begin_headers(self) -> None:
        self._header_bytes = 0
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self._refuse, 408)

    def _end_headers(self) -> None:
        self._cancel("_header_timer")

    def _check_body(self) -> None:
        self._stall_timer = None
        if self.cycle is None or self.cycle.response_complete or not self.cycle.more_body:
            return
        left = self._last_data + STALL_SECONDS - self.loop.time()
        # While reading is paused it is the application that is slow, not the client.
        if left <= 0 and not self.flow.read_paused:
            self._give_up("the body does not come")
            return
        self._stall_timer = self.loop.call_later(max(left, 1.0), self._check_body)

    def _refuse(self, status: int) -> None:
        if not self.transport.is_closing():
            self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self._give_up(f"answered {status}")

    def _give_up(self, reason: str) -> None:
        log.info("connection closed", reason=reason, client=self.client[0] if self.client else "")
        # close() sends what is buffered first; for a client that reads nothing that would be for ever.
        self.transport.abort() if reason == "the answer is not read" else self.transport.close()

    def _cancel(self, timer: str) -> None:
        handle: TimerHandle | None = getattr(self, timer)
        if handle is not None:
            handle.cancel()
            setattr(self, timer, None)


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
    ) -> None:
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

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            return Protocol(self.config, self.server_state, {}, loop)

        server = await loop.create_server(
            protocol,
            sock=self._bound,
            ssl=self._context,
            backlog=self.config.backlog,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if self._context is not None else None,
        )
        self.servers = [server]
        self.started = True

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
