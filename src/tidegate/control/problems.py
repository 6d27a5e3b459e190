"""Errors as the node answers them: RFC 9457 problems (SPEC section 13).

A leaf of both edges: the operator API and the device channel answer alike.
"""

from __future__ import annotations

import re

import msgspec
import sqlalchemy.exc
import structlog
from starlette.responses import Response

from tidegate import problems
from tidegate.errors import (
    Conflict,
    Defect,
    Invalid,
    MethodNotAllowed,
    TidegateError,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from tidegate.problems import invalid_from, status_of
from tidegate.wire.problem import PROBLEM_JSON, Problem

__all__ = ["headers_of", "invalid_from", "problem_of", "refuse_nul", "respond", "status_of", "understood"]

log = structlog.get_logger()


# An even number of backslashes before it are backslashes themselves.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_JSON = msgspec.json.Encoder()


def problem_of(error: TidegateError) -> Problem:
    """What the other side is told. A defect says nothing of the inside."""
    problem = problems.problem_of(error)
    if problem.status != 500:
        return problem
    hidden = "cannot carry this out: an internal error, written to the node's log"
    return msgspec.structs.replace(problem, detail=hidden)


def headers_of(error: TidegateError) -> dict[str, str]:
    """The headers that go with the problem's status."""
    headers = {"cache-control": "no-store"}
    if isinstance(error, TooMany | Unavailable):
        headers["retry-after"] = str(error.retry_after_seconds)
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = ", ".join(error.allowed)
    return headers


def respond(error: TidegateError) -> Response:
    """The problem as an answer."""
    problem = problem_of(error)
    return Response(_JSON.encode(problem), problem.status, headers_of(error), PROBLEM_JSON)


def understood(error: Exception) -> TidegateError:
    """Any exception as one of ours: a lost database is `Unavailable`, what nobody foresaw is a `Defect`, logged."""
    if isinstance(error, TidegateError):
        if isinstance(error, Defect):
            log.error("defect", error=str(error), exc_info=error)
        return error
    if isinstance(error, sqlalchemy.exc.IntegrityError) and _is_unique_violation(error):
        # Two who created the same at once: each looked before the other had committed.
        log.info("two acts at once", error=str(error.orig))
        return Conflict("cannot do this: somebody else did the same at this moment; look, and try again")
    if isinstance(error, sqlalchemy.exc.DataError):
        log.warning("value refused by the database", error=str(error.orig))
        return Invalid("cannot take a value that the database does not store, such as text with a NUL character")
    if isinstance(error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.TimeoutError):
        log.error("database unavailable", error=str(error.__cause__ or error))
        if _is_full(error):
            return Unavailable(
                "cannot write to the database: its disk is full; make room, and it goes on by itself",
                type="disk-full",
                retry_after_seconds=60,
            )
        if getattr(getattr(error, "orig", None), "sqlstate", "") == "57014":  # query_canceled
            return Unavailable("cannot answer this: the database took too long over it; ask for less")
        return Unavailable("cannot reach the database for now")
    log.error("unforeseen error", error=repr(error), exc_info=error)
    return Defect(f"unforeseen: {error!r}")


def _is_full(error: sqlalchemy.exc.SQLAlchemyError) -> bool:
    """SQLite: SQLITE_FULL, and what it makes of a write-ahead log that cannot grow; PostgreSQL: disk_full."""
    cause = getattr(error, "orig", None)
    return (
        getattr(cause, "sqlstate", "") == "53100"
        or getattr(cause, "sqlite_errorname", "") in ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_WRITE")
    )  # fmt: skip


def _is_unique_violation(error: sqlalchemy.exc.IntegrityError) -> bool:
    return getattr(error.orig, "sqlstate", "") == "23505" or "UNIQUE constraint failed" in str(error.orig)


def refuse_nul(body: bytes) -> None:
    """JSON may write U+0000 as an escape; PostgreSQL stores no text with it, and one such value would fail a batch.

    Raises:
        Invalid: the body has one.
    """
    if b"\\u0000" in body and _NUL.search(body):
        raise Invalid("cannot accept the body: text must not contain the character U+0000")
