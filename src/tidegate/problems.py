"""Every kind of error as an RFC 9457 problem with its status code, and back: what the node says, its clients raise.

The one place that knows which status belongs to which kind (SPEC section 13); a leaf of the node and of the client.
"""

from __future__ import annotations

import re

import msgspec

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


# -- what a structure refuses ------------------------------------------------------------------------------------------

_SPOKEN = re.compile(r" - at (?:`key` in )?`\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>\d+|\.\.\.)\]")
_FIELD = re.compile(r"^Object (?:contains unknown|missing required) field `(?P<field>[^`]*)`")

#: What the wire's patterns mean, for people; a pattern that is not here is shown as it is.
_PATTERNS = {
    "^[a-z0-9][a-z0-9._-]{0,62}$": "1 to 63 lower-case letters, digits, '.', '_' or '-', the first a letter or digit",
    "^[a-z0-9][a-z0-9._-]{0,127}$": "1 to 128 lower-case letters, digits, '.', '_' or '-', the first a letter or digit",
    "^[a-z0-9][a-z0-9-]{0,62}$": "1 to 63 lower-case letters, digits or '-', the first a letter or digit",
    "^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$": "1 to 128 letters, digits, '.', '_', '+', '-', the first a letter or digit",
    "^[0-9a-f]{64}$": "64 hexadecimal digits in lower case",
    "^[0-9a-f]{32}$": "32 hexadecimal digits in lower case",
}
_TIMES = ("Expected `datetime` with a timezone component", "Invalid RFC3339 encoded datetime")
_MATCHING = re.compile(r"^Expected `str` matching regex '(?P<pattern>.*)'$", re.DOTALL)


def _in_words(rule: str) -> str:
    """msgspec's rule as a person reads it."""
    if rule.strip() in _TIMES:
        return "must be a time with its offset from UTC (RFC 3339), such as 2026-12-01T08:00:00Z"
    said = _MATCHING.match(rule.strip())
    if said is not None:
        pattern = said["pattern"].replace("\\\\", "\\").removesuffix(r"(?!\n)")
        if pattern in _PATTERNS:
            return f"must be {_PATTERNS[pattern]}"
    return rule[:1].lower() + rule[1:]


def invalid_from(error: msgspec.ValidationError, what: str) -> Invalid:
    """msgspec's refusal, with its path as a JSON pointer; `what` is "body" or "query"."""
    text = str(error)
    spoken = _SPOKEN.search(text)
    rule = text[: spoken.start()] if spoken else text
    parts = [m["name"] or m["index"] for m in _STEP.finditer(spoken["path"])] if spoken else []
    # A value inside a map is told as [...]: the pointer then ends at the map.
    if "..." in parts:
        parts = parts[: parts.index("...")]
    field = _FIELD.match(rule)
    if field:
        parts.append(field["field"])
    pointer = "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in parts)
    if field:
        rule = "is unknown" if "unknown" in rule else "is missing"
        return Invalid(f"cannot accept the {what}: {pointer} {rule}", (FieldError(pointer, rule),))
    rule = _in_words(rule)
    if pointer and rule.startswith("must "):
        return Invalid(f"cannot accept the {what}: {pointer} {rule}", (FieldError(pointer, rule),))
    where = f" at {pointer}" if pointer else ""
    return Invalid(f"cannot accept the {what}: {rule}{where}", (FieldError(pointer, rule),))
