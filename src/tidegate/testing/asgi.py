"""Calls an ASGI application in this process: what a listener would hand it, without sockets and TLS."""

from __future__ import annotations

import asyncio
import json
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Sends requests one at a time; `bearer` goes with each that brings no credential of its own."""

    def __init__(self, app: ASGIApp, *, bearer: str = "", client: str = "127.0.0.1") -> None:
        self._app = app
        self._bearer = bearer
        self._client = client
        # One loop for all requests: a new one each would start new threads for every call that leaves it.
        self._runner = asyncio.Runner()
        weakref.finalize(self, self._runner.close)

    def request(
        self, method: str, target: str, *, body: Any = None, raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        """`body` is sent as JSON, `raw` as it is."""
        given = dict(headers or {})
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        if body is not None:
            given.setdefault("content-type", "application/json")
        if self._bearer:
            given.setdefault("authorization", f"Bearer {self._bearer}")
        return self._runner.run(self._send(method, target, data, given))

    async def _send(self, method: str, target: str, data: bytes, headers: dict[str, str]) -> Answer:
        parts = urlsplit(target)
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "https",
            "path": parts.path, "raw_path": parts.path.encode(), "query_string": parts.query.encode(),
            "root_path": "", "client": (self._client, 40000), "server": ("localhost", 8443), "state": {},
            "headers": [(b"host", b"localhost"), (b"content-length", str(len(data)).encode()),
                        *[(name.lower().encode(), value.encode()) for name, value in headers.items()]],
        }  # fmt: skip
        started: dict[str, Any] = {}
        parts_received: list[bytes] = []
        sent = False

        async def receive() -> Message:
            nonlocal sent
            if sent:
                await asyncio.Event().wait()  # the client stays connected and says nothing more
            sent = True
            return {"type": "http.request", "body": data, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.update(message)
            elif message["type"] == "http.response.body":
                parts_received.append(message.get("body", b""))

        await self._app(scope, receive, send)
        named = {name.decode().lower(): value.decode() for name, value in started["headers"]}
        return Answer(started["status"], named, b"".join(parts_received))
