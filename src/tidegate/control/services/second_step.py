"""Signing in with a second factor: what is asked after the right password, in one call or on a page of its own.

The console keeps a begun sign-in as a row for five minutes; its secret is a cookie of the browser that gave the
password. It ends with the session that it becomes, with a newer one of the operator (see `keep`), or with a changed
password.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from tidegate.control.domain.access import EVERY_FLEET
from tidegate.control.domain.attempts import SECOND_FACTOR
from tidegate.control.domain.people import Operator
from tidegate.control.domain.second_factor import SIGN_IN_LIFE, BegunSignIn, required
from tidegate.control.services import attempts, audit, second_factor, secrets, sign_in
from tidegate.control.services.node import Node
from tidegate.control.services.second_factor import Enrolment
from tidegate.control.services.sign_in import Refusal, SignedIn, Visitor
from tidegate.control.store import engine, people
from tidegate.control.store import second_factors as store
from tidegate.errors import FieldError, Invalid, Unauthenticated


@dataclass(frozen=True, slots=True)
class Begun:
    """`secret` finds the begun sign-in again; `enrol`: a second factor has to be set up first."""

    secret: str
    enrol: bool


class SecondFactorAsked(Unauthenticated):
    """The password is right, and not enough."""

    def __init__(self, operator: Operator, *, enrol: bool) -> None:
        if enrol:
            detail = "cannot sign in without a second factor: set one up by signing in to the console once"
        else:
            detail = "cannot sign in without a code: send the one that the authenticator shows, or a recovery code"
        super().__init__(detail, type="second-factor-missing" if enrol else "second-factor-required")
        self.operator = operator
        self.enrol = enrol


def check(node: Node, code: str) -> Callable[[Connection, Operator], dict[str, object]]:
    """For `sign_in.begin`: takes `code` where the operator has a second factor or has to have one.

    What it gives raises SecondFactorAsked, and `Refusal` for a wrong code.
    """

    def last_check(tx: Connection, operator: Operator) -> dict[str, object]:
        factor = store.find(tx, operator.id)
        if factor is None or factor.confirmed_at is None:
            if required(node.settings.totp_required, operator.grants):
                raise SecondFactorAsked(operator, enrol=True)
            return {}
        if not code:
            raise SecondFactorAsked(operator, enrol=False)
        used = second_factor.take(tx, node, operator, code)
        if used is None:
            raise Refusal("wrong code")
        left = store.recovery_codes_left(tx, operator.id)
        return {"second_factor": used, **({"recovery_codes_left": left} if used == "recovery-code" else {})}

    return last_check


def keep(node: Node, operator: Operator, visitor: Visitor, *, enrol: bool) -> Begun:
    """Remember that the operator's password was right.

    A newer one ends the older, but one of an unknown browser none that a known browser has begun: who knows the
    password and begins without end does not keep out whose it is.

    Raises:
        Conflict: a second factor was set up, or the operator changed, at this moment.
    """
    secret, known = secrets.new_secret(), sign_in.source(node, operator.name, visitor).known
    with node.db.write() as tx:
        now = engine.now(tx)
        begun = BegunSignIn(operator.id, secrets.digest(operator.password_hash), now + SIGN_IN_LIFE, known)
        store.insert_begun(tx, secrets.digest(secret), begun)
        if enrol:
            # A secret of their own each time: one that somebody else has seen, who knew the password, must not be the
            # one that gets confirmed. And never in place of one that was confirmed at this moment.
            second_factor.renew_pending(tx, node, operator)
    return Begun(secret, enrol)


def begun(node: Node, secret: str) -> Enrolment | None:
    """What has to be set up first, None when a code is enough. Raises `Unauthenticated` as `finish`."""
    operator = _operator(node, secret)
    with node.db.read() as tx:
        factor = store.find(tx, operator.id)
        if factor is not None and factor.confirmed_at is not None:
            return None
        found = second_factor.pending(tx, node, operator)
    if found is None:  # removed by an admin at this moment
        raise _expired()
    return found


def finish(node: Node, secret: str, code: str, visitor: Visitor) -> SignedIn:
    """Turn a begun sign-in into a session.

    Raises:
        Unauthenticated: it was never begun in this browser, took too long, or the password changed.
        Invalid: the code is wrong.
        TooMany: too many were.
    """
    operator = _operator(node, secret)
    return guarded(node, operator, visitor, lambda: sign_in.begin(node, operator, visitor, check(node, code)))


def enrol(node: Node, secret: str, code: str, visitor: Visitor) -> tuple[SignedIn, tuple[str, ...]]:
    """As `finish`, for who had to set up a second factor first; with the recovery codes, shown this once."""
    operator = _operator(node, secret)
    shown: list[str] = []

    def confirm(tx: Connection, locked: Operator) -> dict[str, object]:
        codes = second_factor.confirm_in(tx, node, locked, code)
        if codes is None:
            raise Refusal("wrong code")
        shown.extend(codes)
        actor = locked.identity().actor
        audit.record_node(tx, actor, action="operator.add-totp", subject=str(actor), data={})
        return {"second_factor": "totp"}

    signed_in = guarded(node, operator, visitor, lambda: sign_in.begin(node, operator, visitor, confirm))
    node.hub.nudge("people", EVERY_FLEET)
    return signed_in, tuple(shown)


def guarded(node: Node, operator: Operator, visitor: Visitor, act: Callable[[], SignedIn]) -> SignedIn:
    """Slow down wrong codes under this operator's name, those of a browser they are known by apart, and record them.

    Raises:
        Invalid: the code is wrong.
        Unauthenticated: refused for another reason, which is not told.
        TooMany: too many were wrong.
    """
    tried = sign_in.source(node, operator.name, visitor)
    key = tried.key if tried.known else operator.name
    with attempts.attempt(node, (SECOND_FACTOR, key)) as attempt:
        try:
            signed_in = act()
        except Refusal as refusal:
            attempt.failed()
            sign_in.refused(node, operator, refusal.reason, tried.address)
            if refusal.reason != "wrong code":
                raise sign_in.unauthenticated() from refusal
            rule = "is wrong, was used before, or is too old; wait for the next one"
            raise Invalid(f"cannot sign in with this code: it {rule}", (FieldError("/code", rule),)) from refusal
        attempt.succeeded()
    return signed_in


def _operator(node: Node, secret: str) -> Operator:
    """Whose begun sign-in this is. Raises `Unauthenticated`."""
    with node.db.read() as tx:
        found = store.begun(tx, secrets.digest(secret[:128]))
        operator = people.operator_by_id(tx, found[0].operator_id) if found is not None else None
        if found is None or operator is None or engine.now(tx) >= found[0].expires_at:
            raise _expired()
    if secrets.digest(operator.password_hash) != found[0].password_sha256:
        raise _expired()
    return operator


def _expired() -> Unauthenticated:
    return Unauthenticated("cannot go on signing in: it took too long, or was ended; begin again", type="sign-in-ended")
