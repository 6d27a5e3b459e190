"""Signing in and out, and who a request comes from (SPEC section 12)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import Connection

from tidegate.control.domain.access import Actor, Identity, Scope
from tidegate.control.domain.fleets import Fleet
from tidegate.control.domain.people import (
    PASSWORD_MAX,
    SESSION_LIFE,
    TOUCH_AFTER,
    Operator,
    SessionRecord,
    failed_sign_in,
)
from tidegate.control.services import audit, secrets
from tidegate.control.services.limits import address_key
from tidegate.control.services.node import Node
from tidegate.control.store import engine, fleets
from tidegate.control.store import people as store
from tidegate.errors import NotFound, Unauthenticated
from tidegate.ids import ApiKeyId

log = structlog.get_logger()

#: The one key of a limit that is not by name or address.
_EVERYBODY = ""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The two secrets are shown this once."""

    session_secret: str
    csrf_secret: str
    expires_at: datetime
    operator: Operator


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


def sign_in(node: Node, name: str, password: str, *, user_agent: str, address: str) -> SignedIn:
    """Begin a session.

    An unknown name, a wrong password, a disabled and a locked operator answer alike and take the same time.

    Raises:
        Unauthenticated: any of those.
        TooMany: too many failures for this name or from this address.
    """
    name_key, from_key = name[:64], address_key(address)
    monotonic = node.clock.monotonic()
    node.limits.sign_in_by_address.check(from_key, monotonic)
    node.limits.sign_in_by_name.check(name_key, monotonic)
    operator = None
    if len(name) <= 64 and len(password) <= PASSWORD_MAX:
        with node.db.read() as tx:
            operator = store.operator_by_name(tx, name)
    # Hashing is slow: outside of any transaction.
    right = secrets.password_matches(password[:PASSWORD_MAX], operator.password_hash if operator else None)
    signed_in = _begin(node, operator, user_agent) if right and operator else None
    if signed_in is None:
        node.limits.sign_in_by_address.failed(from_key, monotonic)
        node.limits.sign_in_by_name.failed(name_key, monotonic)
        _refused(node, operator, right, from_key)
        raise Unauthenticated("cannot sign in: name or password is wrong, or the operator is disabled or locked")
    node.limits.sign_in_by_name.forget(name_key)
    return signed_in


def _begin(node: Node, checked: Operator, user_agent: str) -> SignedIn | None:
    secret, csrf = secrets.new_secret(secrets.SESSION_PREFIX), secrets.new_secret()
    with node.db.write() as tx:
        now = engine.now(tx)
        operator = store.operator_by_name(tx, checked.name, lock=True)
        changed = operator is None or operator.password_hash != checked.password_hash
        if operator is None or changed or operator.disabled_at is not None or operator.locked(now):
            return None
        session = SessionRecord(
            secret_sha256=secrets.digest(secret),
            operator_id=operator.id,
            csrf_sha256=secrets.digest(csrf),
            created_at=now,
            expires_at=now + SESSION_LIFE,
            last_used_at=now,
            user_agent=user_agent[:256],
        )
        store.insert_session(tx, session)
        store.set_failures(tx, operator.id, 0, None)
        actor = operator.identity().actor
        audit.record_node(tx, actor, action="session.begin", subject=f"session:{session.id}")
    return SignedIn(secret, csrf, session.expires_at, operator)


def _refused(node: Node, operator: Operator | None, right: bool, address: str) -> None:
    """Record a failed sign-in and, for a wrong password, count it. A name nobody bears costs the same work.

    What was typed as a name is not recorded when nobody bears it: people type passwords there.
    """
    known = operator is not None
    log.warning("sign-in refused", operator=operator.name if operator else "", known=known, address=address)
    monotonic = node.clock.monotonic()
    recorded = not node.limits.sign_in_refusals.full(_EVERYBODY, monotonic)
    node.limits.sign_in_refusals.failed(_EVERYBODY, monotonic)
    with node.db.write() as tx:
        now = engine.now(tx)
        found = store.operator_by_name(tx, operator.name if operator else "", lock=True)
        locked_until = _count_failure(tx, found, now) if found is not None and not right else None
        actor = Actor("system", "sign-in")  # whoever it was, they did not show that they are the operator
        subject = str(found.identity().actor) if found is not None else "user:?"
        if recorded:
            reason = "unknown name" if found is None else "disabled or locked" if right else "wrong password"
            data = {"address": address, "reason": reason}
            audit.record_node(tx, actor, action="session.refuse", subject=subject, data=data)
        if locked_until is not None:
            until = locked_until.isoformat(timespec="seconds")
            audit.record_node(tx, actor, action="operator.lock", subject=subject, data={"until": until})


def _count_failure(tx: Connection, operator: Operator, now: datetime) -> datetime | None:
    """Until when the operator is locked by this failure, if it is."""
    if operator.locked(now):
        return None
    failures, locked_until = failed_sign_in(operator.failures, now)
    store.set_failures(tx, operator.id, failures, locked_until)
    return locked_until


def sign_out(node: Node, session_secret: str) -> None:
    """End the session with this secret; one that has ended already is no error."""
    with node.db.write() as tx:
        session = store.session_by_secret(tx, secrets.digest(session_secret))
        operator = store.operator_by_id(tx, session.operator_id) if session else None
        if session is None or operator is None:
            return
        store.delete_session(tx, session.secret_sha256)
        audit.record_node(tx, operator.identity().actor, action="session.end", subject=f"session:{session.id}")


def session(node: Node, session_secret: str) -> Session | None:
    """The living session with this secret, of an operator who is not disabled."""
    if not session_secret.startswith(secrets.SESSION_PREFIX) or len(session_secret) > 128:
        return None
    hashed = secrets.digest(session_secret)
    with node.db.read() as tx:
        now = engine.now(tx)
        record = store.session_by_secret(tx, hashed)
        operator = store.operator_by_id(tx, record.operator_id) if record and record.living(now) else None
    if record is None or operator is None or operator.disabled_at is not None:
        return None
    if now - record.last_used_at >= TOUCH_AFTER:
        with node.db.write() as tx:
            store.touch_session(tx, hashed, now)
    return Session(record, operator)


def authenticate(node: Node, authorization: str) -> Identity:
    """Whose credential an Authorization header carries: an API key, or a session begun by the command line.

    Raises:
        Unauthenticated: none, an unknown, revoked or expired one.
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
    raise Unauthenticated("cannot tell who asks: send Authorization: Bearer with an API key or a session that is valid")


def _api_key(node: Node, secret: str) -> Identity | None:
    with node.db.read() as tx:
        now = engine.now(tx)
        key = store.api_key_by_secret(tx, secrets.digest(secret))
    if key is None or not key.living(now):
        return None
    if key.last_used_at is None or now - key.last_used_at >= TOUCH_AFTER:
        with node.db.write() as tx:
            store.touch_api_key(tx, ApiKeyId(key.id), now)
    return key.identity()


def scope_in(node: Node, identity: Identity, fleet_name: str) -> Scope:
    """The identity's authority in a fleet.

    Raises:
        NotFound: there is no such fleet, or it is not one that they see: both answer alike.
    """
    with node.db.read() as tx:
        fleet = fleets.by_name(tx, fleet_name[:64])
    if fleet is None or not identity.sees(fleet.id):
        raise NotFound(f"cannot find the fleet {fleet_name[:64]}")
    return identity.scope(fleet.id, fleet.name)


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
