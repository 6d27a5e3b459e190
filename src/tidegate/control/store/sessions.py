"""Sessions, and the browsers that operators are known by, as rows. Secrets are stored as SHA-256 only."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from tidegate.control.domain.people import SessionRecord
from tidegate.control.store import engine
from tidegate.control.store.schema import known_browsers, operators, sessions
from tidegate.ids import OperatorId


def insert_session(tx: Connection, session: SessionRecord) -> None:
    tx.execute(
        sa.insert(sessions).values(
            secret_sha256=session.secret_sha256,
            operator_id=session.operator_id,
            csrf_sha256=session.csrf_sha256,
            created_at=session.created_at,
            expires_at=session.expires_at,
            last_used_at=session.last_used_at,
            user_agent=session.user_agent,
            address=session.address,
        )
    )


def session_by_secret(tx: Connection, secret_sha256: str) -> SessionRecord | None:
    row = tx.execute(sa.select(sessions).where(sessions.c.secret_sha256 == secret_sha256)).one_or_none()
    return None if row is None else _session(row)


def sessions_of(tx: Connection, operator_id: OperatorId) -> list[SessionRecord]:
    """Newest first; an operator has few."""
    rows = tx.execute(
        sa.select(sessions).where(sessions.c.operator_id == operator_id).order_by(sessions.c.created_at.desc())
    )
    return [_session(row) for row in rows]


def living(now: datetime, idle_before: datetime, name: str = "") -> sa.Select[Any]:
    """Sessions that have not ended, each with `operator`, the name it belongs to; `name`: only of that one."""
    query = sa.select(sessions, operators.c.name.label("operator")).join(
        operators, operators.c.id == sessions.c.operator_id
    )
    query = query.where(sessions.c.expires_at > now, sessions.c.last_used_at > idle_before)
    return query.where(operators.c.name == name) if name else query


def list_living(
    tx: Connection, query: sa.Select[Any], *, before: tuple[datetime, str] | None, offset: int, limit: int
) -> list[tuple[SessionRecord, str]]:
    """Of `living`, the newest first, beginning after the position `before`; each with its operator's name."""
    if before is not None:
        at, secret = before
        later = sa.and_(sessions.c.created_at == at, sessions.c.secret_sha256 < secret)
        query = query.where(sa.or_(sessions.c.created_at < at, later))
    query = query.order_by(sessions.c.created_at.desc(), sessions.c.secret_sha256.desc())
    return [(_session(row), row.operator) for row in tx.execute(query.offset(offset).limit(limit))]


def session_by_id(tx: Connection, session_id: str) -> SessionRecord | None:
    """By what lists show: the beginning of the hash."""
    chosen = sessions.c.secret_sha256.startswith(session_id, autoescape=True)
    found = tx.execute(sa.select(sessions).where(chosen).limit(2)).all()
    return _session(found[0]) if len(found) == 1 and len(session_id) == len(_session(found[0]).id) else None


def touch_session(tx: Connection, secret_sha256: str, at: datetime) -> None:
    tx.execute(sa.update(sessions).where(sessions.c.secret_sha256 == secret_sha256).values(last_used_at=at))


def delete_session(tx: Connection, secret_sha256: str) -> bool:
    return tx.execute(sa.delete(sessions).where(sessions.c.secret_sha256 == secret_sha256)).rowcount > 0


def delete_sessions_of(tx: Connection, operator_id: OperatorId, *, but: str = "") -> int:
    """End every session of the operator, but the one with this hash."""
    chosen = sa.and_(sessions.c.operator_id == operator_id, sessions.c.secret_sha256 != but)
    return tx.execute(sa.delete(sessions).where(chosen)).rowcount


def prune_sessions(tx: Connection, now: datetime, idle_before: datetime) -> int:
    ended = sa.or_(sessions.c.expires_at <= now, sessions.c.last_used_at <= idle_before)
    return tx.execute(sa.delete(sessions).where(ended)).rowcount


def know_browser(tx: Connection, secret_sha256: str, operator_id: OperatorId, at: datetime, *, most: int) -> None:
    """From now on the operator is known by this browser; of more than `most`, those longest unused are forgotten."""
    row = {"secret_sha256": secret_sha256, "operator_id": operator_id, "last_used_at": at}
    engine.upsert(tx, known_browsers, [row], key=["secret_sha256", "operator_id"], update=["last_used_at"])
    mine = known_browsers.c.operator_id == operator_id
    newest = sa.select(known_browsers.c.secret_sha256).where(mine)
    kept = newest.order_by(known_browsers.c.last_used_at.desc(), known_browsers.c.secret_sha256).limit(most)
    tx.execute(sa.delete(known_browsers).where(mine, known_browsers.c.secret_sha256.not_in(kept)))


def browser_known(tx: Connection, secret_sha256: str, name: str) -> bool:
    """Whether the operator of that name has signed in with this browser before."""
    query = (
        sa.select(sa.true())
        .select_from(known_browsers.join(operators, operators.c.id == known_browsers.c.operator_id))
        .where(known_browsers.c.secret_sha256 == secret_sha256, operators.c.name == name)
    )
    return tx.execute(query).scalar() is not None


def browser_is_ours(tx: Connection, secret_sha256: str) -> bool:
    """Whether any operator is known by a browser with this secret: then we made it."""
    query = sa.select(sa.true()).where(known_browsers.c.secret_sha256 == secret_sha256).limit(1)
    return tx.execute(query).scalar() is not None


def forget_browsers_of(tx: Connection, operator_id: OperatorId) -> None:
    tx.execute(sa.delete(known_browsers).where(known_browsers.c.operator_id == operator_id))


def prune_browsers(tx: Connection, unused_since: datetime) -> int:
    return tx.execute(sa.delete(known_browsers).where(known_browsers.c.last_used_at <= unused_since)).rowcount


def _session(row: Row[Any]) -> SessionRecord:
    return SessionRecord(
        secret_sha256=row.secret_sha256,
        operator_id=OperatorId(row.operator_id),
        csrf_sha256=row.csrf_sha256,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        user_agent=row.user_agent,
        address=row.address,
    )
