"""Setting up, checking and removing second factors (SPEC section 12).

A factor counts from its first code on. What was shown once (the shared secret, the recovery codes) is kept sealed or
hashed. A code by time is taken once: the step of the last one is stored in the transaction that took it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar
from urllib.parse import urlsplit

import pyotp
from sqlalchemy import Connection

from tidegate.control.domain.access import EVERY_FLEET, Identity, Scope
from tidegate.control.domain.attempts import OWN_PASSWORD, SECOND_FACTOR
from tidegate.control.domain.people import PASSWORD_MAX, Operator
from tidegate.control.domain.second_factor import (
    RECOVERY_CODES,
    SecondFactor,
    enrolment_uri,
    is_time_code,
    matching_step,
    required,
    sealed_as,
    typed,
)
from tidegate.control.services import attempts, audit, sealing, secrets
from tidegate.control.services.node import Node
from tidegate.control.store import engine, people, sessions
from tidegate.control.store import second_factors as store
from tidegate.errors import Conflict, FieldError, Forbidden, Invalid, NotFound
from tidegate.ids import OperatorId

T = TypeVar("T")
Used = Literal["totp", "recovery-code"]


@dataclass(frozen=True, slots=True)
class Standing:
    """An operator's second factor. `required`: the settings ask them for one; `since` None: it does not count (yet)."""

    since: datetime | None
    recovery_codes_left: int
    required: bool
    possible: bool


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator needs, shown until the first code confirms it."""

    secret: str
    uri: str


def standing(node: Node, identity: Identity) -> Standing:
    """The second factor of whoever asks; an API key has none and can have none."""
    if identity.operator_id is None:
        return Standing(None, 0, False, False)
    with node.db.read() as tx:
        return _standing(tx, node, _operator(tx, identity.operator_id))


def standing_of(scope: Scope, node: Node, name: str) -> Standing:
    """Another operator's, for who administers users. Raises `NotFound`."""
    scope.require("users.manage")
    with node.db.read() as tx:
        operator = people.operator_by_name(tx, name[:64])
        if operator is None:
            raise NotFound(f"cannot find the operator {name[:64]}")
        return _standing(tx, node, operator)


def _standing(tx: Connection, node: Node, operator: Operator) -> Standing:
    factor = store.find(tx, operator.id)
    since = factor.confirmed_at if factor is not None else None
    left = store.recovery_codes_left(tx, operator.id) if since is not None else 0
    local = operator.sign_on is None
    return Standing(since, left, local and required(node.settings.totp_required, operator.grants), local)


# -- one's own --------------------------------------------------------------------------------------------------------


def begin(node: Node, identity: Identity, password: str) -> Enrolment:
    """A new shared secret for whoever asks; it counts once `confirm` has seen a code made from it.

    Raises:
        Conflict: there is a second factor already; remove it first.
        Invalid: the password is wrong.
        Forbidden: an API key, or an operator who signs on elsewhere.
        TooMany: too many wrong passwords.
    """
    operator = _with_password(node, identity, password)
    with node.db.write() as tx:
        return renew_pending(tx, node, operator)


def new_secret(tx: Connection, node: Node, operator: Operator) -> Enrolment:
    """Begin anew with a secret that nobody has seen."""
    secret = pyotp.random_base32(32)
    sealed = sealing.sealer(node.settings).seal(secret.encode(), sealed_as(operator.id))
    store.begin(tx, operator.id, sealed, engine.now(tx))
    return _enrolment(node, operator, secret)


def renew_pending(tx: Connection, node: Node, operator: Operator) -> Enrolment:
    """As `new_secret`, for who is not locked yet. Raises `Conflict`: there is a confirmed factor, or they changed."""
    locked = _locked(tx, operator)
    _refuse_second(store.find(tx, locked.id, lock=True))
    return new_secret(tx, node, locked)


def pending(tx: Connection, node: Node, operator: Operator) -> Enrolment | None:
    """What was begun and not confirmed yet."""
    factor = store.find(tx, operator.id)
    if factor is None or factor.confirmed_at is not None:
        return None
    return _enrolment(node, operator, _secret(node, factor))


def pending_own(node: Node, identity: Identity) -> Enrolment | None:
    """What whoever asks has begun and not confirmed yet."""
    if identity.operator_id is None:
        return None
    with node.db.read() as tx:
        return pending(tx, node, _operator(tx, identity.operator_id))


