"""What surrounds every request of the operator listener: an id, a log line, figures, headers that do no harm."""

from __future__ import annotations

import asyncio
import re
import secrets
import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate.control.problems import respond, understood
from tidegate.control.services.node import Node
from tidegate.errors import Malformed, Unavailable

log = structlog.get_logger()

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Where an application says nothing better itself.
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"strict-transport-security", b"max-age=31536000"),
)
_ENDING = Unavailable("cannot finish this: the node is ending; ask again, or go on with it, when it is back")


class Edge:
    """ASGI middleware; never lets an exception through to the server."""

    def __init__(self, app: ASGIApp, node: Node, listener: str) -> None:
        self._app = app
        self._node = node
        self._listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request_id = _request_id(scope)
        started = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message["headers"]}
                added = [(name, value) for name, value in _HEADERS if name not in present]
                message = {**message, "headers": [*message["headers"], *added, (b"x-request-id", request_id.encode())]}
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
                    raise Malformed("cannot read the address: it must not contain the character U+0000")
                await self._app(scope, receive, answer)
            except asyncio.CancelledError:  # only the end of the node cancels what is under way, when its grace is over
                if not status:
                    await respond(_ENDING)(scope, receive, answer)
            except Exception as error:  # noqa: BLE001 - the outermost edge: logged there, answered here
                response = respond(understood(error))
                if not status:
                    await response(scope, receive, answer)
            seconds = time.perf_counter() - started
            self._count(scope["method"], status, seconds)
            log.info(
                "request", method=scope["method"], path=scope["path"], status=status, ms=round(seconds * 1000, 1)
            )  # the query is left out: it is the caller's to keep secrets from, and nobody else's to read

    def _count(self, method: str, status: int, seconds: float) -> None:
        known = method if method in _METHODS else "other"
        self._node.metrics.requests.labels(self._listener, known, str(status)).inc()
        self._node.metrics.request_seconds.observe(seconds)


def _request_id(scope: Scope) -> str:
    """The caller's own, when it has the form of one: then both sides' logs can be joined."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return secrets.token_hex(8)
