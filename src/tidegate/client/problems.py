"""The node's problems (RFC 9457) as the exceptions they were there, and back."""

from __future__ import annotations

from tidegate.errors import (
    Conflict,
    Defect,
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    TidegateError,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from tidegate.wire.problem import Problem

_KINDS: dict[int, type[TidegateError]] = {
    401: Unauthenticated, 404: NotFound, 409: Conflict, 413: TooLarge, 500: Defect,
}  # fmt: skip


def as_error(problem: Problem) -> TidegateError:
    """`Invalid` has `errors` by JSON pointer, `Forbidden` the permission, `TooMany` and `Unavailable` when to retry."""
    detail, kind = problem.detail or problem.title, problem.kind
    if problem.errors or problem.status == 422:
        return Invalid(detail, tuple(FieldError(e.pointer, e.detail) for e in problem.errors), type=kind)
    if problem.status == 403:
        return Forbidden(detail, permission=problem.permission, type=kind)
    if problem.status == 429:
        return TooMany(detail, retry_after_seconds=problem.retry_after_seconds, type=kind)
    if problem.status == 503:
        return Unavailable(detail, retry_after_seconds=problem.retry_after_seconds, type=kind)
    return _KINDS.get(problem.status, Refused)(detail, type=kind)