def confirm(node: Node, identity: Identity, code: str) -> tuple[str, ...]:
    """Let the begun factor count, and end the other sessions; gives the recovery codes, shown this once.

    Raises:
        Conflict: nothing was begun, or it counts already.
        Invalid: the code is not one of the secret that was shown.
        TooMany: too many wrong codes.
    """
    with node.db.read() as tx:
        operator = _local(tx, identity)

    def act(tx: Connection) -> tuple[str, ...] | None:
        codes = confirm_in(tx, node, _locked(tx, operator), code)
        if codes is not None:
            ended = _end_other_sessions(tx, operator.id, identity.session)
            _record(tx, identity, "operator.add-totp", operator, {"sessions_ended": ended})
        return codes

    return _guarded(node, operator, act)


def confirm_in(tx: Connection, node: Node, operator: Operator, code: str) -> tuple[str, ...] | None:
    """Within a transaction that has locked the operator: the recovery codes, or None when the code is wrong."""
    factor = store.find(tx, operator.id, lock=True)
    if factor is None:
        raise Conflict("cannot confirm a second factor: none was begun; begin again")
    _refuse_second(factor)
    if not _take_time_code(tx, node, factor, typed(code), engine.now(tx)):
        return None
    store.confirm(tx, operator.id, engine.now(tx))
    return _new_recovery_codes(tx, operator.id)


def renew_recovery_codes(node: Node, identity: Identity, password: str, code: str) -> tuple[str, ...]:
    """New recovery codes; the old ones are worth nothing any more. Raises as `remove`."""
    operator = _with_password(node, identity, password)

    def act(tx: Connection) -> tuple[str, ...] | None:
        if take(tx, node, _locked(tx, operator), code) is None:
            return None
        codes = _new_recovery_codes(tx, operator.id)
        _record(tx, identity, "operator.renew-recovery-codes", operator, {})
        return codes

    return _guarded(node, operator, act)


def remove(node: Node, identity: Identity, password: str, code: str) -> None:
    """Remove one's own second factor, and end the other sessions.

    Where the settings ask for one, the next sign-in asks to set up another.

    Raises:
        Conflict: there is none.
        Invalid: password or code is wrong.
        Forbidden: as `begin`.
        TooMany: too many of either were.
    """
    operator = _with_password(node, identity, password)

    def act(tx: Connection) -> bool | None:
        if take(tx, node, _locked(tx, operator), code) is None:
            return None
        store.delete(tx, operator.id)
        ended = _end_other_sessions(tx, operator.id, identity.session)
        _record(tx, identity, "operator.remove-totp", operator, {"sessions_ended": ended})
        return True

    _guarded(node, operator, act)


# -- by an admin ------------------------------------------------------------------------------------------------------


def remove_of(scope: Scope, node: Node, name: str) -> None:
    """Remove the second factor of an operator who lost it, and end all their sessions.

    Raises:
        Conflict: they have none.
        Forbidden: it is one's own: that takes password and code; or they hold what the scope does not.
        NotFound: no such operator.
    """
    scope.require_everywhere("users.manage")
    if scope.actor.kind == "user" and scope.actor.name == name:
        raise Forbidden("cannot remove one's own second factor here: do it on the account page, with password and code")
    with node.db.write() as tx:
        operator = people.operator_by_name(tx, name[:64], lock=True)
        if operator is None:
            raise NotFound(f"cannot find the operator {name[:64]}")
        scope.require_held(operator.grants, f"remove the second factor of {name}")
        if not store.delete(tx, operator.id):
            raise Conflict(f"cannot remove the second factor of {name}: there is none")
        ended = sessions.delete_sessions_of(tx, operator.id)
        store.delete_begun(tx, operator.id)
        data: dict[str, object] = {"sessions_ended": ended}
        audit.record_node(tx, scope.actor, action="operator.remove-totp", subject=f"user:{name}", data=data)
    node.hub.nudge("people", EVERY_FLEET)


# -- at sign-in -------------------------------------------------------------------------------------------------------


