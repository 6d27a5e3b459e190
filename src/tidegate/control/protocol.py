"""HTTP/1.1 on one connection: its certificate for the application, bounds on what it may cost, answers without a task.

uvicorn's protocol hands no client certificate to the application and waits for ever on a slow client; this subclass
mends both. Sizes and seconds stand here because they protect the process, not a feature. What each part costs and why
it is cut this way: docs/design/heartbeat.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import structlog
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

log = structlog.get_logger()

#: A request's headers must be whole this long after its first byte, and have at most so many bytes.
HEADER_SECONDS = 15.0
HEADER_BYTES = 64 * 1024
#: A body, and the reading of an answer, must go on within this time.
STALL_SECONDS = 60.0
#: A body that is longer is left to the application.
IMMEDIATE_BYTES = 64 * 1024
#: A body that is collected here must be whole this long after its headers.
IMMEDIATE_BODY_SECONDS = 30
_JOINED_BYTES = 16 * 1024

Answer = Callable[[dict[str, Any], bytes], bytes | None]


@dataclass(slots=True)
class Immediate:
    """POST requests to `target` that may be answered while they are parsed.

    `answer(tls, body)` gives the body of a 200 with `headers`, or None where the application must be asked as for any
    other request: it is then called as if nothing had been tried. It must not block and must not raise.
    """

    target: bytes
    headers: list[tuple[bytes, bytes]]
    answer: Answer
    head: bytes = field(default=b"", init=False)

    def renew_head(self, default_headers: list[tuple[bytes, bytes]]) -> None:
        """Everything in front of the length; the date in it is the listener's to renew."""
        lines = [name + b": " + value + b"\r\n" for name, value in [*default_headers, *self.headers]]
        self.head = STATUS_LINE[200] + b"".join(lines) + b"content-length: "


class Joined:
    """A transport that sends what is written in one step of the loop as one piece.

    uvicorn writes an answer's head and body apart: two TLS records, and two packets.
    """

    __slots__ = ("_loop", "_pieces", "_size", "abort", "get_extra_info", "inner", "is_closing")

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.inner = inner
        self._loop = loop
        self._pieces: list[bytes] = []
        self._size = 0
        self.abort = inner.abort
        self.is_closing = inner.is_closing
        self.get_extra_info = inner.get_extra_info

    def write(self, data: bytes) -> None:
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= _JOINED_BYTES:  # so that a long answer meets the transport's own flow control
            self._flush()

    def write_now(self, data: bytes) -> None:
        self._flush()
        self.inner.write(data)

    def _flush(self) -> None:
        if self._pieces:
            pieces, self._pieces, self._size = self._pieces, [], 0
            if not self.is_closing():
                self.inner.write(b"".join(pieces))

    def close(self) -> None:
        self._flush()
        self.inner.close()

    def pause_reading(self) -> None:
        self.inner.pause_reading()

    def resume_reading(self) -> None:
        self.inner.resume_reading()


