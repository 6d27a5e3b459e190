"""Enrollment tokens: minted once, shown once, stored hashed (SPEC section 3)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from tidegate.control.domain import enrollment as domain
from tidegate.control.domain.access import Scope
from tidegate.control.domain.devices import checked_tags
from tidegate.control.domain.enrollment import TokenState
from tidegate.control.services import audit
from tidegate.control.services.node import Node
from tidegate.control.store import devices as device_store
from tidegate.control.store import engine
from tidegate.control.store import enrollment as store
from tidegate.control.store import groups as group_store
from tidegate.errors import Conflict, FieldError, Invalid, NotFound
from tidegate.ids import DEVICE_NAME, TokenId, checked

_PREFIX = "tge_"


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """What an operator asks for; None takes the default."""

    device_name: str | None = None
    expires_in_seconds: int | None = None
    uses: int | None = None
    may_replace: bool | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    groups: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token as lists show it; the secret is not there."""

    id: TokenId
    state: TokenState
    device_name: str | None
    may_replace: bool
    uses_allowed: int
    uses_spent: int
    tags: Mapping[str, str]
    groups: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime
    revoked_at: datetime | None
    enrolled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token and its secret, here and never again. `recovers`: a living device bears the name."""

    view: TokenView
    secret: str
    recovers: bool


@dataclass(frozen=True, slots=True)
class TokenPage:
    items: list[TokenView]
    total: int
    next_before: TokenId | None


def secret_sha256(secret: str) -> str:
    """How a token's secret is stored; it has 192 random bits, so that a plain hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def mint(scope: Scope, node: Node, terms: TokenTerms) -> Minted:
    """Make an enrollment token.

    Raises:
        Invalid: a limit is broken, a tag is malformed, or a group is not a static one; the error names the field.
    """
    scope.require("tokens.write")
    if terms.device_name is not None:
        checked(DEVICE_NAME, terms.device_name, "/device_name")
    wanted = domain.new_token(
        expires_in_seconds=terms.expires_in_seconds,
        uses=terms.uses,
        device_name=terms.device_name,
        may_replace=terms.may_replace,
    )
    tags = checked_tags(terms.tags, "/tags")
    names = tuple(dict.fromkeys(terms.groups))
    if len(names) > domain.MAX_GROUPS:
        raise Invalid("cannot mint this token", (FieldError("/groups", f"at most {domain.MAX_GROUPS} groups"),))
    secret = _PREFIX + secrets.token_urlsafe(24)
    with node.db.write() as tx:
        known = group_store.by_names(tx, scope.fleet_id, names)
        unknown = [name for name in names if name not in known]
        if unknown:
            detail = f"cannot mint a token for what are no static groups: {', '.join(unknown)}"
            rule = "is no static group: it does not exist, or its selector says who is in it"
            raise Invalid(detail, tuple(FieldError(f"/groups/{names.index(name)}", rule) for name in unknown))
        recovers = bool(terms.device_name) and bool(
            device_store.ids_by_names(tx, scope.fleet_id, [terms.device_name or ""])
        )
        now = engine.now(tx)
        token_id = store.insert_token(tx, **_values(scope, wanted, tags, names, secret, now))
        row = _require(store.token_by_id(tx, scope.fleet_id, token_id), token_id)
        data = {
            "device": wanted.device_name,
            "uses": wanted.uses,
            "may_replace": wanted.may_replace,
            "expires_at": row.token.expires_at.isoformat(),
            "groups": list(names),
            "tags": tags,
        }
        audit.record(tx, scope, action="token.mint", subject=f"token:{token_id}", data=data)
    return Minted(_view(row, now), secret, recovers)


@dataclass(frozen=True, slots=True)
class Bound:
    """One of many tokens, bound to a device's name; the secret is here and never again."""

    name: str
    secret: str
    expires_at: datetime


