"""TLS for the device channel: 1.3 only, the node's CA pinned, every read under the deadline of its request."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tidegate.clock import SystemClock
from tidegate.errors import Invalid

_clock = SystemClock()


class Call:
    """One request under way in one thread: when it must be over, and the socket it waits on, so that it can end."""

    def __init__(self, seconds: float) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.ended = False
        self.answered = False
        self.deadline = 0.0
        self.extend(seconds)

    def extend(self, seconds: float) -> None:
        self.deadline = _clock.monotonic() + seconds

    def waits_on(self, sock: socket.socket) -> float:
        """Note `sock`; gives back the seconds left.

        Raises:
            TimeoutError: none are left, or the call was ended from another thread.
        """
        with self._lock:
            self._socket = sock
            left = self.deadline - _clock.monotonic()
            if self.ended or left <= 0:
                raise TimeoutError("the request's time is over")
            return left

    def end(self) -> None:
        """From any thread: make the waiting thread's read fail at once."""
        with self._lock:
            self.ended = True
            if self._socket is not None:
                # Not SSLSocket.shutdown: that takes the TLS state away under the thread that is reading.
                # An error means closed already: the reader has noticed by itself.
                with suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


_this_thread = threading.local()


@contextmanager
def under(call: Call) -> Iterator[None]:
    """All TLS reads and writes of this thread belong to `call`."""
    before = getattr(_this_thread, "call", None)
    _this_thread.call = call
    try:
        yield
    finally:
        _this_thread.call = before


class DeadlineSocket(ssl.SSLSocket):
    """Socket timeouts bound one read each; a peer that drips a byte a time would hold a request for ever."""

    def _hurry(self) -> None:
        call: Call | None = getattr(_this_thread, "call", None)
        if call is not None:
            left = call.waits_on(self)
            set_to = self.gettimeout()
            self.settimeout(left if set_to is None else min(set_to, left))

    def read(self, len: int | None = 1024, buffer: Any = None) -> Any:
        self._hurry()
        return super().read(1024 if len is None else len, buffer)

    def send(self, data: Any, flags: int = 0) -> int:
        self._hurry()
        return super().send(data, flags)


def client_context(ca_pem: str, identity: Path | None) -> ssl.SSLContext:
    """Trusts `ca_pem` and nothing else; presents key and chain from the file `identity`.

    Raises:
        Invalid: the CA bundle or the identity cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.sslsocket_class = DeadlineSocket
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError) as error:
        raise Invalid(f"cannot use the node's CA bundle: {error}") from error
    if identity is not None:
        try:
            context.load_cert_chain(identity)
        except (ssl.SSLError, OSError) as error:
            raise Invalid(f"cannot use the device certificate {identity}: {error}") from error
    return context
