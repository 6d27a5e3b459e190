"""Live updates: one stream of server-sent events per open page, sending the parts of the page that have changed.

A stream renders its page again after a nudge, at the latest every few seconds, and sends the fragments that differ. It
asks for session and permission anew each time, so that signing out or losing a role ends it. Their number is bounded,
and all of them end as soon as shutdown begins.
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
from tidegate.control.console.visit import Page, Show
from tidegate.control.services.hub import Change
from tidegate.control.services.node import Node
from tidegate.errors import TidegateError

MOST_STREAMS = 200
MOST_STREAMS_OF_A_SESSION = 12
#: What the hub does not tell (ages, awaited times, another replica's doings) is looked up this often.
LOOK_SECONDS = 5.0
#: A burst of nudges is one rendering.
SETTLE_SECONDS = 0.5
RETRY_SECONDS = 8


class Ended(Exception):
    """The session is over, or the page is no longer theirs to see."""


class Streams:
    """The open streams of one node."""

    def __init__(self, most: int = MOST_STREAMS, most_of_a_session: int = MOST_STREAMS_OF_A_SESSION) -> None:
        self._most = most
        self._most_of_a_session = most_of_a_session
        self._open: dict[asyncio.Event, str] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, session: str) -> asyncio.Event | None:
        """A place for one more stream, whose event wakes it; None when there is none left."""
        of_session = sum(1 for owner in self._open.values() if owner == session)
        if self._closed or len(self._open) >= self._most or of_session >= self._most_of_a_session:
            return None
        wake = asyncio.Event()
        self._open[wake] = session
        return wake

    def leave(self, wake: asyncio.Event) -> None:
        self._open.pop(wake, None)

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """End every stream and admit no more; called in the event loop as soon as shutdown begins."""
        self._closed = True
        for wake in self._open:
            wake.set()


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


def _look(node: Node, page: Page, request: Request) -> dict[str, str]:
    """The fragments of a page as it is now; in a thread.

    Raises:
        Ended: it may no longer be seen by this session.
    """
    try:
        visit = guard.enter(node, page, request, FormData())
        outcome = page.handler(visit)
        if not isinstance(outcome, Show):
            raise Ended
        return guard.page_html(page, visit, outcome).fragments
    except (guard.SignedOut, guard.Refusal, TidegateError) as error:
        raise Ended from error


def _event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


async def _stream(
    node: Node, page: Page, request: Request, streams: Streams, wake: asyncio.Event, fleet_id: int
) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()

    def nudged(change: Change) -> None:
        if change.fleet_id == fleet_id:
            with contextlib.suppress(RuntimeError):  # the loop is gone: the node is shutting down
                loop.call_soon_threadsafe(wake.set)

    stop = node.hub.subscribe(nudged)
    sent: dict[str, str] = {}
    try:
        yield f"retry: {RETRY_SECONDS * 1000}\n\n"
        while not streams.closed:
            try:
                found = await anyio.to_thread.run_sync(_look, node, page, request)
            except Ended:
                yield _event("signed-out", {})
                return
            changed = {name: html for name, html in found.items() if sent.get(name) != html}
            sent = found
            yield _event("fragments", {"as_of": words.clock(node.clock.now(), node.clock.now()), "fragments": changed})
            await asyncio.sleep(SETTLE_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), LOOK_SECONDS)
            if not streams.closed:
                wake.clear()
    except Exception as error:  # noqa: BLE001 - the browser says "not live" and asks again
        problems.understood(error)  # logs what nobody foresaw
    finally:
        stop()
        streams.leave(wake)


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
    wake = streams.enter(visit.session.record.id)
    if wake is None:
        headers = {**guard.HEADERS, "Retry-After": str(RETRY_SECONDS)}
        return PlainTextResponse("cannot open one more stream of live updates for now", 503, headers=headers)
    body = _stream(node, page, inner, streams, wake, visit.scope.fleet_id)
    return StreamingResponse(body, media_type="text/event-stream", headers=guard.HEADERS)
