"""Signing in and out, and who a request comes from (SPEC section 12)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy.exc
import structlog
from sqlalchemy import Connection

from tidegate.control.domain.access import EVERY_FLEET, Identity, Scope
from tidegate.control.domain.fleets import DEFAULT_FLEET, Fleet
from tidegate.control.domain.people import PASSWORD_MAX, TOUCH_AFTER, Operator, SessionRecord
from tidegate.control.services import attempts, audit, second_step, secrets
from tidegate.control.services import sign_in as entrance
from tidegate.control.services.node import Node
from tidegate.control.services.sign_in import Refusal, SignedIn, Visitor
from tidegate.control.settings_oidc import Oidc
from tidegate.control.store import api_keys, engine, fleets, people
from tidegate.control.store import sessions as store
from tidegate.errors import FieldError, Invalid, NotFound, Unauthenticated
from tidegate.ids import ApiKeyId

log = structlog.get_logger()

#: Why a key that is neither revoked nor expired does nothing.
_STOPPED = {
    "suspended": "the operator who made it is disabled; make a new key, or have them enabled",
    "lapsed": "the operator who made it has not signed on for too long; it goes on when they do, or make a new key",
}


@dataclass(frozen=True, slots=True)
class Session:
    """A living session and whose it is."""

    record: SessionRecord
    operator: Operator

    @property
    def identity(self) -> Identity:
        return self.operator.identity(self.record.id)

    def csrf_matches(self, csrf_secret: str) -> bool:
        """Whether a form of this session was sent, not one that another site made."""
        return secrets.matches(csrf_secret, self.record.csrf_sha256)


def sign_in(
    node: Node, name: str, password: str, *, code: str = "", user_agent: str, address: str, browser: str = ""
) -> SignedIn:
    """Begin a session. `browser` is the `browser_secret` of an earlier one, if this browser has had one.

    An unknown name, a wrong password and a disabled operator answer alike and take the same time. Nobody is locked:
    failures slow down the source that makes them, and a name as seen from sources that its operator is not known by.

    Args:
        code: of the second factor, where the operator has one.

    Raises:
        Unauthenticated: any of those.
        SecondFactorAsked: the password is right, and a code is asked for or a second factor has to be set up.
        Invalid: the password is right and the code is wrong.
        TooMany: too many failures of this source, or under this name from sources unknown to it.
        Unavailable: too many sign in at once.
    """
    visitor = Visitor(user_agent, address, browser)
    tried = entrance.source(node, name[:65], visitor)
    # What is raised inside counts for nothing: with a right password and a wrong code, the code has its own limit.
    with attempts.attempt(node, *tried.counted) as attempt:
        operator, reason = _by_password(node, name, password)
        if operator is not None and not reason:
            try:
                signed_in = _begin(node, operator, visitor, code)
            except Refusal as refusal:
                reason = refusal.reason
            else:
                attempt.succeeded()
                return signed_in
        attempt.failed()
    entrance.refused(node, operator, reason, tried.address)
    raise entrance.unauthenticated()


def _by_password(node: Node, name: str, password: str) -> tuple[Operator | None, str]:
    """Who bears the name, and why they may not sign in with this password."""
    operator = None
    if len(name) <= 64 and len(password) <= PASSWORD_MAX:
        with node.db.read() as tx:
            operator = people.operator_by_name(tx, name)
    # Hashing is slow: outside of any transaction.
    right = secrets.password_matches(password[:PASSWORD_MAX], operator.password_hash if operator else None)
    if operator is None:
        return None, "unknown name"
    if not right:
        return operator, "wrong password"
    return operator, "" if may_use_password(node.settings.oidc, operator) else "password sign-in is off"


def _begin(node: Node, operator: Operator, visitor: Visitor, code: str) -> SignedIn:
    def begin() -> SignedIn:
        return entrance.begin(node, operator, visitor, second_step.check(node, code))

    return second_step.guarded(node, operator, visitor, begin) if code else begin()


def may_use_password(oidc: Oidc | None, operator: Operator) -> bool:
    """Whether the settings let this operator in with a password while there is sign-on."""
    if oidc is None or oidc.local_sign_in == "everybody":
        return True
    return any(grant.role == "admin" and grant.fleet_id == EVERY_FLEET for grant in operator.grants)


def sign_out(node: Node, session_secret: str) -> None:
    """End the session with this secret; one that has ended already is no error."""
    with node.db.write() as tx:
        session = store.session_by_secret(tx, secrets.digest(session_secret))
        operator = people.operator_by_id(tx, session.operator_id) if session else None
        if session is None or operator is None:
            return
        store.delete_session(tx, session.secret_sha256)
        audit.record_node(tx, operator.identity().actor, action="session.end", subject=f"session:{session.id}")
    node.hub.nudge("people", EVERY_FLEET)


def session(node: Node, session_secret: str) -> Session | None:
    """The living session with this secret, of an operator who is neither disabled nor has to sign on again."""
    if not session_secret.startswith(secrets.SESSION_PREFIX) or len(session_secret) > 128:
        return None
    hashed = secrets.digest(session_secret)
    with node.db.read() as tx:
        now = engine.now(tx)
        record = store.session_by_secret(tx, hashed)
        operator = people.operator_by_id(tx, record.operator_id) if record and record.living(now) else None
    if record is None or operator is None or operator.disabled_at is not None or operator.lapsed(now):
        return None
    if now - record.last_used_at >= TOUCH_AFTER:
        _touch(node, lambda tx: store.touch_session(tx, hashed, now))
    return Session(record, operator)


def _touch(node: Node, write: Callable[[Connection], None]) -> None:
    """Note the use of a credential. Where nothing can be written, looking must go on: people look then most of all."""
    try:
        with node.db.write() as tx:
            write(tx)
    except sqlalchemy.exc.OperationalError as error:
        log.warning("cannot note the use of a credential", error=str(error.orig))


def authenticate(node: Node, authorization: str) -> Identity:
    """Whose credential an Authorization header carries: an API key, or a session begun by the command line.

    Raises:
        Unauthenticated: none, an unknown, revoked or expired one; or a key whose maker is disabled, or has to sign on
            again, which is said.
    """
    kind, _, secret = authorization.partition(" ")
    if kind.lower() == "bearer" and len(secret) <= 128 and secret.isascii():
        if secret.startswith(secrets.SESSION_PREFIX):
            found = session(node, secret)
            if found is not None:
                return found.identity
        elif secret.startswith(secrets.API_KEY_PREFIX):
            identity = _api_key(node, secret)
            if identity is not None:
                return identity
    raise Unauthenticated(
        "cannot tell who asks: the session or API key is missing, unknown or has ended; sign in again (tidegate login),"
        " or send a valid one as Authorization: Bearer"
    )


def _api_key(node: Node, secret: str) -> Identity | None:
    with node.db.read() as tx:
        now = engine.now(tx)
        key = api_keys.api_key_by_secret(tx, secrets.digest(secret))
    state = "revoked" if key is None else key.state(now)
    if key is None or state in ("revoked", "expired"):
        return None
    if state != "valid":  # who has the secret is told what to do; who made the key is not theirs to learn
        raise Unauthenticated(f"cannot use the API key {key.name}: {_STOPPED[state]}", type=f"api-key-{state}")
    if key.last_used_at is None or now - key.last_used_at >= TOUCH_AFTER:
        _touch(node, lambda tx: api_keys.touch_api_key(tx, ApiKeyId(key.id), now))
    return key.identity()


def scope_in(node: Node, identity: Identity, fleet_name: str | None) -> Scope:
    """The identity's authority in a fleet; None: in `default` or, for who does not see it, in the one that they do see.

    Raises:
        NotFound: there is no such fleet, or it is not one that they see: both answer alike.
        Invalid: none was named, and they see several without `default`.
    """
    if fleet_name is None:
        return _scope_unnamed(node, identity)
    with node.db.read() as tx:
        fleet = fleets.by_name(tx, fleet_name[:64])
    if fleet is None or not identity.sees(fleet.id):
        raise NotFound(f"cannot find the fleet {fleet_name[:64]}")
    return identity.scope(fleet.id, fleet.name)


def _scope_unnamed(node: Node, identity: Identity) -> Scope:
    seen = {fleet.name: fleet for fleet in visible_fleets(node, identity)}
    fleet = seen.get(DEFAULT_FLEET) or (next(iter(seen.values())) if len(seen) == 1 else None)
    if fleet is not None:
        return identity.scope(fleet.id, fleet.name)
    if not seen:
        raise NotFound("cannot find a fleet: none has given a role")
    rule = f"must name one of {', '.join(sorted(seen)[:20])}"
    raise Invalid(f"cannot tell which fleet is meant: fleet {rule}", (FieldError("/fleet", rule),))


def visible_fleets(node: Node, identity: Identity) -> list[Fleet]:
    """The fleets that the identity has a role in, in the order of their ids."""
    with node.db.read() as tx:
        return [fleet for fleet in fleets.every(tx) if identity.sees(fleet.id)]


def list_sessions(node: Node, identity: Identity) -> list[SessionRecord]:
    """One's own living sessions, newest first; an API key has none."""
    if identity.operator_id is None:
        return []
    with node.db.read() as tx:
        now = engine.now(tx)
        return [record for record in store.sessions_of(tx, identity.operator_id) if record.living(now)]


