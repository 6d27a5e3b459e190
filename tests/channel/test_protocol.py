"""One connection: answers while parsing, the same as the application's; slow and odd clients."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tidegate.control import protocol, server
from tidegate.control.protocol import Immediate, Protocol
from tidegate.testing.channel import SOON_SECONDS, until

JSON = [(b"content-type", b"application/json")]


def post(body: bytes, target: str = "/hot", *headers: str, version: str = "1.1") -> bytes:
    lines = [f"POST {target} HTTP/{version}", "host: localhost", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Hot:
    """Answers bodies that start with ``now`` at once; everything else is the application's."""

    def __init__(self) -> None:
        self.at_once: list[bytes] = []
        self.asked: list[bytes] = []
        self.let_go = asyncio.Event()

    def answer(self, tls: dict[str, Any], body: bytes) -> bytes | None:
        assert "on_close" in tls
        if not body.startswith(b"now"):
            return None
        self.at_once.append(body)
        return b"at once " + body[:16]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.asked.append(body)
        if body.startswith(b"held"):
            await self.let_go.wait()
        answer = b"asked " + body[:16]
        headers = [(b"content-length", str(len(answer)).encode()), *JSON]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0.01)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), SOON_SECONDS)).decode()
        status, *lines = head.rstrip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return int(status.split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def body(self) -> bytes:
        status, _, body = await self.answer()
        assert status == 200
        return body


@asynccontextmanager
async def listening(keep_alive_seconds: int = 30) -> AsyncIterator[tuple[Hot, Client]]:
    app = Hot()
    bound = server.bind("127.0.0.1", 0)
    listener = server.Listener(
        app, bound, None, keep_alive_seconds=keep_alive_seconds, max_connections=100,
        immediates=[Immediate(b"/hot", JSON, app.answer)],
    )  # fmt: skip
    serving = asyncio.create_task(listener.serve())
    while not listener.started:
        await asyncio.sleep(0.001)
    client = Client(*await asyncio.open_connection(*bound.getsockname()))
    try:
        yield app, client
    finally:
        app.let_go.set()
        client.writer.close()
        listener.should_exit = True
        await serving


def story(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@story
async def test_both_ways_answer_with_the_same_headers() -> None:
    async with listening() as (app, client):
        await client.send(post(b"now 1"))
        status, headers, body = await client.answer()
        await client.send(post(b"later 1"))
        asked = await client.answer()
        assert (status, body) == (200, b"at once now 1")
        assert (asked[0], asked[2]) == (200, b"asked later 1")
        assert headers.keys() == asked[1].keys() >= {"date", "content-type", "content-length"}
        assert (app.at_once, app.asked) == ([b"now 1"], [b"later 1"])


@story
async def test_a_request_in_pieces_and_several_in_one_piece() -> None:
    async with listening() as (app, client):
        whole = post(b"now 1")
        await client.send(whole[:9], whole[9:40], whole[40:-3], whole[-3:])
        assert await client.body() == b"at once now 1"
        await client.send(post(b"now 2") + post(b"later 3") + post(b"now 4"))
        assert [await client.body() for _ in range(3)] == [b"at once now 2", b"asked later 3", b"asked now 4"]
        await client.send(post(b"now 5"))
        assert await client.body() == b"at once now 5"
        assert app.asked == [b"later 3", b"now 4"]  # nobody overtakes: 4 came while 3 was being answered


@story
async def test_nothing_overtakes_a_held_answer() -> None:
    async with listening() as (app, client):
        await client.send(post(b"held 1"), post(b"now 2"))
        assert app.at_once == []
        app.let_go.set()
        assert [await client.body(), await client.body()] == [b"asked held 1", b"asked now 2"]


@pytest.mark.parametrize(
    "request_",
    [
        post(b"now 1", "/other"),
        post(b"now 1", "/hot?x=1"),
        post(b"now 1").replace(b"POST", b"PUT"),
        post(b"now 1", "/hot", "connection: close"),
        post(b"now 1", version="1.0"),
    ],
    ids=["path", "query", "method", "close", "1.0"],
)
@story
async def test_what_is_not_plain_is_the_applications(request_: bytes) -> None:
    async with listening() as (app, client):
        await client.send(request_)
        assert await client.body() == b"asked now 1"
        assert app.at_once == []


@story
async def test_expectations_chunks_and_large_bodies() -> None:
    async with listening() as (app, client):
        head, _, body = post(b"now 1", "/hot", "expect: 100-continue").partition(b"\r\n\r\n")
        await client.send(head + b"\r\n\r\n")
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(body)
        assert await client.body() == b"asked now 1"
        await client.send(
            b"POST /hot HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n",
            b"3\r\nnow\r\n2\r\n 2\r\n0\r\n\r\n",
        )
        assert await client.body() == b"at once now 2"
        large = b"now" + b"x" * protocol.IMMEDIATE_BYTES
        await client.send(post(large))
        assert (await client.body()).startswith(b"asked now")
        assert (app.at_once, app.asked) == ([b"now 2"], [b"now 1", large])


@story
async def test_headers_that_do_not_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.0)
    async with listening() as (_, client):
        await client.send(b"POST /hot HTTP/1.1\r\nhost: loc")
        assert (await client.answer())[0] == 408
        assert await client.reader.read() == b""
    async with listening() as (_, client):  # nothing at all is as slow
        assert (await client.answer())[0] == 408


@story
async def test_too_many_header_bytes_are_refused() -> None:
    async with listening() as (_, client):
        line = b"x: " + b"y" * 8000 + b"\r\n"
        await client.send(b"POST /hot HTTP/1.1\r\n", *([line] * (protocol.HEADER_BYTES // len(line) + 1)))
        assert (await client.answer())[0] == 431


@pytest.mark.parametrize("target", ["/hot", "/other"])
@story
async def test_a_body_that_does_not_come_ends_the_connection(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    monkeypatch.setattr(protocol, "STALL_SECONDS", 0.0)
    async with listening() as (_, client):
        await client.send(post(b"now 1", target)[:-2])
        assert await asyncio.wait_for(client.reader.read(), SOON_SECONDS) == b""


@pytest.mark.parametrize("body", [b"now 1", b"later 1"])
@story
async def test_an_idle_connection_is_closed_after_its_time(body: bytes) -> None:
    async with listening(keep_alive_seconds=0) as (_, client):
        await client.send(post(body))
        assert (await client.answer())[0] == 200
        assert await asyncio.wait_for(client.reader.read(), SOON_SECONDS) == b""


@story
async def test_a_held_answer_keeps_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEADER_SECONDS", "STALL_SECONDS"):
        monkeypatch.setattr(protocol, name, 0.0)
    swept, sweep = [], Protocol.sweep

    def seen(connection: Protocol, now: float) -> None:
        sweep(connection, now)
        swept.append(list(app.asked))

    monkeypatch.setattr(Protocol, "sweep", seen)
    async with listening(keep_alive_seconds=0) as (app, client):
        await client.send(post(b"held 1"))
        await until(lambda: [b"held 1"] in swept)
        app.let_go.set()
        assert await client.body() == b"asked held 1"