def take(tx: Connection, node: Node, operator: Operator, code: str) -> Used | None:
    """Take a code of a confirmed factor, in a transaction that has locked the operator; None when it is wrong.

    Raises:
        Conflict: there is no confirmed factor.
    """
    factor = store.find(tx, operator.id, lock=True)
    if factor is None or factor.confirmed_at is None:
        raise Conflict("cannot take a code: there is no second factor")
    plain, now = typed(code), engine.now(tx)
    if is_time_code(plain):
        return "totp" if _take_time_code(tx, node, factor, plain, now) else None
    used = store.use_recovery_code(tx, operator.id, secrets.digest(plain), now)
    return "recovery-code" if used else None


def _take_time_code(tx: Connection, node: Node, factor: SecondFactor, code: str, now: datetime) -> bool:
    step = matching_step(_secret(node, factor), code, now, factor.last_step) if is_time_code(code) else None
    if step is None:
        return False
    store.took(tx, factor.operator_id, step)
    return True


# -- what they share --------------------------------------------------------------------------------------------------


def _guarded(node: Node, operator: Operator, act: Callable[[Connection], T | None]) -> T:
    """Carry out `act` in a transaction; None means a wrong code, which slows the next one down."""
    # Apart from what is tried at sign-in: who floods there does not slow down who is signed in.
    with attempts.attempt(node, (SECOND_FACTOR, f"signed in\n{operator.name}")) as attempt:
        with node.db.write() as tx:
            done = act(tx)
        if done is None:
            attempt.failed()
            rule = "is wrong, was used before, or is too old; wait for the next one"
            raise Invalid("cannot accept this code: it " + rule, (FieldError("/code", rule),))
        attempt.succeeded()
    node.hub.nudge("people", EVERY_FLEET)
    return done


def _with_password(node: Node, identity: Identity, password: str) -> Operator:
    with node.db.read() as tx:
        operator = _local(tx, identity)
    with attempts.attempt(node, (OWN_PASSWORD, operator.name)) as attempt:
        if len(password) > PASSWORD_MAX or not secrets.password_matches(password, operator.password_hash):
            attempt.failed()
            raise Invalid("cannot do this: the password is wrong", (FieldError("/password", "is wrong"),))
        attempt.succeeded()
    return operator


def _local(tx: Connection, identity: Identity) -> Operator:
    if identity.operator_id is None:
        raise Forbidden("cannot set up a second factor for an API key; sign in as an operator")
    operator = _operator(tx, identity.operator_id)
    if operator.sign_on is not None:
        raise Forbidden("cannot set up a second factor here: you sign on elsewhere, and the provider asks for yours")
    return operator


def _operator(tx: Connection, operator_id: OperatorId) -> Operator:
    operator = people.operator_by_id(tx, operator_id)
    if operator is None:
        raise NotFound("cannot find the operator who asks")
    return operator


def _locked(tx: Connection, checked: Operator) -> Operator:
    operator = people.operator_by_name(tx, checked.name, lock=True)
    if operator is None or operator.disabled_at is not None or operator.password_hash != checked.password_hash:
        raise Conflict("cannot do this: somebody changed this operator at this moment")
    return operator


def _refuse_second(factor: SecondFactor | None) -> None:
    if factor is not None and factor.confirmed_at is not None:
        raise Conflict("cannot set up a second factor: there is one; remove it first", type="second-factor-exists")


def _secret(node: Node, factor: SecondFactor) -> str:
    return sealing.sealer(node.settings).open(factor.sealed_secret, factor.identity).decode()


def _enrolment(node: Node, operator: Operator, secret: str) -> Enrolment:
    host = urlsplit(node.settings.effective_console_url).hostname or "node"
    return Enrolment(secret, enrolment_uri(secret, operator.name, host))


def _new_recovery_codes(tx: Connection, operator_id: OperatorId) -> tuple[str, ...]:
    codes = tuple(secrets.new_recovery_code() for _ in range(RECOVERY_CODES))
    store.replace_recovery_codes(tx, operator_id, [secrets.digest(typed(code)) for code in codes])
    return codes


def _end_other_sessions(tx: Connection, operator_id: OperatorId, keep_session: str | None) -> int:
    kept = [one for one in sessions.sessions_of(tx, operator_id) if one.id == keep_session]
    return sessions.delete_sessions_of(tx, operator_id, but=kept[0].secret_sha256 if kept else "")


def _record(tx: Connection, identity: Identity, action: str, operator: Operator, data: dict[str, object]) -> None:
    audit.record_node(tx, identity.actor, action=action, subject=f"user:{operator.name}", data=data)
