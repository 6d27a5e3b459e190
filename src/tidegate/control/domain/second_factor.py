"""Second factors: codes by time (TOTP, RFC 6238) and recovery codes; what counts, once, and for whom they are asked."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyotp

from tidegate.control.domain.access import Grant
from tidegate.ids import OperatorId

STEP_SECONDS = 30
DIGITS = 6
#: Steps that a clock may be off, to either side.
TOLERANCE = 1
RECOVERY_CODES = 10
#: How long somebody may take between password and second factor.
SIGN_IN_LIFE = timedelta(minutes=5)
EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """`sealed_secret` opens to the shared secret in base32; until `confirmed_at` is set it counts for nothing."""

    operator_id: OperatorId
    sealed_secret: bytes
    created_at: datetime
    confirmed_at: datetime | None
    last_step: int

    @property
    def identity(self) -> str:
        """Whose the sealed secret is."""
        return sealed_as(self.operator_id)


@dataclass(frozen=True, slots=True)
class BegunSignIn:
    """Somebody gave the right password; `password_sha256` is of the hash it was checked against.

    `known`: by a browser that the operator had signed in with before.
    """

    operator_id: OperatorId
    password_sha256: str
    expires_at: datetime
    known: bool


def sealed_as(operator_id: OperatorId) -> str:
    return f"totp:operator:{operator_id}"


def matching_step(secret: str, code: str, now: datetime, last_step: int) -> int | None:
    """The time step that `code` belongs to, when it is near `now` and later than the last one taken.

    Every step in reach is compared, in constant time each, so that how long it takes says nothing.
    """
    generator = pyotp.TOTP(secret, digits=DIGITS, interval=STEP_SECONDS)
    current = int(now.timestamp()) // STEP_SECONDS
    found = None
    for step in range(current - TOLERANCE, current + TOLERANCE + 1):
        right = hmac.compare_digest(generator.at(step * STEP_SECONDS).encode(), code.encode())
        if right and step > last_step:
            found = step
    return found


def enrolment_uri(secret: str, name: str, host: str) -> str:
    """What the QR code says to an authenticator."""
    return pyotp.TOTP(secret, digits=DIGITS, interval=STEP_SECONDS).provisioning_uri(
        name=name, issuer_name=f"Tidegate {host}"
    )


def typed(code: str) -> str:
    """A code without what people type or paste between its parts."""
    return "".join(code.split()).replace("-", "").lower()


def is_time_code(code: str) -> bool:
    """Whether a typed code is meant as one by time; any other is a recovery code."""
    return len(code) == DIGITS and code.isascii() and code.isdigit()


def required(asked: Collection[str], grants: Iterable[Grant]) -> bool:
    """Whether the setting `totp_required` asks this operator for a second factor."""
    return EVERYBODY in asked or any(grant.role in asked for grant in grants)
