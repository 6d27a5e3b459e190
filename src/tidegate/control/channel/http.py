"""The little HTTP that the channel speaks by itself: bounded bodies, JSON in and out, problems."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

import anyio
import msgspec

from tidegate.control.problems import headers_of, invalid_from, problem_of, refuse_nul
from tidegate.errors import Malformed, TidegateError, TooLarge, TooMany
from tidegate.wire.problem import PROBLEM_JSON

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_SECONDS = 30
_JSON = msgspec.json.Encoder()
OK_HEADERS = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]

T = TypeVar("T")


class Disconnected(Exception):
    pass


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body.

    Raises:
        TooLarge: more than `limit` bytes.
        Malformed: not there within `BODY_SECONDS`.
        Disconnected: the device went away.
    """
    message = await _receive(receive) if _announced(scope) <= limit else None
    if message is None or len(message.get("body", b"")) > limit:
        raise TooLarge(f"cannot accept a body of more than {limit} bytes")
    body = message.get("body", b"")
    if not message.get("more_body"):
        return bytes(body)
    whole = bytearray(body)
    with anyio.move_on_after(BODY_SECONDS) as deadline:
        while message.get("more_body"):
            message = await _receive(receive)
            whole += message.get("body", b"")
            if len(whole) > limit:
                raise TooLarge(f"cannot accept a body of more than {limit} bytes")
    if deadline.cancelled_caught:
        raise Malformed(f"cannot wait longer than {BODY_SECONDS} seconds for the body")
    return bytes(whole)


async def _receive(receive: Receive) -> MutableMapping[str, Any]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 19 else 1 << 62
    return 0


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Raises `Invalid` naming the field and its rule, `Malformed` where it is no JSON."""
    refuse_nul(body)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid_from(error, "body") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"cannot read the body as JSON: {error}") from error


def encode(value: Any) -> bytes:
    return _JSON.encode(value)


async def answer(send: Send, value: Any) -> None:
    body = encode(value)
    headers = [*OK_HEADERS, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def refuse(send: Send, error: TidegateError) -> None:
    """Answer with the error as a problem; whoever has too many connections loses this one."""
    problem = problem_of(error)
    body = _JSON.encode(problem)
    headers = [(name.encode(), value.encode()) for name, value in headers_of(error).items()]
    headers += [(b"content-type", PROBLEM_JSON.encode()), (b"content-length", str(len(body)).encode())]
    if isinstance(error, TooMany | TooLarge | Malformed):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
