"""Operators, sessions and API keys: what they are and when they count (SPEC section 12)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from tidegate.control.domain.access import Actor, Grant, Identity
from tidegate.errors import FieldError, Invalid
from tidegate.ids import ApiKeyId, OperatorId

SESSION_LIFE = timedelta(hours=12)
SESSION_IDLE = timedelta(hours=4)
#: "Last used" is written when it is older than this, not on every request.
TOUCH_AFTER = timedelta(minutes=1)
#: A browser that an operator signed in with is known for this long after it was last used, and so many of them.
BROWSER_LIFE = timedelta(days=180)
MOST_BROWSERS = 20
PASSWORD_MIN = 12
PASSWORD_MAX = 256


@dataclass(frozen=True, slots=True)
class Operator:
    id: OperatorId
    name: str
    password_hash: str
    created_at: datetime
    disabled_at: datetime | None
    grants: tuple[Grant, ...]
    #: Issuer and subject of who signs on through a provider; None: signs in with a password.
    sign_on: tuple[str, str] | None = None
    #: Until when roles from sign-on count without another one; None: for good.
    grants_until: datetime | None = None

    def lapsed(self, now: datetime) -> bool:
        """Whether they have not signed on for so long that their roles, and the API keys they made, do nothing."""
        return self.grants_until is not None and now >= self.grants_until

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
    address: str = ""

    @property
    def id(self) -> str:
        """What lists show and revoking names; says nothing of the secret."""
        return self.secret_sha256[:16]

    def living(self, now: datetime) -> bool:
        return now < self.expires_at and now < self.last_used_at + SESSION_IDLE


KeyState = Literal["valid", "suspended", "lapsed", "expired", "revoked"]


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
    #: Who made it, as they are now: the key does nothing while they are disabled, or have not signed on for too long.
    maker: Operator | None = None

    def state(self, now: datetime) -> KeyState:
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and now >= self.expires_at:
            return "expired"
        if self.maker is None or self.maker.disabled_at is not None:
            return "suspended"
        return "lapsed" if self.maker.lapsed(now) else "valid"

    def identity(self) -> Identity:
        maker = () if self.maker is None else self.maker.grants
        return Identity(Actor("apikey", self.name), (self.grant,), self.created_by, maker=maker)


def check_password(name: str, password: str) -> None:
    """Raises `Invalid` for a password that cannot be chosen; length is the rule, nothing else helps."""
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        rule = f"must have {PASSWORD_MIN} to {PASSWORD_MAX} characters"
    elif password.casefold() == name.casefold() or len(set(password)) < 4:
        rule = "must not be the name, nor a few characters repeated"
    else:
        return
    raise Invalid(f"cannot take this password: it {rule}", (FieldError("/password", rule),))