def end_session(node: Node, identity: Identity, session_id: str) -> None:
    """End one of one's own sessions.

    Raises:
        NotFound: there is no such session, or it is somebody else's.
    """
    with node.db.write() as tx:
        own = store.sessions_of(tx, identity.operator_id) if identity.operator_id is not None else []
        found = next((record for record in own if record.id == session_id), None)
        if found is None:
            raise NotFound(f"cannot find the session {session_id[:32]}")
        store.delete_session(tx, found.secret_sha256)
        audit.record_node(tx, identity.actor, action="session.end", subject=f"session:{found.id}")
    node.hub.nudge("people", EVERY_FLEET)


def end_other_sessions(node: Node, identity: Identity) -> int:
    """End all of one's own sessions but the one that asks; gives how many."""
    if identity.operator_id is None:
        return 0
    with node.db.write() as tx:
        own = store.sessions_of(tx, identity.operator_id)
        kept = next((record.secret_sha256 for record in own if record.id == identity.session), "")
        ended = store.delete_sessions_of(tx, identity.operator_id, but=kept)
        if ended:
            audit.record_node(
                tx, identity.actor, action="session.end-others", subject=str(identity.actor), data={"ended": ended}
            )
    node.hub.nudge("people", EVERY_FLEET)
    return ended
