"""Every endpoint has a limit of size and time, as data; what is larger or slower is cut off."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import inspect
from starlette.applications import Starlette

from tidegate.control import protocol, server
from tidegate.control.api import operations, table
from tidegate.control.api.operations import MAX_BODY_BYTES, PUBLIC_BODY_BYTES, Operation, RawRoute, routes
from tidegate.control.channel import http
from tidegate.control.console import app as console_app
from tidegate.control.console import guard
from tidegate.control.console.pages import PAGES
from tidegate.control.console.visit import FORM_MAX_BYTES
from tidegate.control.services import people, sessions
from tidegate.control.services.node import Node
from tidegate.control.services.people import NamedGrant
from tidegate.errors import TidegateError
from tidegate.testing.asgi import Client
from tidegate.testing.channel import until
from tidegate.testing.node import admin_scope
from tidegate.wire.device_calls import CALLS

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
PASSWORD = "correct horse battery"


# -- the table --------------------------------------------------------------------------------------------------------


def test_every_call_that_reads_a_body_bounds_it() -> None:
    for call in table.calls():
        if isinstance(call, RawRoute):
            assert call.method == "GET" or call.bounded_by, f"{call.method} {call.path}"
        elif call.body is not None:
            assert call.body_bytes == (PUBLIC_BODY_BYTES if call.public else MAX_BODY_BYTES), call.path
        else:
            assert call.body_bytes == 0
    assert {call.name: call.most_bytes for call in CALLS} == {
        "register": 65_536, "heartbeat": 1_048_576, "leave": 65_536, "reports": 4_194_304, "renew": 65_536,
    }  # fmt: skip


@on_sqlite
def test_every_form_is_bounded(node: Node) -> None:
    for page in PAGES:
        file = node.settings.upload_max_bytes if page.uploads else page.file_bytes
        assert page.most_bytes(node) == FORM_MAX_BYTES + file
        assert page.file_bytes <= 64 << 20


#: What is free inside because something else bounds it.
BOUNDED_ELSEWHERE = {
    "NewRollout/strategy": "read key by key by the strategy's own parser, at most MAX_WAVES waves",
    "PublishArtifact/manifest": "the descriptor that it goes into is at most DESCRIPTOR_MAX_BYTES long",
}


def test_every_text_number_and_list_that_is_sent_has_a_limit() -> None:
    kinds: list[Any] = [call.request for call in CALLS]
    for call in table.calls():
        body = call.body if isinstance(call, Operation) else None
        kinds += [kind for kind in (call.query, body) if kind is not None]
    free = {line for kind in set(kinds) for line in _unlimited(inspect.type_info(kind), kind.__name__)}
    assert {line for line in free if not line.startswith(tuple(BOUNDED_ELSEWHERE))} == set()


def _unlimited(kind: inspect.Type, path: str) -> Iterator[str]:
    if isinstance(kind, inspect.StrType) and kind.max_length is None and "{" not in (kind.pattern or ""):
        yield f"{path} is text of any length"
    if isinstance(kind, inspect.IntType) and (kind.ge is None or kind.le is None):
        yield f"{path} is any number"
    if isinstance(kind, inspect.AnyType | inspect.BytesType):
        yield f"{path} is anything"
    if isinstance(kind, inspect.ListType | inspect.VarTupleType | inspect.SetType | inspect.DictType):
        if kind.max_length is None:
            yield f"{path} has any number of items"
        inner = (kind.key_type, kind.value_type) if isinstance(kind, inspect.DictType) else (kind.item_type,)
        for one in inner:
            yield from _unlimited(one, f"{path}/*")
    if isinstance(kind, inspect.UnionType):
        for one in kind.types:
            yield from _unlimited(one, path)
    if isinstance(kind, inspect.StructType):
        for field in kind.fields:
            yield from _unlimited(field.type, f"{path}/{field.encode_name}")


# -- too large --------------------------------------------------------------------------------------------------------


@on_sqlite
def test_every_call_refuses_a_larger_body_announced_or_not(node: Node) -> None:
    people.create_operator(admin_scope(node), node, name="ada", roles=[NamedGrant("admin", "*")], password=PASSWORD)
    secret = sessions.sign_in(node, "ada", PASSWORD, user_agent="", address="127.0.0.1").session_secret
    client = Client(Starlette(routes=routes(node, table.calls())), bearer=secret)
    checked = 0
    for call in table.calls():
        if isinstance(call, Operation) and call.body is not None:
            for length in (str(call.body_bytes + 1), ""):
                answer = client.request(
                    call.method, call.path.replace("{", "").replace("}", ""), raw=b" " * (call.body_bytes + 1),
                    headers={"content-type": "application/json", "content-length": length},
                )  # fmt: skip
                assert answer.status == 413, f"{call.method} {call.path}"
                checked += 1
    assert checked > 30


@on_sqlite
def test_the_sign_in_page_reads_no_larger_form(node: Node) -> None:
    client = Client(Starlette(routes=console_app.routes(node)))
    form = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
    assert client.request("POST", "/signin", raw=b"a" * (FORM_MAX_BYTES + 1), headers=form).status == 413


# -- too slow ---------------------------------------------------------------------------------------------------------


async def _stalling() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


def _begun(body: bytes) -> Any:
    """What a client sends that says `body` and then nothing, though more was announced."""
    said = iter([{"type": "http.request", "body": body, "more_body": True}])

    async def receive() -> Any:
        return next(said, None) or await _stalling()

    return receive


def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.requests import Request

    for module, name in ((operations, "BODY_SECONDS"), (http, "BODY_SECONDS"), (guard, "FORM_SECONDS")):
        assert 0 < getattr(module, name) <= 30
        monkeypatch.setattr(module, name, 0.05)
    form = [(b"content-type", b"application/x-www-form-urlencoded"), (b"content-length", b"100")]

    async def story() -> None:
        scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": form}
        for slow in (
            operations.read_body(Request(scope, _begun(b"{")), 1_000),
            http.read_body(scope, _begun(b"{"), 1_000),
            guard.read_form(Request(scope, _begun(b"a=")), most_bytes=1_000),
        ):
            with pytest.raises(TidegateError, match="cannot wait longer than"):
                await slow

    asyncio.run(story())


def test_slow_clients_are_cut_off_by_the_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (protocol.HEADER_SECONDS, protocol.STALL_SECONDS, server.HANDSHAKE_SECONDS) == (15, 60, 15)
    assert protocol.IMMEDIATE_BODY_SECONDS == http.BODY_SECONDS
    for name in ("HEADER_SECONDS", "STALL_SECONDS"):
        monkeypatch.setattr(protocol, name, 0.2)

    async def reads(_scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.request":
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    async def story() -> None:
        bound = server.bind("127.0.0.1", 0)
        listener = server.Listener(reads, bound, None, keep_alive_seconds=5, max_connections=10)
        serving = asyncio.create_task(listener.serve())
        await until(lambda: listener.started)
        async with asyncio.timeout(20):
            for said, answered in (
                (b"", b"HTTP/1.1 408"),  # connects and is silent
                (b"GET / HTTP/1.1\r\nhost: x\r\n", b"HTTP/1.1 408"),  # headers without end
                (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\na", b""),  # a body without end
                (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * protocol.HEADER_BYTES + b"\r\n", b"HTTP/1.1 431"),
            ):
                reader, writer = await asyncio.open_connection(*bound.getsockname())
                writer.write(said)
                received = await reader.read()  # until the listener closes
                assert received[:12] == answered, said[:60]
                writer.close()
            listener.should_exit = True
            await serving

    asyncio.run(story())


def test_a_body_that_drips_into_an_answer_at_once_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(protocol, "IMMEDIATE_BODY_SECONDS", 0.5)

    async def never(_scope: Any, _receive: Any, _send: Any) -> None:
        raise AssertionError("the body was never whole")

    async def story() -> None:
        bound = server.bind("127.0.0.1", 0)
        immediate = protocol.Immediate(b"/beat", [], lambda _tls, body: body)
        listener = server.Listener(never, bound, None, keep_alive_seconds=5, max_connections=10, immediates=[immediate])
        serving = asyncio.create_task(listener.serve())
        await until(lambda: listener.started)
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(*bound.getsockname())
            writer.write(b"POST /beat HTTP/1.1\r\nhost: x\r\ncontent-length: 999\r\n\r\n")
            received = asyncio.create_task(reader.read())
            while not received.done():
                writer.write(b"a")
                await asyncio.wait([received], timeout=0.1)
            with contextlib.suppress(ConnectionResetError):  # it may still drip when the listener closes
                assert (await received)[:12] == b"HTTP/1.1 408"
            writer.close()
            listener.should_exit = True
            await serving

    asyncio.run(story())
