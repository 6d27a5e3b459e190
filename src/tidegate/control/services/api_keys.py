"""API keys: machines that act with one role in one fleet, or in every one (SPEC section 12).

A key counts as its maker: it never does more than they may at that moment, and does nothing while they are disabled.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection

from tidegate.control.domain.access import EVERY_FLEET, Scope
from tidegate.control.domain.paging import decode_cursor, encode_cursor
from tidegate.control.domain.people import ApiKey
from tidegate.control.services import audit, secrets
from tidegate.control.services.node import Node
from tidegate.control.services.people import granted
from tidegate.control.store import api_keys as store
from tidegate.control.store import engine, fleets, paging
from tidegate.errors import Conflict, NotFound
from tidegate.ids import DEVICE_NAME, ApiKeyId, checked


@dataclass(frozen=True, slots=True)
class ApiKeys:
    items: tuple[ApiKey, ...]
    total: int
    next_cursor: str | None


def create_api_key(
    scope: Scope, node: Node, *, name: str, role: str, every_fleet: bool, expires_days: int | None
) -> tuple[ApiKey, str]:
    """Create a key; its secret comes with it, this once.

    Raises:
        Conflict: a key that is not revoked has the name there: the audit log tells keys apart by it. What keys of
            other fleets are called is nobody's to learn.
        Invalid: name, role or days.
        Forbidden: the role holds more than the scope does.
    """
    scope.require("keys.manage")
    if every_fleet:
        scope.require_everywhere("keys.manage")
    checked(DEVICE_NAME, name, "/name")
    secret = secrets.new_secret(secrets.API_KEY_PREFIX)
    with node.db.write() as tx:
        grant = granted(tx, role, EVERY_FLEET if every_fleet else scope.fleet_id, "/role")
        scope.require_held([grant], f"create the API key {name}")
        fleets.lock_every(tx)  # two at once, one for all fleets, would each find the name free
        if store.name_taken(tx, name, grant.fleet_id):
            raise Conflict(f"cannot create the API key {name}: a key that is not revoked has this name")
        now = engine.now(tx)
        expires_at = None if expires_days is None else now + timedelta(days=expires_days)
        # Four-eyes counts a key as its maker, so the person is what is kept.
        key_id = store.insert_api_key(
            tx, name=name, secret_sha256=secrets.digest(secret), grant=grant, at=now, by=scope.person,
            expires_at=expires_at,
        )  # fmt: skip
        key = store.api_key_by_id(tx, key_id)
        assert key is not None
        expires = expires_at.isoformat() if expires_at else None
        _record(tx, scope, "api-key.create", key, {"role": role, "expires_at": expires})
    return key, secret


def list_api_keys(scope: Scope, node: Node, *, limit: int = 50, offset: int = 0, cursor: str = "") -> ApiKeys:
    """The keys that reach the scope's fleet, the oldest first, revoked and expired ones too."""
    scope.require("keys.manage")
    position = decode_cursor(cursor, int)
    after = int(position[0]) if position else 0
    with node.db.read() as tx:
        found = store.list_api_keys(tx, scope.fleet_id, after=after, offset=offset, limit=limit + 1)
        total = paging.total(tx, store.keys_of_fleet(scope.fleet_id))
    return ApiKeys(tuple(found[:limit]), total, encode_cursor(found[limit - 1].id) if len(found) > limit else None)


def count_made_by(scope: Scope, node: Node, operator: str) -> int:
    """How many keys an operator has made that are neither revoked nor expired: what stops when they are disabled."""
    scope.require_everywhere("users.manage")
    with node.db.read() as tx:
        return store.count_of_maker(tx, operator, engine.now(tx))


def revoke_api_key(scope: Scope, node: Node, key_id: ApiKeyId) -> None:
    """End a key at once; again on a revoked one changes nothing.

    Raises:
        NotFound: no such key, or one of another fleet.
    """
    scope.require("keys.manage")
    with node.db.write() as tx:
        key = store.api_key_by_id(tx, key_id)
        if key is None or key.grant.fleet_id not in (scope.fleet_id, EVERY_FLEET):
            raise NotFound(f"cannot find the API key {key_id}")
        if key.grant.fleet_id == EVERY_FLEET:
            scope.require_everywhere("keys.manage")
        if key.revoked_at is not None:
            return
        store.revoke_api_key(tx, key_id, engine.now(tx))
        _record(tx, scope, "api-key.revoke", key, {})


def _record(tx: Connection, scope: Scope, action: str, key: ApiKey, data: dict[str, object]) -> None:
    subject = f"apikey:{key.name}"
    if key.grant.fleet_id == EVERY_FLEET:
        audit.record_node(tx, scope.actor, action=action, subject=subject, data=data)
    else:
        audit.record(tx, scope, action=action, subject=subject, data=data)