def insert_many(tx: Connection, scope: Scope, many: Sequence[TokenTerms], now: datetime) -> tuple[Bound, ...]:
    """Name-bound tokens in one statement, for an act that records them itself; groups and tags are checked before.

    None may replace a device: whoever enrolls under the name meanwhile stays.

    Raises:
        Invalid: the expiry breaks its limit.
    """
    scope.require("tokens.write")
    made, rows = [], []
    for terms in many:
        wanted = domain.new_token(
            expires_in_seconds=terms.expires_in_seconds, uses=1, device_name=terms.device_name, may_replace=False
        )
        secret = _PREFIX + secrets.token_urlsafe(24)
        rows.append(_values(scope, wanted, dict(terms.tags), tuple(terms.groups), secret, now))
        made.append(Bound(terms.device_name or "", secret, now + wanted.expires_in))
    store.insert_tokens(tx, rows)
    return tuple(made)


def _values(
    scope: Scope,
    wanted: domain.NewToken,
    tags: Mapping[str, str],
    groups: Sequence[str],
    secret: str,
    now: datetime,
) -> dict[str, Any]:
    """The columns of a new token."""
    return {
        "fleet_id": scope.fleet_id,
        "secret_sha256": secret_sha256(secret),
        "device_name": wanted.device_name,
        "tags": dict(tags),
        "groups": list(groups),
        "may_replace": wanted.may_replace,
        "uses_allowed": wanted.uses,
        "created_at": now,
        "created_by": str(scope.actor),
        "expires_at": now + wanted.expires_in,
    }


def revoke(scope: Scope, node: Node, token_id: TokenId) -> TokenView:
    """End a token at once; devices that it enrolled stay.

    Raises:
        Conflict: it was revoked before.
    """
    scope.require("tokens.write")
    with node.db.write() as tx:
        now = engine.now(tx)
        row = _require(store.token_by_id(tx, scope.fleet_id, token_id), token_id)
        if row.token.revoked_at is not None:
            raise Conflict(f"cannot revoke enrollment token {token_id}: it was revoked before")
        store.revoke_token(tx, token_id, now)
        after = _require(store.token_by_id(tx, scope.fleet_id, token_id), token_id)
        audit.record(tx, scope, action="token.revoke", subject=f"token:{token_id}")
    return _view(after, now)


def get(scope: Scope, node: Node, token_id: TokenId) -> TokenView:
    """One token and the names of the devices that it gave a certificate. Raises `NotFound`."""
    scope.require("devices.read")
    with node.db.read() as tx:
        row = _require(store.token_by_id(tx, scope.fleet_id, token_id, lock=False), token_id)
        return replace(_view(row, engine.now(tx)), enrolled=store.enrolled_with(tx, token_id))


def listed(
    scope: Scope, node: Node, *, live: bool = False, before: TokenId | None = None, limit: int = 50, offset: int = 0
) -> TokenPage:
    """Tokens, newest first; `live`: only those that can still be used."""
    scope.require("devices.read")
    with node.db.read() as tx:
        now = engine.now(tx)
        at = now if live else None
        rows = store.tokens(tx, scope.fleet_id, limit=limit + 1, offset=offset, before=before, live_at=at)
        total = store.count_tokens(tx, scope.fleet_id, at)
    items = [_view(row, now) for row in rows[:limit]]
    return TokenPage(items, total, items[-1].id if len(rows) > limit else None)


def _require(row: store.TokenRow | None, token_id: TokenId) -> store.TokenRow:
    if row is None:
        raise NotFound(f"cannot find enrollment token {token_id}")
    return row


def _view(row: store.TokenRow, now: datetime) -> TokenView:
    token = row.token
    return TokenView(
        id=token.id,
        state=token.state(now),
        device_name=token.device_name,
        may_replace=token.may_replace,
        uses_allowed=token.uses_allowed,
        uses_spent=token.uses_spent,
        tags=row.tags,
        groups=row.groups,
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
    )
