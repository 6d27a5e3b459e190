"""Who may become a device, and which certificate counts: decisions over what is on record (SPEC section 3).

Nothing here reads a clock, a database or a key. A decision is a value; services/enrollment.py carries it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from tidegate.control.domain.devices import DeviceState
from tidegate.errors import FieldError, Invalid
from tidegate.ids import DeviceId, TokenId

TOKEN_DEFAULT_SECONDS = 3600
TOKEN_MIN_SECONDS = 60
TOKEN_MAX_SECONDS = 30 * 86_400
TOKEN_MAX_USES = 10_000
#: A device that asks for certificate after certificate, each with another key, waits this long between two.
RENEWAL_PAUSE_SECONDS = 60

TokenState = Literal["live", "expired", "spent", "revoked"]
CertificateState = Literal["intended", "pending", "current", "retired"]
RefusalKind = Literal[
    "token-unknown", "token-revoked", "token-expired", "token-spent",
    "name-required", "name-mismatch", "name-taken", "key-reused",
    "device-decommissioned", "certificate-unknown", "certificate-replaced", "certificate-expired",
    "certificate-not-yet-valid", "renewed-too-often",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """An enrollment token on record; the secret itself is nowhere."""

    id: TokenId
    device_name: str | None
    may_replace: bool
    uses_allowed: int
    uses_spent: int
    expires_at: datetime
    revoked_at: datetime | None = None

    def state(self, now: datetime) -> TokenState:
        if self.revoked_at is not None:
            return "revoked"
        if now >= self.expires_at:
            return "expired"
        return "spent" if self.uses_spent >= self.uses_allowed else "live"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A device certificate on record: `intended` ones are written down and not known to be signed."""

    id: int
    device_id: DeviceId
    state: CertificateState
    public_key_sha256: str
    not_before: datetime
    not_after: datetime
    issued_at: datetime
    token_id: TokenId | None = None

    def in_force(self, now: datetime) -> bool:
        return self.state in ("current", "pending") and now < self.not_after


@dataclass(frozen=True, slots=True)
class Holder:
    """A device on record; `ever_signed`: it has been given a certificate at least once."""

    id: DeviceId
    name: str
    state: DeviceState
    ever_signed: bool


@dataclass(frozen=True, slots=True)
class OnRecord:
    """What an enrollment is decided from: the token, who holds the name, and every certificate of the same key."""

    token: Token | None
    holder: Holder | None
    same_key: Sequence[tuple[Certificate, Holder]] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    kind: RefusalKind
    detail: str


@dataclass(frozen=True, slots=True)
class Issue:
    """Sign a new certificate for `name`; `device_id` is the record that goes on under it, None makes a new one."""

    name: str
    device_id: DeviceId | None


@dataclass(frozen=True, slots=True)
class IssuePending:
    """Sign a pending certificate for the next key; the device gives up those in `supersedes` for it."""

    supersedes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Resume:
    """This certificate was written down and its signature may have been lost: sign what is written."""

    certificate: Certificate


@dataclass(frozen=True, slots=True)
class SameAgain:
    """The answer was lost: give the same certificate again, spend nothing."""

    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Admitted:
    """The certificate counts; `promote`: this is the first use of a pending one, which retires the current."""

    promote: bool = False


#: Static groups that a token may put a device into.
MAX_GROUPS = 32


@dataclass(frozen=True, slots=True)
class NewToken:
    """What an operator asks a token to be, checked."""

    expires_in: timedelta
    uses: int
    device_name: str | None
    may_replace: bool


def new_token(
    *, expires_in_seconds: int | None, uses: int | None, device_name: str | None, may_replace: bool | None
) -> NewToken:
    """Fill in the defaults of a token and check its limits. A token bound to a name may replace unless told otherwise.

    Raises:
        Invalid: naming each field outside its limits.
    """
    seconds = TOKEN_DEFAULT_SECONDS if expires_in_seconds is None else expires_in_seconds
    count = 1 if uses is None else uses
    errors = []
    if not TOKEN_MIN_SECONDS <= seconds <= TOKEN_MAX_SECONDS:
        rule = f"must be between {TOKEN_MIN_SECONDS} and {TOKEN_MAX_SECONDS} (30 days)"
        errors.append(FieldError("/expires_in_seconds", rule))
    if not 1 <= count <= TOKEN_MAX_USES:
        errors.append(FieldError("/uses", f"must be between 1 and {TOKEN_MAX_USES}"))
    elif device_name is not None and count != 1:
        errors.append(FieldError("/uses", "must be 1 for a token bound to a device name"))
    if errors:
        raise Invalid("cannot mint this enrollment token", tuple(errors))
    replace = device_name is not None if may_replace is None else may_replace
    return NewToken(timedelta(seconds=seconds), count, device_name, replace)


