"""Writing, reading and checking the audit log (SPEC section 11)."""

from __future__ import annotations

from sqlalchemy import Connection

from tidegate.control.domain import audit
from tidegate.control.domain.access import Actor, Scope
from tidegate.control.domain.audit import Data, Record
from tidegate.control.store import audit as store
from tidegate.control.store import engine


def record(tx: Connection, scope: Scope, *, action: str, subject: str, data: Data | None = None) -> Record:
    """Append one act to the chain of the scope's fleet, in the transaction of the act.

    Call it last: it locks the chain's head until the commit, and everybody else's acts in the fleet wait for it. Where
    one transaction writes to both chains, the fleet's comes before the node's, so that two of them cannot deadlock.

    Args:
        action: noun and verb, such as ``rollout.halt``.
        subject: kind and identity of what was acted on, such as ``rollout:12``.
        data: JSON values; no secret, no float, integers below 2^53.
    """
    return _append(tx, int(scope.fleet_id), str(scope.actor), action, subject, data)


def record_node(tx: Connection, actor: Actor, *, action: str, subject: str, data: Data | None = None) -> Record:
    """Append one act that belongs to no fleet to the node's own chain; otherwise as `record`."""
    return _append(tx, audit.NODE_CHAIN, str(actor), action, subject, data)


def _append(tx: Connection, chain: int, actor: str, action: str, subject: str, data: Data | None) -> Record:
    text = audit.canonical_data(data or {})
    head = store.lock_head(tx, chain)
    # After the lock: the times of a chain never run backwards while the database's clock does not.
    at = engine.now(tx)
    record = audit.following(head, chain=chain, at=at, actor=actor, action=action, subject=subject, data=text)
    store.append(tx, record)
    return record
