"""One exception root with few kinds.

Hostile or mistaken input (`Refused` and its kinds), a broken world (`Unavailable`) and our own bug (`Defect`) never
share an `except`. Messages start with what cannot be done ("cannot resume a rollout that is completed"), name the
thing, and carry no secret. Each kind has one status code (problems.py), given and read at the edges only.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Conflict", "Defect", "FieldError", "Forbidden", "Invalid", "Malformed", "MethodNotAllowed", "NotFound", "Refused",
    "TidegateError", "TooLarge", "TooMany", "Unauthenticated", "Unavailable", "Untrusted",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class FieldError:
    """One mistake in an input: where (a JSON pointer such as ``/strategy/waves/0/percent``) and the rule it breaks."""

    pointer: str
    detail: str


class TidegateError(Exception):
    """Root of every error of ours."""

    #: RFC 9457 problem type, the last part of the URI reference; each subclass or instance names its own.
    type = "error"

    def __init__(self, detail: str, *, type: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if type is not None:
            self.type = type


class Refused(TidegateError):
    """The request cannot be carried out as asked; asking again unchanged gives the same answer."""

    type = "refused"


class Malformed(Refused):
    """Not the syntax that was promised: broken JSON, a missing content type, a path that does not decode."""

    type = "malformed"


class MethodNotAllowed(Refused):
    """The path exists; `allowed` are its methods."""

    type = "method-not-allowed"

    def __init__(self, detail: str, allowed: tuple[str, ...] = (), *, type: str | None = None) -> None:
        super().__init__(detail, type=type)
        self.allowed = allowed


class Invalid(Refused):
    """The input breaks a rule; `errors` names each field and its rule."""

    type = "invalid"

    def __init__(self, detail: str, errors: tuple[FieldError, ...] = (), *, type: str | None = None) -> None:
        super().__init__(detail, type=type)
        self.errors = errors


class NotFound(Refused):
    """Absent, or not visible to the one who asks: both answer alike."""

    type = "not-found"


class Conflict(Refused):
    """The thing is not in a state that allows this (a name is taken, a transition is illegal, a generation changed)."""

    type = "conflict"


class Unauthenticated(Refused):
    """Nobody, or somebody whose credential is not accepted."""

    type = "unauthenticated"


class Forbidden(Refused):
    """Known, but lacks a permission; `permission` names it."""

    type = "forbidden"

    def __init__(self, detail: str, *, permission: str = "", type: str | None = None) -> None:
        super().__init__(detail, type=type)
        self.permission = permission


class TooLarge(Refused):
    """More bytes or items than the limit that the detail names."""

    type = "too-large"


class TooMany(Refused):
    """Rate limited; try again after `retry_after_seconds`."""

    type = "too-many-requests"

    def __init__(self, detail: str, *, retry_after_seconds: int, type: str | None = None) -> None:
        super().__init__(detail, type=type)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(TidegateError):
    """The world is broken for now (disk full, database gone); the same request may succeed later."""

    type = "unavailable"

    def __init__(self, detail: str, *, retry_after_seconds: int = 5, type: str | None = None) -> None:
        super().__init__(detail, type=type)
        self.retry_after_seconds = retry_after_seconds


class Untrusted(TidegateError):
    """Bytes that do not verify: wrong signature, hash, length, role, expiry or rollback: never applied or served."""

    type = "untrusted"


class Defect(TidegateError):
    """A state that our own code must never reach."""

    type = "defect"