def decide_enrollment(
    record: OnRecord, *, asked_name: str | None, now: datetime
) -> Issue | Resume | SameAgain | Refusal:
    """What becomes of a request whose CSR proved possession of the key that `record.same_key` is about.

    A token that was already used by this key answers as before, even when spent or expired since: the answer may have
    been lost. A revoked token answers nobody.
    """
    token = record.token
    if token is None:
        return Refusal("token-unknown", "cannot enroll: this enrollment token is not known here")
    state = token.state(now)
    if state == "revoked":
        return Refusal("token-revoked", "cannot enroll: this enrollment token was revoked")
    name = token.device_name or asked_name
    if name is None:
        return Refusal("name-required", "cannot enroll without a device name: the token does not bring one")
    if asked_name is not None and asked_name != name:
        return Refusal("name-mismatch", "cannot enroll under this name: the token is bound to another")
    before = [(mine, holder) for mine, holder in record.same_key if mine.token_id == token.id]
    if before:
        return _again(before[-1][0], before[-1][1], name, now)
    if state == "expired":
        return Refusal(
            "token-expired", f"cannot enroll: this enrollment token expired at {token.expires_at:%Y-%m-%d %H:%M} UTC"
        )
    if state == "spent":
        return Refusal("token-spent", "cannot enroll: every use of this enrollment token is spent")
    return _fresh(record, token, name, now)


def _again(mine: Certificate, holder: Holder, name: str, now: datetime) -> Resume | SameAgain | Refusal:
    if holder.name != name:
        return Refusal("name-mismatch", "cannot enroll under this name: the same token and key enrolled under another")
    if holder.state == "active" and mine.state == "intended" and now < mine.not_after:
        return Resume(mine)
    if holder.state == "active" and mine.in_force(now):
        return SameAgain(mine)
    return Refusal("token-spent", "cannot enroll: the certificate that this token gave is no longer in force")


def _fresh(record: OnRecord, token: Token, name: str, now: datetime) -> Issue | SameAgain | Refusal:
    for other, owner in record.same_key:
        own = record.holder is not None and owner.id == record.holder.id and owner.state == "active"
        if not own or other.state == "retired":
            return Refusal("key-reused", "cannot enroll with a key that is on record already: make a new one")
        if other.in_force(now):
            return SameAgain(other)
    holder = record.holder
    if holder is None:
        return Issue(name, None)
    if holder.ever_signed and not token.may_replace:
        return Refusal("name-taken", f"cannot enroll as {name}: a device of that name exists; recover it instead")
    return Issue(name, holder.id)


def decide_use(
    certificate: Certificate | None, device_state: DeviceState, now: datetime, *, renewing: bool, grace: timedelta
) -> Admitted | Refusal:
    """Whether a presented certificate counts for this request, `renewing` or any other.

    An expired certificate may renew and do nothing else, for as long as `grace`.
    """
    if certificate is None or certificate.state == "intended":
        return Refusal("certificate-unknown", "cannot serve a certificate that is not on record")
    if device_state == "decommissioned":
        return Refusal("device-decommissioned", "cannot serve this device: it was decommissioned")
    if certificate.state == "retired":
        return Refusal("certificate-replaced", "cannot serve this certificate: a newer one of the device replaced it")
    if now < certificate.not_before:
        return Refusal("certificate-not-yet-valid", "cannot serve this certificate before its time")
    if now >= certificate.not_after + (grace if renewing else timedelta(0)):
        what = "it must be recovered by an operator" if renewing else "it may only renew"
        return Refusal("certificate-expired", f"cannot serve this certificate: it has expired, {what}")
    return Admitted(promote=certificate.state == "pending")


def decide_renewal(
    device_id: DeviceId,
    issued: Sequence[Certificate],
    same_key: Sequence[Certificate],
    now: datetime,
) -> IssuePending | Resume | SameAgain | Refusal:
    """What becomes of a renewal by the holder of the current certificate.

    Args:
        issued: the certificates of the device.
        same_key: every certificate on record, of any device, for the key that the CSR proves.
    """
    for other in same_key:
        if other.device_id != device_id or other.state in ("current", "retired"):
            return Refusal("key-reused", "cannot renew with a key that is on record already: make a new one")
        if other.state == "pending" and other.in_force(now):
            return SameAgain(other)
        if other.state == "intended" and other.token_id is None:
            return Resume(other)
    waiting = [other for other in issued if other.state in ("pending", "intended") and other.token_id is None]
    if any((now - other.issued_at).total_seconds() < RENEWAL_PAUSE_SECONDS for other in waiting):
        return Refusal("renewed-too-often", "cannot renew with another key so soon after the last renewal")
    return IssuePending(tuple(other.id for other in waiting))
