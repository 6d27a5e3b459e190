"""Logs that devices send because they were asked: bounded each, and few at once."""

from __future__ import annotations

import msgspec

from tidegate.control.channel import http
from tidegate.control.channel.desk import Desk
from tidegate.control.channel.http import Receive, Scope
from tidegate.control.domain.devices import DeviceRef
from tidegate.control.services import logs
from tidegate.control.services.node import Node
from tidegate.errors import Invalid, NotFound, Unavailable
from tidegate.wire import device as wire
from tidegate.wire.device_calls import LOGS, MOST_BYTES, PREFIX

#: Bundles in memory at once; whoever comes then is asked to come again.
AT_ONCE = 8
BUSY_SECONDS = 30


class LogDesk:
    """Owned by one event loop."""

    def __init__(self, node: Node, desk: Desk) -> None:
        self._node = node
        self._desk = desk
        self._taking = 0
        self._refusals = msgspec.json.Decoder(wire.LogRefusal)

    async def take(self, device: DeviceRef, scope: Scope, receive: Receive) -> wire.LogTaken:
        """One answer to a log request, a bundle or a refusal; committed when this returns.

        Raises:
            NotFound: the device was not asked for this.
            Invalid: neither gzip nor a refusal, or more than was asked for.
            TooLarge, Malformed, Disconnected: as `http.read_body`.
            Unavailable: others send at this moment; asked to come again.
        """
        number = scope["path"].removeprefix(PREFIX + LOGS)
        if not (number.isascii() and number.isdigit() and len(number) <= 18):
            raise NotFound(f"cannot find log request {number[:64]}")
        if self._taking >= AT_ONCE:
            raise Unavailable("cannot take more logs at this moment", retry_after_seconds=BUSY_SECONDS)
        self._taking += 1
        try:
            await self._take(device, int(number), scope, receive)
        finally:
            self._taking -= 1
        return wire.LogTaken(int(number))

    async def _take(self, device: DeviceRef, request: int, scope: Scope, receive: Receive) -> None:
        kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        if kind == b"application/gzip":
            data = await http.read_body(scope, receive, wire.LOG_BUNDLE_BYTES_MAX)
            await self._desk.run(logs.received, self._node, device, request, data)
        elif kind == b"application/json":
            body = await http.read_body(scope, receive, MOST_BYTES[wire.LogRefusal])
            reason = http.decode(self._refusals, body).reason
            await self._desk.run(logs.refused, self._node, device, request, reason)
        else:
            raise Invalid("cannot accept the log: the content type must be application/gzip or application/json")