class Protocol(HttpToolsProtocol):
    """``scope["extensions"]["tls"]`` is one dict per connection, the same object for all of its requests:
    ``client_certificate_der`` (bytes or None), ``on_close``, callables for when the connection is gone, and ``closed``
    from then on; the application may keep in it what it derived.

    Slow clients are noticed by `sweep`, which the listener calls every second: a timer for each request would cost more
    than all the rest that is done for it here.
    """

    def __init__(
        self,
        config: Config,
        state: ServerState,
        loop: asyncio.AbstractEventLoop,
        immediates: Mapping[bytes, Immediate],
    ) -> None:
        super().__init__(config, state, {}, loop)
        self._immediates = immediates
        self._immediate: Immediate | None = None
        self._collected = b""
        #: What the client is expected to go on with; ``idle``: nothing.
        self._reading: Literal["idle", "headers", "body"] = "headers"
        self._header_bytes = 0
        self._headers_since = 0.0
        self._last_data = 0.0
        self._idle_since = 0.0
        self._unread_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._joined = Joined(transport, self.loop)
        super().connection_made(cast(asyncio.Transport, self._joined))
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        self._tls: dict[str, Any] = {"client_certificate_der": certificate, "on_close": []}
        # A client that connects and says nothing is as slow as one that says it slowly.
        self._headers_since = self._last_data = self.loop.time()

    # -- reading ------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._last_data = self.loop.time()
        if self._reading == "idle":
            self._begin_headers()
        if self._reading == "headers":
            self._header_bytes += len(data)
        super().data_received(data)
        if self._reading == "headers" and self._header_bytes > HEADER_BYTES:
            self._refuse(431)

    def _begin_headers(self) -> None:
        self._reading = "headers"
        self._header_bytes = 0
        self._headers_since = self._last_data

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"tls": cast(dict[object, object], self._tls)}
        if self._reading == "idle":  # it came in one piece with the message before
            self._begin_headers()

    def on_headers_complete(self) -> None:
        self._reading = "body"
        immediate = self._immediates.get(self.url)
        if immediate is not None and self._may_answer():
            self._immediate, self._collected = immediate, b""
        else:
            super().on_headers_complete()

    def _may_answer(self) -> bool:
        """Whether nothing about this request, and nothing before it, needs more than a plain answer."""
        return (
            self._answered
            and not self.expect_100_continue
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and bool(self.parser.should_keep_alive())
            and not self.parser.should_upgrade()
            and (self.limit_concurrency is None or len(self.connections) < self.limit_concurrency)
        )

    def on_body(self, body: bytes) -> None:
        if self._immediate is None:
            super().on_body(body)
            return
        self._collected += body
        if len(self._collected) > IMMEDIATE_BYTES:
            self._hand_over()

    def on_message_complete(self) -> None:
        self._reading = "idle"
        immediate = self._immediate
        if immediate is not None:
            answer = self._at_once(immediate)
            if answer is not None:
                self._immediate, self._collected = None, b""
                self._joined.write_now(b"%b%d\r\n\r\n%b" % (immediate.head, len(answer), answer))
                self.server_state.total_requests += 1
                self._idle_since = self._last_data
                return
            self._hand_over()
        super().on_message_complete()

    def _at_once(self, immediate: Immediate) -> bytes | None:
        if self.flow.write_paused:
            return None
        try:
            return immediate.answer(self._tls, self._collected)
        except Exception:  # the outermost edge: logged, and the application meets the same
            log.exception("cannot answer at once")
            return None

    def _hand_over(self) -> None:
        """Let the application have this request after all."""
        self._immediate, body, self._collected = None, self._collected, b""
        super().on_headers_complete()
        if body:
            super().on_body(body)

    # -- answering ----------------------------------------------------------------------------------------------------

    @property
    def _answered(self) -> bool:
        return (self.cycle is None or self.cycle.response_complete) and not self.pipeline

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # The sweep closes idle connections.
        self._unset_keepalive_if_required()
        self._idle_since = self.loop.time()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_since = self.loop.time()

    def resume_writing(self) -> None:
        self._unread_since = None
        super().resume_writing()

    # -- ending -------------------------------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """End the connection where the client took too long for what is expected of it."""
        if self.transport.is_closing():
            return
        if self._unread_since is not None and now - self._unread_since > STALL_SECONDS:
            self._give_up("the answer is not read")
        elif self._reading == "headers":
            if now - self._headers_since > HEADER_SECONDS:
                self._refuse(408)
        elif self._immediate is not None and now - self._headers_since > HEADER_SECONDS + IMMEDIATE_BODY_SECONDS:
            # The application, which looks at the time of a body that it reads, has not been asked yet.
            self._refuse(408)
        elif self._reading == "body":
            # While reading is paused it is the application that is slow, not the client.
            if now - self._last_data > STALL_SECONDS and not self.flow.read_paused:
                self._give_up("the body does not come")
        elif self._answered and now - self._idle_since > self.timeout_keep_alive:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._tls["closed"] = True
        for call in self._tls["on_close"]:
            call()

    def _refuse(self, status: int) -> None:
        if not self.transport.is_closing():
            if self._answered:  # else it would stand in the middle of another answer
                self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self._give_up(f"answered {status}")

    def _give_up(self, reason: str) -> None:
        log.info("connection closed", reason=reason, client=self.client[0] if self.client else "")
        # close() sends what is buffered first; for a client that reads nothing that would be for ever.
        self.transport.abort() if reason == "the answer is not read" else self.transport.close()
