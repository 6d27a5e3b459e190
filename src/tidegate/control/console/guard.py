"""Between the browser and a page: session, fleet, permission, forged forms, and every error as a page."""

from __future__ import annotations

import hmac
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import anyio
import anyio.to_thread
from starlette.datastructures import FormData
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tidegate.control import problems
from tidegate.control.console import packing
from tidegate.control.console.chrome import chrome
from tidegate.control.console.cookies import CSRF_COOKIE, FLEET_COOKIE, SESSION_COOKIE, THEME_COOKIE
from tidegate.control.console.navigation import sections
from tidegate.control.console.render import Rendered, render
from tidegate.control.console.visit import DONE, FIELD_MAX, Go, Outcome, Page, Show, Visit
from tidegate.control.domain.access import Scope
from tidegate.control.services import sessions
from tidegate.control.services.node import Node
from tidegate.control.services.sessions import Session
from tidegate.errors import Forbidden, Malformed, NotFound, TidegateError, TooLarge

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
MAX_FIELDS = 1_000
FORM_SECONDS = 30
#: A file may take as long as it does at this rate; whoever sends slower holds a place for nothing.
LEAST_BYTES_A_SECOND = 16 * 1024


class SignedOut(Exception):
    """There is no living session."""


def local_path(value: str, default: str = "/") -> str:
    """`value` when it is a path of this console, which a redirect may follow; else `default`."""
    safe = value.startswith("/") and not value.startswith("//") and "\\" not in value and value.isprintable()
    return value if safe and len(value) <= 2_048 else default


def _host_of(origin: str) -> str:
    """Host and port of an Origin header; empty for `null` and for what is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def refuse_foreign(request: Request) -> None:
    """A form of another site is refused before anything of it is read.

    Raises:
        Forbidden: the browser says that another site sent it.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    foreign_origin = origin is not None and _host_of(origin) != request.headers.get("host", "")
    if (site is not None and site not in ("same-origin", "none")) or foreign_origin:
        raise Forbidden("cannot accept a form that another site sent", type="foreign-form")


async def read_form(request: Request, *, most_bytes: int) -> FormData:
    """The fields of a posted form; files are spooled to disk, never to memory.

    Raises:
        TooLarge: the body is announced with more than `most_bytes`, or without its length.
        Malformed: it is no form.
    """
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > most_bytes:
        raise TooLarge(f"cannot accept a form of more than {most_bytes:,} bytes")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        raise Malformed("cannot read what was sent: it is no form")
    # Falling silent is the listener's to end; this ends a trickle.
    most_seconds = FORM_SECONDS + int(length) // LEAST_BYTES_A_SECOND
    try:
        with anyio.fail_after(most_seconds):
            return await request.form(max_files=8, max_fields=MAX_FIELDS, max_part_size=4 * FIELD_MAX)
    except TimeoutError as error:
        raise Malformed(f"cannot wait longer than {most_seconds:,} seconds for the form") from error
    except ClientDisconnect as error:
        raise Malformed("cannot read the form: the browser left before its end") from error
    except Exception as error:
        if getattr(error, "status_code", 0) == 400:
            raise Malformed(f"cannot read the form: {getattr(error, 'detail', error)}") from error
        raise


def _session(node: Node, request: Request) -> Session:
    found = sessions.session(node, request.cookies.get(SESSION_COOKIE, ""))
    if found is None:
        raise SignedOut
    return found


def _fleet(node: Node, request: Request, session: Session) -> tuple[Scope, tuple[str, ...]]:
    """The fleet chosen by cookie, or the first that they see."""
    names = tuple(fleet.name for fleet in sessions.visible_fleets(node, session.identity))
    if not names:
        raise Forbidden("cannot show anything: no fleet has given you a role; an admin can", permission="devices.read")
    chosen = request.cookies.get(FLEET_COOKIE, "")
    return sessions.scope_in(node, session.identity, chosen if chosen in names else names[0]), names


def _address(request: Request) -> str:
    """Path and query, without what says that something was just done: coming back does not do it again."""
    asked = urlencode([(name, value) for name, value in request.query_params.multi_items() if name != "done"])
    return request.url.path + (f"?{asked}" if asked else "")


def _refuse_forged(session: Session, csrf: str, form: FormData) -> None:
    sent = str(form.get("csrf", ""))
    if not hmac.compare_digest(sent.encode(), csrf.encode()) or not session.csrf_matches(sent):
        raise Forbidden("cannot accept this form: it is not of your session; load the page again", type="stale-form")


