"""The console's routes: every page of the table, live updates, and what pages load."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from tidegate.control.console import assets, entrance, guard, live, signing_in, signing_on
from tidegate.control.console.pages import PAGES
from tidegate.control.console.streams import Streams
from tidegate.control.console.visit import Outcome, Page, Visit
from tidegate.control.services.hub import Hub
from tidegate.control.services.node import Node
from tidegate.errors import NotFound

Endpoint = Callable[[Request], Awaitable[Response]]

_STREAMS: weakref.WeakKeyDictionary[Hub, Streams] = weakref.WeakKeyDictionary()


def routes(node: Node) -> list[BaseRoute]:
    """Everything that a browser asks for. Mount at the root, after the API."""
    page_routes = [Route(page.path, _endpoint(node, page), methods=[page.method], name=page.path) for page in PAGES]
    get_routes = [route for route, page in zip(page_routes, PAGES, strict=True) if page.method == "GET"]
    get_pages = {page.path: page for page in PAGES if page.method == "GET"}
    streams = _STREAMS.setdefault(node.hub, Streams())

    async def updates(request: Request) -> Response:
        return await live.respond(node, streams, get_routes, get_pages, request)

    return [
        *signing_in.routes(node),
        *signing_on.routes(node),
        *entrance.routes(node),
        Route("/live", updates, methods=["GET"]),
        Route("/static/{digest}/{path:path}", assets.serve, methods=["GET"]),
        Route("/favicon.ico", assets.favicon, methods=["GET"]),
        *page_routes,
        _Nowhere("/{path:path}", partial(_nowhere, node), methods=["GET"]),
    ]


class _Nowhere(Route):
    """Every address that a browser may look at; programs, the API's own paths and other methods get a problem."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        # Slashes more make no page of what is the API's.
        of_api = scope["path"].lstrip("/").partition("/")[0] == "v1"
        if of_api or scope.get("method") not in ("GET", "HEAD") or not _takes_pages(scope):
            return Match.NONE, {}
        return super().matches(scope)


def _takes_pages(scope: Scope) -> bool:
    """Browsers name HTML when they ask for a page; programs name JSON, or nothing in particular."""
    return any(name == b"accept" and b"text/html" in value for name, value in scope.get("headers", ()))


async def _nowhere(node: Node, request: Request) -> Response:
    """An address that is no page gets a page that says so."""

    def missing(visit: Visit) -> Outcome:
        raise NotFound(f"cannot find a page at {visit.path[:200]}")

    return await guard.respond(node, Page("GET", request.url.path, "", missing), request)


def close_streams(node: Node) -> None:
    """End the live updates of this node's pages; call in the event loop as soon as shutdown begins."""
    streams = _STREAMS.get(node.hub)
    if streams is not None:
        streams.close()


def _endpoint(node: Node, page: Page) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return await guard.respond(node, page, request)

    return endpoint
