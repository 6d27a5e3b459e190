"""Operators, sessions and API keys: what they are and when they count (SPEC section 12)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegate.control.domain.access import Actor, Grant, Identity
from tidegate.errors import FieldError, Invalid
from tidegate.ids import ApiKeyId, OperatorId

SESSION_LIFE = timedelta(hours=12)
SESSION_IDLE = timedelta(hours=4)
#: "Last used" is written when it is older than this, not on every request.
TOUCH_AFTER = timedelta(minutes=1)
FAILURES_BEFORE_LOCK = 10
LOCK = timedelta(minutes=15)
PASSWORD_MIN = 12
PASSWORD_MAX = 256


@dataclass(frozen=True, slots=True)
class Operator:
    id: OperatorId
    name: str
    password_hash: str
    created_at: datetime
    disabled_at: datetime | None
    failures: int
    locked_until: datetime | None
    grants: tuple[Grant, ...]

    def locked(self, now: datetime) -> bool:
        return self.locked_until is not None and now < self.locked_until

    def identity(self, session: str | None = None) -> Identity:
        return Identity(Actor("user", self.name), self.grants, self.name, self.id, session)


@dataclass(frozen=True, slots=True)
class SessionRecord:
    secret_sha256: str
    operator_id: OperatorId
    csrf_sha256: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime
    user_agent: str

    @property
    def id(self) -> str:
        """What lists show and revoking names; says nothing of the secret."""
        return self.secret_sha256[:16]

    def living(self, now: datetime) -> bool:
        return now < self.expires_at and now < self.last_used_at + SESSION_IDLE


@dataclass(frozen=True, slots=True)
class ApiKey:
    id: ApiKeyId
    name: str
    secret_sha256: str
    grant: Grant
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def living(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def identity(self) -> Identity:
        return Identity(Actor("apikey", self.name), (self.grant,), self.created_by)


def failed_sign_in(failures: int, now: datetime) -> tuple[int, datetime | None]:
    """What one more failure makes of the count: the new count, and until when the name is locked."""
    if failures + 1 >= FAILURES_BEFORE_LOCK:
        return 0, now + LOCK
    return failures + 1, None


def check_password(name: str, password: str) -> None:
    """Raises `Invalid` for a password that cannot be chosen; length is the rule, nothing else helps."""
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        rule = f"must have {PASSWORD_MIN} to {PASSWORD_MAX} characters"
    elif password.casefold() == name.casefold() or len(set(password)) < 4:
        rule = "must not be the name, nor a few characters repeated"
    else:
        return
    raise Invalid(f"cannot take this password: it {rule}", (FieldError("/password", rule),))
