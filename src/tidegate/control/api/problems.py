"""What Starlette itself refuses, as problems."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from tidegate.control.problems import respond, understood
from tidegate.errors import Malformed, MethodNotAllowed, NotFound


async def on_http_exception(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses (no such path) as a problem."""
    status = getattr(error, "status_code", 500)
    if status == HTTPStatus.NOT_FOUND:
        return respond(NotFound(f"cannot find {request.url.path}"))
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = tuple((getattr(error, "headers", None) or {}).get("Allow", "").split(", "))
        return respond(MethodNotAllowed(f"cannot {request.method} {request.url.path}", allowed))
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return respond(Malformed(f"cannot read the request: {getattr(error, 'detail', status)}"))
    return respond(understood(error))
