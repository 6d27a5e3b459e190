"""Signing in and out, the theme and the fleet: what has its own cookies."""

from __future__ import annotations

from functools import partial

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from tidegate.control import problems
from tidegate.control.console import cookies, guard
from tidegate.control.console.render import render
from tidegate.control.console.visit import FORM_MAX_BYTES
from tidegate.control.domain.people import SESSION_LIFE
from tidegate.control.services import sessions
from tidegate.control.services.node import Node
from tidegate.errors import TidegateError

_YEAR = 365 * 86_400


def routes(node: Node) -> list[BaseRoute]:
    """Public pages: they show nothing of any fleet."""
    return [
        Route("/signin", partial(_show, node), methods=["GET"]),
        Route("/signin", partial(_sign_in, node), methods=["POST"]),
        Route("/signout", partial(_sign_out, node), methods=["POST"]),
        Route("/theme", _theme, methods=["POST"]),
        Route("/fleet", partial(_fleet, node), methods=["POST"]),
    ]


def _page(request: Request, *, back: str, name: str = "", problem: TidegateError | None = None) -> Response:
    theme = request.cookies.get(cookies.THEME_COOKIE, "")
    context = {
        "title": "Sign in",
        "host": request.headers.get("host", ""),
        "back": back,
        "name": name,
        "problem": None if problem is None else problems.problem_of(problem),
        "theme": theme if theme in ("light", "dark") else "",
    }
    status = 200 if problem is None else problems.status_of(problem)
    return HTMLResponse(render("signin.html", context, live=False).html, status, guard.HEADERS)


async def _show(node: Node, request: Request) -> Response:
    back = guard.local_path(request.query_params.get("next", "/"))
    secret = request.cookies.get(cookies.SESSION_COOKIE, "")
    if secret and await anyio.to_thread.run_sync(sessions.session, node, secret) is not None:
        return RedirectResponse(back, 303, headers=guard.HEADERS)
    return _page(request, back=back)


async def _sign_in(node: Node, request: Request) -> Response:
    back, name = "/", ""
    try:
        guard.refuse_foreign(request)
        form = await guard.read_form(request, most_bytes=FORM_MAX_BYTES)
        back = guard.local_path(str(form.get("next", "/")))
        name = str(form.get("name", ""))[:64]
        begin = partial(
            sessions.sign_in,
            node,
            str(form.get("name", "")),
            str(form.get("password", "")),
            user_agent=request.headers.get("user-agent", "")[:256],
            address=request.client.host if request.client else "",
            browser=request.cookies.get(cookies.BROWSER_COOKIE, ""),
        )
        signed_in = await anyio.to_thread.run_sync(begin)
        # Nobody will come back with the session that this browser had until now.
        before = request.cookies.get(cookies.SESSION_COOKIE, "")
        if before:
            await anyio.to_thread.run_sync(sessions.sign_out, node, before)
    except TidegateError as error:
        return _page(request, back=back, name=name, problem=error)
    response = RedirectResponse(back, 303, headers=guard.HEADERS)
    seconds = int(SESSION_LIFE.total_seconds())
    cookies.set_cookie(response, cookies.SESSION_COOKIE, signed_in.session_secret, seconds=seconds)
    cookies.set_cookie(response, cookies.CSRF_COOKIE, signed_in.csrf_secret, seconds=seconds)
    cookies.set_cookie(response, cookies.BROWSER_COOKIE, signed_in.browser_secret, seconds=_YEAR)
    return response


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
