"""Signing on through an OpenID provider: to it with a state bound to the browser, back with a session.

An operator of the provider is who issuer and subject say, never who bears the same name or address. Roles come from
the mapping of the settings alone and are computed anew each time.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from tidegate.control.domain.access import EVERY_FLEET, ROLES, Actor, Grant
from tidegate.control.domain.attempts import SIGN_IN_BY_ADDRESS
from tidegate.control.domain.people import Operator
from tidegate.control.domain.sign_on import SIGN_ON_LIFE, Mapped, mapped, operator_names, subject
from tidegate.control.openid import Provider
from tidegate.control.services import attempts, audit, sealing, secrets, sign_in
from tidegate.control.services.limits import address_key
from tidegate.control.services.node import Node
from tidegate.control.services.sign_in import Refusal, SignedIn, Visitor
from tidegate.control.settings_oidc import Oidc
from tidegate.control.store import engine, fleets, people, roles, sessions
from tidegate.errors import Conflict, Forbidden, NotFound, TidegateError, Unauthenticated, Unavailable, Untrusted
from tidegate.ids import FleetId

log = structlog.get_logger()

CALLBACK = "/signin/sign-on/callback"
_SEALED_AS = "sign-on:state"
_ACTOR = Actor("system", "sign-on")


class _State(msgspec.Struct, frozen=True):
    """What the browser carries, sealed, until it comes back."""

    state: str
    nonce: str
    verifier: str
    back: str
    until: float


@dataclass(frozen=True, slots=True)
class Departure:
    """Where to send the browser, and the cookie that it must come back with."""

    url: str
    cookie: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider sent the browser back with."""

    code: str = ""
    state: str = ""
    issuer: str = ""
    error: str = ""


def begin(node: Node, back: str, address: str) -> Departure:
    """Send somebody to the provider; `back` is the page of ours that they want to see.

    Raises:
        NotFound: the settings name no provider.
        TooMany: too many were sent from this address.
        Unavailable, Untrusted: the provider does not answer, or not as itself.
    """
    provider = _provider(node)
    from_key, now = address_key(address), node.clock.monotonic()
    node.limits.sign_on_by_address.check(from_key, now)
    node.limits.sign_on_by_address.failed(from_key, now)
    until = (node.clock.now() + SIGN_ON_LIFE).timestamp()
    kept = _State(secrets.new_secret(), secrets.new_secret(), secrets.new_secret(), back, until)
    url = provider.authorization_url(
        redirect_uri=_redirect_uri(node), state=kept.state, nonce=kept.nonce, verifier=kept.verifier
    )
    sealed = sealing.sealer(node.settings).seal(msgspec.json.encode(kept), _SEALED_AS)
    return Departure(url, base64.urlsafe_b64encode(sealed).decode())


def finish(node: Node, cookie: str, answer: Answer, visitor: Visitor) -> tuple[SignedIn, str]:
    """A session for whom the provider vouches, and the page to show.

    Raises:
        Unauthenticated: this browser did not begin it, took too long, or the provider refused.
        Untrusted: the provider's answer does not verify.
        Forbidden: no line of the mapping fits.
        Unavailable: the provider does not answer.
        TooMany: too many failures from this address.
    """
    provider = _provider(node)
    from_key = address_key(visitor.address)
    with attempts.attempt(node, (SIGN_IN_BY_ADDRESS, from_key)) as attempt:
        try:
            return _finish(node, provider, cookie, answer, visitor)
        except Unavailable:
            raise
        except (Refusal, TidegateError) as error:
            attempt.failed()
            why = error.reason if isinstance(error, Refusal) else error.detail
            sign_in.refused(node, None, f"sign-on: {why}", from_key)
            if isinstance(error, Refusal):
                raise Unauthenticated("cannot sign on: this operator is disabled; an admin can enable it") from error
            raise


def _finish(
    node: Node, provider: Provider, cookie: str, answer: Answer, visitor: Visitor
) -> tuple[SignedIn, str]:  # fmt: skip
    kept = _opened(node, cookie)
    if not hmac.compare_digest(kept.state.encode(), answer.state.encode("utf-8", "replace")):
        raise _not_ours()
    issuer = provider.oidc.issuer
    if answer.issuer != issuer and (
        answer.issuer or provider.metadata().authorization_response_iss_parameter_supported
    ):
        raise Untrusted("cannot sign on: the answer is of another issuer", type="sign-on-refused")
    if answer.error or not answer.code:
        raise Unauthenticated("cannot sign on: the provider did not let you in", type="sign-on-refused")
    told = provider.redeem(answer.code, verifier=kept.verifier, redirect_uri=_redirect_uri(node))
    who = subject(
        told.claims, issuer=issuer, client_id=provider.oidc.client_id, nonce=kept.nonce, now=node.clock.now()
    )  # fmt: skip
    claims = told.claims
    if provider.oidc.claim not in claims or provider.oidc.name_claim not in claims:
        claims = provider.userinfo(told.access_token, who) | claims
    operator = _known(node, provider.oidc, who, claims)
    signed_in = sign_in.begin(node, operator, visitor, lambda _tx, _operator: {"sign_on": issuer})
    return signed_in, kept.back


