"""To an OpenID provider and back.

The way there is a link, not a form: the policy lets forms go to this console only, redirects after them included.
"""

from __future__ import annotations

from functools import partial

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from tidegate.control.console import cookies, guard
from tidegate.control.console.signing_in import entered, password_page, visitor
from tidegate.control.domain.sign_on import SIGN_ON_LIFE
from tidegate.control.services import sign_on
from tidegate.control.services.node import Node
from tidegate.control.services.sign_on import Answer
from tidegate.errors import TidegateError, Unavailable

#: Threads that may wait for the provider, and requests that may wait for one: it holds up nothing else when it is slow.
_THREADS = 8
_WAITING = 100
_MOST = 2_048


def routes(node: Node) -> list[BaseRoute]:
    threads = anyio.CapacityLimiter(_THREADS)
    return [
        Route("/signin/sign-on", partial(_begin, node, threads), methods=["GET"]),
        Route(sign_on.CALLBACK, partial(_finish, node, threads), methods=["GET"]),
    ]


async def _begin(node: Node, threads: anyio.CapacityLimiter, request: Request) -> Response:
    back = guard.local_path(request.query_params.get("next", "/"))
    try:
        _refuse_crowd(threads)
        begin = partial(sign_on.begin, node, back, visitor(request).address)
        departure = await anyio.to_thread.run_sync(begin, limiter=threads)
    except TidegateError as error:
        return password_page(node, request, back=back, problem=error)
    response = RedirectResponse(departure.url, 303, headers=guard.HEADERS)
    seconds = int(SIGN_ON_LIFE.total_seconds())
    cookies.set_cookie(response, cookies.SIGN_ON_COOKIE, departure.cookie, seconds=seconds)
    return response


async def _finish(node: Node, threads: anyio.CapacityLimiter, request: Request) -> Response:
    cookie = request.cookies.get(cookies.SIGN_ON_COOKIE, "")
    answer = Answer(*(request.query_params.get(name, "")[:_MOST] for name in ("code", "state", "iss", "error")))
    try:
        _refuse_crowd(threads)
        signed_in, back = await anyio.to_thread.run_sync(
            sign_on.finish, node, cookie, answer, visitor(request), limiter=threads
        )
    except TidegateError as error:
        refused = password_page(node, request, back="/", problem=error)
        cookies.drop_cookie(refused, cookies.SIGN_ON_COOKIE)
        return refused
    return await entered(node, request, signed_in, RedirectResponse(back, 303, headers=guard.HEADERS))


def _refuse_crowd(threads: anyio.CapacityLimiter) -> None:
    if threads.statistics().tasks_waiting >= _WAITING:
        raise Unavailable("cannot sign on for now: too many do at once", retry_after_seconds=5)