def enter(node: Node, page: Page, request: Request, form: FormData | None) -> Visit:
    """Who visits and what they may. `form` is None before a posted form is read: whose it is, is asked with it.

    Raises:
        SignedOut: nobody is signed in.
        Forbidden: the form is not of this session.
        Refusal: the permission of the page is missing.
    """
    session = _session(node, request)
    csrf = request.cookies.get(CSRF_COOKIE, "")
    if request.method == "POST" and form is not None:
        _refuse_forged(session, csrf, form)
    scope, names = _fleet(node, request, session)
    theme = request.cookies.get(THEME_COOKIE, "")
    visit = Visit(
        node=node,
        scope=scope,
        session=session,
        csrf=csrf if session.csrf_matches(csrf) else "",
        fleets=names,
        theme=theme if theme in ("light", "dark") else "",
        path=_address(request),
        params={name: str(value) for name, value in request.path_params.items()},
        query=request.query_params,
        form=form or FormData(),
        now=node.clock.now(),
    )
    if page.permission:
        try:
            scope.require(page.permission)
        except Forbidden as error:
            raise Refusal(error, visit) from error
    return visit


class Refusal(Exception):
    """A refusal with its visitor, so that the problem page has its frame."""

    def __init__(self, error: TidegateError, visit: Visit) -> None:
        super().__init__(error.detail)
        self.error = error
        self.visit = visit


def carry_out(node: Node, page: Page, request: Request, form: FormData) -> Response:
    """Enter, do, answer; in a thread."""
    try:
        visit = enter(node, page, request, form)
    except SignedOut:
        return to_sign_in(request)
    except Refusal as refusal:
        return answer(page, refusal.visit, _problem_page(refusal.error))
    try:
        outcome = page.handler(visit)
    except Exception as error:  # noqa: BLE001 - the edge: every error becomes a page, the unforeseen ones logged
        outcome = _problem_page(problems.understood(error))
    response = answer(page, visit, outcome)
    return response if page.secret else packing.packed(response, request, visit.csrf)


def answer(page: Page, visit: Visit, outcome: Outcome) -> Response:
    if isinstance(outcome, Response):
        outcome.headers.update({name: value for name, value in HEADERS.items() if name not in outcome.headers})
        return outcome
    if isinstance(outcome, Go):
        separator = "&" if "?" in outcome.to else "?"
        to = f"{outcome.to}{separator}done={quote(outcome.done)}" if outcome.done else outcome.to
        return RedirectResponse(to, 303, headers=HEADERS)
    try:
        rendered = page_html(page, visit, outcome)
    except Exception as error:  # noqa: BLE001 - a page that cannot be drawn is a problem page, or says so in plain words
        understood = problems.understood(error)
        if isinstance(outcome.problem, TidegateError) and outcome.template == "problem.html":
            return Response(understood.detail, problems.status_of(understood), HEADERS, "text/plain")
        return answer(page, visit, _problem_page(understood))
    status = 200 if outcome.problem is None else problems.status_of(outcome.problem)
    extra = problems.headers_of(outcome.problem) if outcome.problem is not None else {}
    extra.pop("www-authenticate", None)
    return HTMLResponse(rendered.html, status, HEADERS | {name.title(): value for name, value in extra.items()})


def page_html(page: Page, visit: Visit, show: Show) -> Rendered:
    own = visit.path if page.live and page.method == "GET" and show.problem is None else ""
    live = show.live_at or own
    context: dict[str, Any] = {
        **show.context,
        "visit": visit,
        "now": visit.now,
        "chrome": chrome(visit),
        "nav": page.nav,
        "sections": sections(visit.scope),
        "live": live,
        "title": show.title,
        "problem": None if show.problem is None else problems.problem_of(show.problem),
        "done": DONE.get(visit.query.get("done", "")),
        "allows": visit.scope.allows,
    }
    return render(show.template, context, live=bool(live))


def _problem_page(error: TidegateError) -> Show:
    title = "Not found" if isinstance(error, NotFound) else "Not possible"
    return Show("problem.html", title, problem=error)


def to_sign_in(request: Request) -> Response:
    """On to the sign-in page, and back afterwards."""
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    to = "/signin" if request.method != "GET" or back == "/" else f"/signin?next={quote(back, safe='/')}"
    return RedirectResponse(to, 303, headers=HEADERS)


async def respond(node: Node, page: Page, request: Request) -> Response:
    """One request of a page."""
    form = FormData()
    try:
        if request.method == "POST":
            refuse_foreign(request)
            # Who is not signed in, or may not do this, may not make the node read a body.
            await anyio.to_thread.run_sync(enter, node, page, request, None)
            form = await read_form(request, most_bytes=page.most_bytes(node))
        return await anyio.to_thread.run_sync(carry_out, node, page, request, form)
    except SignedOut:
        return to_sign_in(request)
    except Refusal as refusal:
        return await anyio.to_thread.run_sync(answer, page, refusal.visit, _problem_page(refusal.error))
    except TidegateError as error:
        return plain_problem(error)
    finally:
        await form.close()


def plain_problem(error: TidegateError) -> Response:
    """A refusal before anybody is known: without the frame of a page."""
    problem = problems.problem_of(error)
    rendered = render("refused.html", {"problem": problem, "title": "Not possible", "theme": ""}, live=False)
    return HTMLResponse(rendered.html, problem.status, HEADERS)