def _known(node: Node, oidc: Oidc, who: str, claims: dict[str, object]) -> Operator:
    """The operator bound to this subject, made on the first sign-on, with the roles that the claims give now."""
    lines = [(line.value, Mapped(line.role, line.fleet)) for line in oidc.roles]
    given = mapped(claims.get(oidc.claim), lines)
    if not given and oidc.unmapped == "viewer":
        given = (Mapped("viewer", "*"),)
    try:
        operator = _in_one_transaction(node, oidc, who, claims, given)
    except IntegrityError:  # two first sign-ons at once; the other one made the operator
        operator = _in_one_transaction(node, oidc, who, claims, given)
    node.hub.nudge("people", EVERY_FLEET)
    if operator is None:
        raise Forbidden(
            f"cannot sign on: nothing in your {oidc.claim} gives a role on this node; an admin can map it",
            type="sign-on-unmapped",
        )
    return operator


def _in_one_transaction(
    node: Node, oidc: Oidc, who: str, claims: dict[str, object], given: tuple[Mapped, ...]
) -> Operator | None:
    with node.db.write() as tx:
        grants = _grants(tx, given)
        operator = people.operator_by_sign_on(tx, oidc.issuer, who, lock=True)
        if operator is None:
            if not grants:
                return None
            name = _free_name(tx, operator_names(claims.get(oidc.name_claim), oidc.issuer, who))
            operator_id = people.insert_operator(tx, name, "", engine.now(tx), sign_on=(oidc.issuer, who))
            people.replace_grants(tx, operator_id, grants)
            people.set_grants_until(tx, operator_id, _until(oidc, engine.now(tx)))
            data: dict[str, object] = {"issuer": oidc.issuer, "subject": who, "roles": _told(given)}
            audit.record_node(tx, _ACTOR, action="operator.create", subject=f"user:{name}", data=data)
            return people.operator_by_id(tx, operator_id)
        people.set_grants_until(tx, operator.id, _until(oidc, engine.now(tx)))
        if set(grants) != set(operator.grants):
            people.replace_grants(tx, operator.id, grants)
            # What was taken ends at once, in every browser.
            ended = sessions.delete_sessions_of(tx, operator.id) if set(operator.grants) - set(grants) else 0
            data = {"roles": _told(given), "sessions_ended": ended}
            audit.record_node(tx, _ACTOR, action="operator.set-roles", subject=f"user:{operator.name}", data=data)
        return people.operator_by_id(tx, operator.id) if grants else None


def _until(oidc: Oidc, now: datetime) -> datetime | None:
    """When roles given now stop to count unless they sign on again."""
    return None if oidc.grants_days == "never" else now + timedelta(days=oidc.grants_days)


def _grants(tx: Connection, given: tuple[Mapped, ...]) -> tuple[Grant, ...]:
    """As grants; a line that names a role or fleet that is not there gives nothing, and is told in the log."""
    found: dict[Grant, None] = {}
    for one in given:
        fleet = None if one.fleet == "*" else fleets.by_name(tx, one.fleet)
        if one.fleet != "*" and fleet is None:
            log.warning("the setting oidc.roles names a fleet that is not there", fleet=one.fleet)
        elif one.role not in ROLES and roles.by_name(tx, one.role, lock=True) is None:  # it must not go meanwhile
            log.warning("the setting oidc.roles names a role that is not there", role=one.role)
        else:
            found[Grant(one.role, EVERY_FLEET if fleet is None else FleetId(fleet.id))] = None
    return tuple(found)


def _free_name(tx: Connection, names: tuple[str, str]) -> str:
    for name in names:
        if people.operator_by_name(tx, name) is None:
            return name
    raise Conflict(f"cannot sign on: the names {names[0]} and {names[1]} are taken")


def _told(given: tuple[Mapped, ...]) -> list[dict[str, str]]:
    return [{"role": one.role, "fleet": one.fleet} for one in given]


def _opened(node: Node, cookie: str) -> _State:
    if not cookie or len(cookie) > 4_096:
        raise _not_ours()
    sealer = sealing.sealer(node.settings)
    try:
        kept = msgspec.json.decode(sealer.open(base64.urlsafe_b64decode(cookie), _SEALED_AS), type=_State)
    except (Unavailable, msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise _not_ours() from error
    if node.clock.now().timestamp() >= kept.until:
        raise _not_ours()
    return kept


def _not_ours() -> Unauthenticated:
    return Unauthenticated(
        "cannot sign on: it was not begun in this browser, or took too long; begin again", type="sign-on-ended"
    )


def _redirect_uri(node: Node) -> str:
    return node.settings.effective_console_url.rstrip("/") + CALLBACK


def _provider(node: Node) -> Provider:
    if node.provider is None:
        raise NotFound("cannot sign on: this node has no provider; the table [oidc] of the settings names one")
    return node.provider
