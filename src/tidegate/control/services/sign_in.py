"""What every way to sign in ends with: a session, or a refusal that is counted, logged and recorded.

The ways: `sessions.sign_in` (a password, with a code where one is asked for), `second_step` (the console's second
page) and `sign_on` (an OpenID provider).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import Connection

from tidegate.control.domain.access import Actor
from tidegate.control.domain.attempts import SIGN_IN_BY_ADDRESS, SIGN_IN_BY_NAME, SIGN_IN_BY_SOURCE, Rule
from tidegate.control.domain.people import MOST_BROWSERS, SESSION_LIFE, Operator, SessionRecord
from tidegate.control.services import audit, secrets
from tidegate.control.services.limits import address_key
from tidegate.control.services.node import Node
from tidegate.control.store import engine, people, second_factors
from tidegate.control.store import sessions as store
from tidegate.errors import Unauthenticated
from tidegate.ids import DEVICE_NAME

log = structlog.get_logger()

#: The one key of a limit that is not by name or address.
_EVERYBODY = ""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The secrets are shown this once; with `browser_secret` the operator is known by this browser from now on."""

    session_secret: str
    csrf_secret: str
    browser_secret: str
    expires_at: datetime
    operator: Operator


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks to be signed in, as far as the connection tells; `browser` is an earlier `browser_secret`, if any."""

    user_agent: str
    address: str
    browser: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Who tries: `key` says who is slowed down by failures; `known`: a browser the operator signed in with before."""

    key: str
    address: str
    name: str
    known: bool

    @property
    def counted(self) -> tuple[tuple[Rule, str], ...]:
        """What a failure counts under; what a known browser fails slows down itself alone."""
        own = (SIGN_IN_BY_SOURCE, self.key)
        return (own,) if self.known else (own, (SIGN_IN_BY_ADDRESS, self.address), (SIGN_IN_BY_NAME, self.name))


class Refusal(Exception):
    """Not signed in, for `reason`, which the audit log gets and the visitor does not."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def source(node: Node, name: str, visitor: Visitor) -> Source:
    """What nobody can be called is all the same name: people type passwords there, and names are stored hashed."""
    name = name if DEVICE_NAME.fullmatch(name) else ""
    hashed = secrets.digest(visitor.browser[:128])
    with node.db.read() as tx:
        known = store.browser_known(tx, hashed, name)
    from_key = address_key(visitor.address)
    return Source(secrets.digest(f"{hashed if known else from_key}\n{name}"), from_key, name, known)


def begin(
    node: Node, checked: Operator, visitor: Visitor, last_check: Callable[[Connection, Operator], dict[str, object]]
) -> SignedIn:
    """Begin a session of an operator whose first factor was checked; `last_check` decides in the same transaction.

    Args:
        last_check: given the operator, locked; what it gives is recorded with the session.

    Raises:
        Refusal: the operator was changed or is disabled; and what `last_check` raises.
    """
    secret, csrf = secrets.new_secret(secrets.SESSION_PREFIX), secrets.new_secret()
    browser = visitor.browser
    with node.db.write() as tx:
        now = engine.now(tx)
        operator = people.operator_by_name(tx, checked.name, lock=True)
        if operator is None or operator.password_hash != checked.password_hash or operator.id != checked.id:
            raise Refusal("changed meanwhile")
        if operator.disabled_at is not None:
            raise Refusal("disabled")
        told = last_check(tx, operator)
        session = SessionRecord(
            secret_sha256=secrets.digest(secret),
            operator_id=operator.id,
            csrf_sha256=secrets.digest(csrf),
            created_at=now,
            expires_at=now + SESSION_LIFE,
            last_used_at=now,
            user_agent=visitor.user_agent[:256],
            address=visitor.address[:64],
        )
        store.insert_session(tx, session)
        second_factors.delete_begun(tx, operator.id)
        # A secret that somebody else chose must not become one that they are known by: only ours goes on.
        hashed = secrets.digest(browser[:128])
        if not store.browser_is_ours(tx, hashed):
            browser = secrets.new_secret()
            hashed = secrets.digest(browser)
        store.know_browser(tx, hashed, operator.id, now, most=MOST_BROWSERS)
        data: dict[str, object] = {"address": session.address, **told}
        actor = operator.identity().actor
        audit.record_node(tx, actor, action="session.begin", subject=f"session:{session.id}", data=data)
    return SignedIn(secret, csrf, browser, session.expires_at, operator)


def refused(node: Node, operator: Operator | None, reason: str, address: str) -> None:
    """Log and record a failed sign-in. A name nobody bears costs the same work.

    What was typed as a name is not recorded when nobody bears it: people type passwords there.
    """
    known = operator is not None
    log.warning("sign-in refused", operator=operator.name if operator else "", known=known, address=address)
    monotonic = node.clock.monotonic()
    if node.limits.sign_in_refusals.full(_EVERYBODY, monotonic):
        return
    node.limits.sign_in_refusals.failed(_EVERYBODY, monotonic)
    with node.db.write() as tx:
        actor = Actor("system", "sign-in")  # whoever it was, they did not show that they are the operator
        subject = str(operator.identity().actor) if operator is not None else "user:?"
        data: dict[str, object] = {"address": address, "reason": reason}
        audit.record_node(tx, actor, action="session.refuse", subject=subject, data=data)


def unauthenticated() -> Unauthenticated:
    """Every reason sounds alike."""
    return Unauthenticated("cannot sign in: name or password is wrong, or the operator is disabled")
