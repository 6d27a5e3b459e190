"""The device's side of the device channel (SPEC section 8): typed requests out, typed answers in.

Nothing here waits, retries for long or decides; the daemon does. What can go wrong is in transport.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from tidegate.agent import transport
from tidegate.agent.transport import CertificateRefused, ChannelProblem, Ended
from tidegate.agent.words import plain
from tidegate.errors import Unavailable
from tidegate.ids import SHA256_HEX
from tidegate.wire import device as wire

__all__ = ["CertificateRefused", "ChannelProblem", "Download", "Ended", "Link"]

ANSWER_MAX_BYTES = 4 << 20
HEARTBEAT = "/v1/device/heartbeat"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Download:
    """A body being received: `start` is the offset of its first byte (0 when the node ignored the range)."""

    start: int
    chunks: Iterator[bytes]


class Link:
    """Connections to one node, kept open; for several threads. `identity` is a PEM file with key and chain, or None.

    Every call raises `ChannelProblem`, `CertificateRefused`, `Ended`, `Unavailable` or `Untrusted`.
    """

    def __init__(self, url: str, ca_pem: str, identity: Path | None, *, timeout_seconds: float = 30.0) -> None:
        self._transport = transport.to_node(url, ca_pem, identity, timeout_seconds)

    @classmethod
    def over(cls, given: transport.Transport) -> Link:
        """Over connections that are made otherwise."""
        link = cls.__new__(cls)
        link._transport = given
        return link

    def register(self, request: wire.Register) -> wire.Registered:
        return self.call("POST", "/v1/device/register", request, wire.Registered)

    def heartbeat(self, request: wire.Heartbeat) -> wire.HeartbeatAnswer:
        """Held by the node for up to `wait_seconds`."""
        answer = self.call("POST", HEARTBEAT, request, wire.HeartbeatAnswer, held_seconds=request.wait_seconds)
        if not isinstance(answer.desired, wire.DesiredState):
            return answer
        # Said back in the next heartbeat: what is no digest there would make the node refuse every one of them.
        digest = answer.desired_digest if SHA256_HEX.fullmatch(answer.desired_digest) else ""
        desired = replace(answer.desired, notice=plain(answer.desired.notice))
        return replace(answer, desired=desired, desired_digest=digest)

    def leave(self, request: wire.LeaveRequest) -> wire.LeaveAnswer:
        """A node that says "at once" would be asked in a loop, one that says "in years" would be believed for ever."""
        answer = self.call("POST", "/v1/device/leave", request, wire.LeaveAnswer)
        retry = min(max(1, answer.retry_after_seconds), transport.RETRY_AFTER_MAX_SECONDS)
        return replace(answer, reason=plain(answer.reason), retry_after_seconds=retry)

    def reports(self, request: wire.Reports) -> wire.ReportsAnswer:
        return self.call("POST", "/v1/device/reports", request, wire.ReportsAnswer)

    def renew(self, request: wire.Renew) -> wire.Renewed:
        return self.call("POST", "/v1/device/renew", request, wire.Renewed)

    def send_log(self, request: int, packed: bytes) -> None:
        """A gzip bundle, for a log request."""
        headers = {"Content-Type": "application/gzip"}
        seconds = self._transport.timeout_seconds + len(packed) / transport.SLOWEST_BYTES_PER_SECOND
        with self._transport.answer("POST", f"/v1/device/logs/{request}", seconds, packed, headers) as received:
            received.read_all(ANSWER_MAX_BYTES)

    def refuse_log(self, request: int, reason: str) -> None:
        self.call("POST", f"/v1/device/logs/{request}", wire.LogRefusal(plain(reason)), wire.LogTaken)

    def call(self, method: str, path: str, request: Any, answer: type[T], *, held_seconds: int = 0) -> T:
        """One JSON request and its answer; unknown fields of the answer are ignored, so that answers may grow."""
        seconds = self._transport.timeout_seconds + held_seconds
        with self._transport.answer(method, path, seconds, msgspec.json.encode(request)) as received:
            data = received.read_all(ANSWER_MAX_BYTES)
        try:
            return msgspec.json.decode(data, type=answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Unavailable(f"cannot use the node's answer to {path}: {error}") from error

    def get(self, path: str, max_bytes: int) -> bytes:
        """A whole small document; it may travel compressed, `max_bytes` holds for what comes out."""
        seconds = self._transport.timeout_seconds + max_bytes / transport.SLOWEST_BYTES_PER_SECOND
        headers = {"Accept-Encoding": "gzip"}
        with self._transport.answer("GET", path, seconds, headers=headers) as received:
            data = received.read_all(max_bytes)
            encoding = received.header("Content-Encoding").lower()
        if encoding == "gzip":
            return transport.gunzip(data, max_bytes, path)
        if encoding not in ("", "identity"):
            raise Unavailable(f"cannot use the node's answer to {path}: unknown encoding")
        return data

    @contextmanager
    def download(self, path: str, offset: int = 0) -> Iterator[Download]:
        """Receive a body from `offset` on; the caller bounds how much it takes."""
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        with self._transport.answer("GET", path, self._transport.timeout_seconds, headers=headers) as received:
            yield Download(received.range_start(), received.chunks())

    def end_heartbeat(self) -> None:
        """Make a held heartbeat fail with `Ended`, because there is something new to say."""
        self._transport.end_calls(HEARTBEAT)

    def end_calls(self) -> None:
        """Make every request under way fail with `Ended`; the next one opens a new connection."""
        self._transport.end_calls()

    def close(self) -> None:
        self._transport.close()
