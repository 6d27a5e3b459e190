"""Live updates: one stream of server-sent events per open page, sending the parts of the page that have changed.

A stream draws its page again when the watch of its fleet wakes it, and now and then for what only time changes, and
sends the fragments that differ. It asks for session and permission anew each time, so that signing out or losing a role
ends it. Their number is bounded, and all of them end as soon as shutdown begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import anyio.to_thread
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Match, Route

from tidegate.control import problems
from tidegate.control.console import guard, words
from tidegate.control.console.streams import Stream, Streams
from tidegate.control.console.visit import Page, Show, Visit
from tidegate.control.services.node import Node
from tidegate.errors import TidegateError

#: What no watch tells, ages and awaited times, is drawn again this often: less than a statement a second for any page.
AGE_SECONDS = 60.0
#: The same where heartbeats are shown: how old presence may be that somebody looks at.
PRESENCE_SECONDS = 15.0
#: A burst of nudges is one drawing.
SETTLE_SECONDS = 0.5
MOST_SETTLE_SECONDS = 15.0
#: The part of one core that drawing for all streams together may take.
SHARE_OF_A_CORE = 0.25
RETRY_SECONDS = 8


class Ended(Exception):
    """The session is over, or the page is no longer theirs to see."""


def _request_of(request: Request, routes: list[Route], pages: dict[str, Page]) -> tuple[Page, Request] | None:
    """The page that an address of this console belongs to, and the request for it."""
    address = urlsplit(guard.local_path(request.query_params.get("of", ""), default=""))
    scope = {
        **request.scope,
        "path": address.path,
        "raw_path": address.path.encode(),
        "query_string": address.query.encode(),
        "method": "GET",
    }
    for route in routes:
        match, found = route.matches(scope)
        page = pages.get(route.path)
        if match is Match.FULL and page is not None and page.live:
            return page, Request({**scope, **found})
    return None


def _enter(node: Node, page: Page, request: Request) -> Visit:
    """Raises `Ended`: the page may no longer be seen by this session."""
    try:
        return guard.enter(node, page, request, FormData())
    except (guard.SignedOut, guard.Refusal, TidegateError) as error:
        raise Ended from error


def _look(node: Node, page: Page, request: Request) -> tuple[dict[str, str], float]:
    """The fragments of a page as it is now, and the seconds it took to draw them; in a thread.

    Raises:
        Ended: it may no longer be seen by this session.
    """
    began = node.clock.monotonic()
    visit = _enter(node, page, request)
    try:
        outcome = page.handler(visit)
        if not isinstance(outcome, Show):
            raise Ended
        found = guard.page_html(page, visit, outcome).fragments
    except TidegateError as error:
        raise Ended from error
    return found, node.clock.monotonic() - began


def _event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


def _message(node: Node, sent: dict[str, str], found: dict[str, str]) -> dict[str, object]:
    """What differs from what was sent; and the rows of the page's list, where they are others than before."""
    now = node.clock.now()
    message: dict[str, object] = {
        "as_of": words.clock(now, now),
        "fragments": {name: html for name, html in found.items() if sent.get(name) != html},
    }
    rows, before = ([name for name in one if name.startswith("row-")] for one in (found, sent))
    if not sent or rows != before:
        message["rows"] = rows
    return message


def _pause(spent: float, streams: int) -> float:
    """How long a stream rests after a drawing that took `spent` seconds, so that all of them leave room for people."""
    return min(MOST_SETTLE_SECONDS, max(SETTLE_SECONDS, spent * streams / SHARE_OF_A_CORE))


async def _stream(node: Node, page: Page, request: Request, streams: Streams, stream: Stream) -> AsyncIterator[str]:
    sent: dict[str, str] = {}
    try:
        yield f"retry: {RETRY_SECONDS * 1000}\n\n"
        while not streams.closed:
            stream.wake.clear()
            try:
                if stream.doubt.is_set():  # whoever may no longer look waits for nobody's drawing
                    stream.doubt.clear()
                    await anyio.to_thread.run_sync(_enter, node, page, request)
                found, spent = await anyio.to_thread.run_sync(_look, node, page, request, limiter=streams.limiter)
            except Ended:
                yield _event("signed-out", {})
                return
            yield _event("fragments", _message(node, sent, found))
            sent = found
            await streams.rest(stream, _pause(spent, len(streams)))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stream.wake.wait(), PRESENCE_SECONDS if page.presence else AGE_SECONDS)
    except Exception as error:  # noqa: BLE001 - the browser says "not live" and asks again
        problems.understood(error)  # logs what nobody foresaw
    finally:
        streams.leave(stream)


async def respond(
    node: Node, streams: Streams, routes: list[Route], pages: dict[str, Page], request: Request
) -> Response:
    """`GET /live?of=<path>`: the stream of one page."""
    found = _request_of(request, routes, pages)
    if found is None:
        return PlainTextResponse("cannot find a page with live updates at this address", 404, headers=guard.HEADERS)
    page, inner = found
    try:
        visit = await anyio.to_thread.run_sync(guard.enter, node, page, inner, FormData())
    except guard.SignedOut:
        return PlainTextResponse("cannot tell who asks", 401, headers=guard.HEADERS)
    except (guard.Refusal, TidegateError) as error:
        return PlainTextResponse(str(error), 403, headers=guard.HEADERS)
    stream = streams.enter(node, visit.session.record.id, visit.scope.fleet_id)
    if stream is None:
        headers = {**guard.HEADERS, "Retry-After": str(RETRY_SECONDS)}
        return PlainTextResponse("cannot open one more stream of live updates for now", 503, headers=headers)
    body = _stream(node, page, inner, streams, stream)
    return StreamingResponse(body, media_type="text/event-stream", headers=guard.HEADERS)
