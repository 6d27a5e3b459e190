"""Every kind of error as an RFC 9457 problem with its status code, and back: what the node says, its clients raise.

The one place that knows which status belongs to which kind (SPEC section 13); a leaf of the node and of the client.
"""

from __future__ import annotations

from tidegate.errors import (
    Conflict,
    Defect,
    FieldError,
    Forbidden,
    Invalid,
    Malformed,
    MethodNotAllowed,
    NotFound,
    Refused,
    TidegateError,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
    Untrusted,
)
from tidegate.wire.problem import Problem, ProblemField

#: The first that fits an error, and the first that has a status: the root of each family comes after its kinds.
_STATUS: tuple[tuple[type[TidegateError], int], ...] = (
    (Malformed, 400),
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (MethodNotAllowed, 405),
    (Conflict, 409),
    (TooLarge, 413),
    (Invalid, 422),
    (TooMany, 429),
    (Refused, 422),
    (Untrusted, 422),
    (Unavailable, 503),
    (Defect, 500),
)


def status_of(error: TidegateError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem_of(error: TidegateError) -> Problem:
    """All that the error says; what the inside may not tell the other side is taken out at the edge."""
    return Problem(
        type=f"/problems/{error.type}",
        title=error.type.replace("-", " ").capitalize(),
        status=status_of(error),
        detail=error.detail,
        permission=error.permission if isinstance(error, Forbidden) else "",
        errors=tuple(ProblemField(e.pointer, e.detail) for e in error.errors) if isinstance(error, Invalid) else (),
        retry_after_seconds=error.retry_after_seconds if isinstance(error, TooMany | Unavailable) else 0,
        stop_workloads=bool(getattr(error, "stop_workloads", False)),
    )


def error_of(problem: Problem) -> TidegateError:
    """`Invalid` has `errors` by JSON pointer, `Forbidden` the permission, `TooMany` and `Unavailable` when to retry."""
    detail, kind = problem.detail or problem.title, problem.kind
    if problem.errors:
        return Invalid(detail, tuple(FieldError(e.pointer, e.detail) for e in problem.errors), type=kind)
    found = next((kind for kind, status in _STATUS if status == problem.status), Refused)
    if issubclass(found, Forbidden):
        return found(detail, permission=problem.permission, type=kind)
    if issubclass(found, TooMany | Unavailable):
        return found(detail, retry_after_seconds=problem.retry_after_seconds, type=kind)
    return found(detail, type=kind)
