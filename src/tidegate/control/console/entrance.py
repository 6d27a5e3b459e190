"""Signing out, the theme and the fleet: what has its own cookies. Signing in: signing_in.py."""

from __future__ import annotations

from functools import partial

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from tidegate.control.console import cookies, guard
from tidegate.control.console.visit import FORM_MAX_BYTES
from tidegate.control.services import sessions
from tidegate.control.services.node import Node
from tidegate.errors import TidegateError

_YEAR = 365 * 86_400


def routes(node: Node) -> list[BaseRoute]:
    """Public pages: they show nothing of any fleet."""
    return [
        Route("/signout", partial(_sign_out, node), methods=["POST"]),
        Route("/theme", _theme, methods=["POST"]),
        Route("/fleet", partial(_fleet, node), methods=["POST"]),
    ]


async def _sign_out(node: Node, request: Request) -> Response:
    try:
        guard.refuse_foreign(request)
    except TidegateError as error:
        return guard.plain_problem(error)
    secret = request.cookies.get(cookies.SESSION_COOKIE, "")
    if secret:
        await anyio.to_thread.run_sync(sessions.sign_out, node, secret)
    response = RedirectResponse("/signin", 303, headers=guard.HEADERS)
    for name in (cookies.SESSION_COOKIE, cookies.CSRF_COOKIE):
        cookies.drop_cookie(response, name)
    return response


async def _theme(request: Request) -> Response:
    """Keep the look that was chosen; no session is needed, nothing but a cookie changes."""
    try:
        guard.refuse_foreign(request)
        form = await guard.read_form(request, most_bytes=FORM_MAX_BYTES)
    except TidegateError as error:
        return guard.plain_problem(error)
    response = RedirectResponse(guard.local_path(str(form.get("back", "/"))), 303, headers=guard.HEADERS)
    theme = str(form.get("theme", ""))
    cookies.set_cookie(response, cookies.THEME_COOKIE, theme if theme in ("light", "dark") else "", seconds=_YEAR)
    return response


async def _fleet(node: Node, request: Request) -> Response:
    """Show another fleet from now on; which ones are theirs is asked again with every page."""
    try:
        guard.refuse_foreign(request)
        form = await guard.read_form(request, most_bytes=FORM_MAX_BYTES)
    except TidegateError as error:
        return guard.plain_problem(error)
    response = RedirectResponse("/", 303, headers=guard.HEADERS)
    cookies.set_cookie(response, cookies.FLEET_COOKIE, str(form.get("fleet", ""))[:64], seconds=_YEAR)
    return response
