"""The pages before anybody is signed in: password, second factor, and setting one up where the settings ask for it."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from tidegate.control import problems
from tidegate.control.console import cookies, guard, qr
from tidegate.control.console.render import render
from tidegate.control.console.visit import FORM_MAX_BYTES
from tidegate.control.domain.people import SESSION_LIFE
from tidegate.control.domain.second_factor import SIGN_IN_LIFE
from tidegate.control.services import second_step, sessions
from tidegate.control.services.node import Node
from tidegate.control.services.second_step import SecondFactorAsked
from tidegate.control.services.sign_in import SignedIn, Visitor
from tidegate.errors import TidegateError

_YEAR = 365 * 86_400


def routes(node: Node) -> list[BaseRoute]:
    """Public pages: they show nothing of any fleet."""
    return [
        Route("/signin", partial(_show, node), methods=["GET"]),
        Route("/signin", partial(_password, node), methods=["POST"]),
        Route("/signin/code", partial(_show_code, node), methods=["GET"]),
        Route("/signin/code", partial(_code, node), methods=["POST"]),
    ]


def page(
    node: Node, request: Request, template: str, title: str, problem: TidegateError | None = None, **context: Any
) -> Response:
    """A page that needs no session."""
    theme = request.cookies.get(cookies.THEME_COOKIE, "")
    whole = {
        "title": title,
        "host": request.headers.get("host", ""),
        "oidc": node.settings.oidc,
        "problem": None if problem is None else problems.problem_of(problem),
        "theme": theme if theme in ("light", "dark") else "",
        **context,
    }
    status = 200 if problem is None else problems.status_of(problem)
    return HTMLResponse(render(template, whole, live=False).html, status, guard.HEADERS)


def password_page(
    node: Node, request: Request, *, back: str, name: str = "", problem: TidegateError | None = None
) -> Response:
    return page(node, request, "signin.html", "Sign in", problem, back=back, name=name)


def visitor(request: Request) -> Visitor:
    return Visitor(
        request.headers.get("user-agent", "")[:256],
        request.client.host if request.client else "",
        request.cookies.get(cookies.BROWSER_COOKIE, ""),
    )


async def entered(node: Node, request: Request, signed_in: SignedIn, response: Response) -> Response:
    """`response`, with the new session in its cookies."""
    # Nobody will come back with the session that this browser had until now.
    before = request.cookies.get(cookies.SESSION_COOKIE, "")
    if before:
        await anyio.to_thread.run_sync(sessions.sign_out, node, before)
    seconds = int(SESSION_LIFE.total_seconds())
    cookies.set_cookie(response, cookies.SESSION_COOKIE, signed_in.session_secret, seconds=seconds)
    cookies.set_cookie(response, cookies.CSRF_COOKIE, signed_in.csrf_secret, seconds=seconds)
    cookies.set_cookie(response, cookies.BROWSER_COOKIE, signed_in.browser_secret, seconds=_YEAR)
    for name in (cookies.STEP_COOKIE, cookies.SIGN_ON_COOKIE):
        if name in request.cookies:
            cookies.drop_cookie(response, name)
    return response


async def _show(node: Node, request: Request) -> Response:
    back = guard.local_path(request.query_params.get("next", "/"))
    secret = request.cookies.get(cookies.SESSION_COOKIE, "")
    if secret and await anyio.to_thread.run_sync(sessions.session, node, secret) is not None:
        return RedirectResponse(back, 303, headers=guard.HEADERS)
    return password_page(node, request, back=back)


async def _password(node: Node, request: Request) -> Response:
    back, name = "/", ""
    try:
        guard.refuse_foreign(request)
        form = await guard.read_form(request, most_bytes=FORM_MAX_BYTES)
        back = guard.local_path(str(form.get("next", "/")))
        name = str(form.get("name", ""))[:64]
        who = visitor(request)
        begin = partial(
            sessions.sign_in,
            node,
            str(form.get("name", "")),
            str(form.get("password", "")),
            user_agent=who.user_agent,
            address=who.address,
            browser=who.browser,
        )
        signed_in = await anyio.to_thread.run_sync(begin)
    except SecondFactorAsked as asked:
        try:
            begun = await anyio.to_thread.run_sync(
                partial(second_step.keep, node, asked.operator, visitor(request), enrol=asked.enrol)
            )
        except TidegateError as error:
            return password_page(node, request, back=back, name=name, problem=error)
        response = RedirectResponse(_with_next("/signin/code", back), 303, headers=guard.HEADERS)
        seconds = int(SIGN_IN_LIFE.total_seconds())
        cookies.set_cookie(response, cookies.STEP_COOKIE, begun.secret, seconds=seconds)
        return response
    except TidegateError as error:
        return password_page(node, request, back=back, name=name, problem=error)
    return await entered(node, request, signed_in, RedirectResponse(back, 303, headers=guard.HEADERS))


async def _show_code(node: Node, request: Request) -> Response:
    return await _code_page(node, request, guard.local_path(request.query_params.get("next", "/")))


async def _code_page(node: Node, request: Request, back: str, problem: TidegateError | None = None) -> Response:
    secret = request.cookies.get(cookies.STEP_COOKIE, "")
    try:
        enrolment = await anyio.to_thread.run_sync(second_step.begun, node, secret)
    except TidegateError as error:
        return password_page(node, request, back=back, problem=error)
    picture = None if enrolment is None else qr.svg(enrolment.uri)
    title = "Code" if enrolment is None else "Set up a second factor"
    return page(node, request, "signin_code.html", title, problem, back=back, enrolment=enrolment, picture=picture)


async def _code(node: Node, request: Request) -> Response:
    back = "/"
    codes: tuple[str, ...] = ()
    try:
        guard.refuse_foreign(request)
        form = await guard.read_form(request, most_bytes=FORM_MAX_BYTES)
        back = guard.local_path(str(form.get("next", "/")))
        secret, code = request.cookies.get(cookies.STEP_COOKIE, ""), str(form.get("code", ""))[:64]
        who = visitor(request)
        if await anyio.to_thread.run_sync(second_step.begun, node, secret) is None:
            signed_in = await anyio.to_thread.run_sync(second_step.finish, node, secret, code, who)
        else:
            signed_in, codes = await anyio.to_thread.run_sync(second_step.enrol, node, secret, code, who)
    except TidegateError as error:
        return await _code_page(node, request, back, error)
    if codes:
        response = page(node, request, "signin_recovery.html", "Recovery codes", back=back, codes=codes)
    else:
        response = RedirectResponse(back, 303, headers=guard.HEADERS)
    return await entered(node, request, signed_in, response)


def _with_next(path: str, back: str) -> str:
    return path if back == "/" else f"{path}?next={quote(back, safe='/')}"
