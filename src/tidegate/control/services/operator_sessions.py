"""Everybody's sessions, for whoever administers people in all fleets (SPEC section 12)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tidegate.control.domain.access import EVERY_FLEET, Scope
from tidegate.control.domain.paging import decode_cursor, encode_cursor
from tidegate.control.domain.people import SESSION_IDLE, SessionRecord
from tidegate.control.services import audit
from tidegate.control.services.node import Node
from tidegate.control.store import engine, paging, people
from tidegate.control.store import sessions as store
from tidegate.errors import NotFound

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Microseconds that still are a time: a cursor is anybody's to write.
_LAST = 200_000_000_000_000_000


@dataclass(frozen=True, slots=True)
class OperatorSession:
    record: SessionRecord
    operator: str


@dataclass(frozen=True, slots=True)
class OperatorSessions:
    items: tuple[OperatorSession, ...]
    total: int
    next_cursor: str | None


def list_all(
    scope: Scope, node: Node, *, operator: str = "", limit: int = 50, offset: int = 0, cursor: str = ""
) -> OperatorSessions:
    """Living sessions, the newest first; `operator`: of that one only."""
    scope.require_everywhere("users.manage")
    position = decode_cursor(cursor, int, str)
    before = (
        (_EPOCH + timedelta(microseconds=max(0, min(int(position[0]), _LAST))), str(position[1])) if position else None
    )
    with node.db.read() as tx:
        now = engine.now(tx)
        query = store.living(now, now - SESSION_IDLE, operator[:64])
        found = store.list_living(tx, query, before=before, offset=offset, limit=limit + 1)
        total = paging.total(tx, query)
    items = tuple(OperatorSession(record, name) for record, name in found[:limit])
    return OperatorSessions(items, total, _cursor(items[-1].record) if len(found) > limit else None)


def end(scope: Scope, node: Node, session_id: str) -> None:
    """End anybody's session.

    Raises:
        NotFound: no such session.
        Forbidden: its operator holds more than the scope does.
    """
    scope.require_everywhere("users.manage")
    with node.db.write() as tx:
        record = store.session_by_id(tx, session_id[:64])
        operator = None if record is None else people.operator_by_id(tx, record.operator_id)
        if record is None or operator is None:
            raise NotFound(f"cannot find the session {session_id[:32]}")
        scope.require_held(operator.grants, f"end a session of {operator.name}")
        store.delete_session(tx, record.secret_sha256)
        data: dict[str, object] = {"operator": operator.name}
        audit.record_node(tx, scope.actor, action="session.end", subject=f"session:{record.id}", data=data)
    node.hub.nudge("people", EVERY_FLEET)


def end_all_of(scope: Scope, node: Node, name: str) -> int:
    """End every session of an operator, one's own included if it is oneself; gives how many.

    Raises:
        NotFound: no such operator.
        Forbidden: they hold more than the scope does.
    """
    scope.require_everywhere("users.manage")
    with node.db.write() as tx:
        operator = people.operator_by_name(tx, name[:64], lock=True)
        if operator is None:
            raise NotFound(f"cannot find the operator {name[:64]}")
        scope.require_held(operator.grants, f"end the sessions of {operator.name}")
        ended = store.delete_sessions_of(tx, operator.id)
        if ended:
            data: dict[str, object] = {"sessions_ended": ended}
            audit.record_node(tx, scope.actor, action="session.end-all", subject=f"user:{operator.name}", data=data)
    node.hub.nudge("people", EVERY_FLEET)
    return ended


def _cursor(record: SessionRecord) -> str:
    return encode_cursor((record.created_at - _EPOCH) // timedelta(microseconds=1), record.id)
