"""Log requests and their bundles: rows in, domain values out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.logs import LogRequest
from tidegate.control.store import engine, paging
from tidegate.control.store.schema import log_bundles, log_requests
from tidegate.ids import DeviceId, FleetId

#: What a bundle counts as at least, so that there are not millions of tiny ones.
_LEAST_BYTES = 4_096
_AT_ONCE = 500


def insert(tx: Connection, **values: Any) -> LogRequest:
    statement = log_requests.insert().values(state="waiting", **values).returning(log_requests)
    return _request(tx.execute(statement).one())


def find(tx: Connection, device_id: DeviceId, request_id: int, *, lock: bool = False) -> LogRequest | None:
    query = sa.select(log_requests).where(log_requests.c.id == request_id, log_requests.c.device_id == device_id)
    row = tx.execute(engine.for_update(query) if lock else query).first()
    return None if row is None else _request(row)


def of_device(
    tx: Connection, device_id: DeviceId, *, before: int | None, limit: int, offset: int
) -> tuple[list[LogRequest], int]:
    """The newest first, and how many there are in all."""
    all_of_it = sa.select(log_requests).where(log_requests.c.device_id == device_id)
    some = all_of_it.where(log_requests.c.id < before) if before is not None else all_of_it
    rows = tx.execute(some.order_by(log_requests.c.id.desc()).limit(limit).offset(offset))
    return [_request(row) for row in rows], paging.total(tx, all_of_it)


def waiting(tx: Connection, device_id: DeviceId, now: datetime) -> list[LogRequest]:
    """What the device is to be asked for, the oldest first."""
    query = sa.select(log_requests).where(log_requests.c.device_id == device_id, *_waiting(now))
    return [_request(row) for row in tx.execute(query.order_by(log_requests.c.id))]


def devices_waiting(tx: Connection, fleet_id: FleetId, now: datetime) -> set[DeviceId]:
    query = sa.select(log_requests.c.device_id).where(log_requests.c.fleet_id == fleet_id, *_waiting(now))
    return {DeviceId(row.device_id) for row in tx.execute(query.distinct())}


def count_waiting(tx: Connection, fleet_id: FleetId) -> int:
    query = sa.select(log_requests.c.id).where(log_requests.c.fleet_id == fleet_id, log_requests.c.state == "waiting")
    return paging.total(tx, query)


def end(tx: Connection, request_id: int, **values: Any) -> None:
    tx.execute(log_requests.update().where(log_requests.c.id == request_id).values(**values))


def put_bundle(tx: Connection, request_id: int, data: bytes) -> None:
    tx.execute(log_bundles.insert().values(request_id=request_id, data=data))
    end(tx, request_id, bundle_bytes=max(len(data), _LEAST_BYTES))


def make_room(tx: Connection, fleet_id: FleetId, most_bytes: int, reason: str) -> int:
    """Drop the fleet's oldest bundles until what is left takes at most `most_bytes`; gives how many.

    Their requests stay, `expired` with the reason.
    """
    kept = sa.and_(log_requests.c.fleet_id == fleet_id, log_requests.c.bundle_bytes.is_not(None))
    over = int(tx.scalar(sa.select(sa.func.sum(log_requests.c.bundle_bytes)).where(kept)) or 0) - most_bytes
    if over <= 0:
        return 0
    bundles = sa.select(log_requests.c.id, log_requests.c.bundle_bytes).where(kept)
    oldest = bundles.order_by(log_requests.c.ended_at, log_requests.c.id)
    gone = 0
    while over > 0:
        goes = []
        for row in tx.execute(oldest.limit(_AT_ONCE)).all():
            if over <= 0:
                break
            goes.append(row.id)
            over -= row.bundle_bytes
        tx.execute(log_bundles.delete().where(log_bundles.c.request_id.in_(goes)))
        dropped = log_requests.update().where(log_requests.c.id.in_(goes))
        tx.execute(dropped.values(state="expired", reason=reason, bundle_bytes=None))
        gone += len(goes)
    return gone


def bundle(tx: Connection, request_id: int) -> bytes | None:
    data: bytes | None = tx.scalar(sa.select(log_bundles.c.data).where(log_bundles.c.request_id == request_id))
    return data


def expire(tx: Connection, now: datetime) -> int:
    """End what nobody answered in time; gives how many."""
    late = log_requests.update().where(log_requests.c.state == "waiting", log_requests.c.expires_at <= now)
    return int(tx.execute(late.values(state="expired", ended_at=now)).rowcount)


def forget(tx: Connection, before: datetime, most: int) -> int:
    """Delete at most `most` requests that ended before, with their bundles; gives how many."""
    old = sa.select(log_requests.c.id).where(log_requests.c.state != "waiting", log_requests.c.ended_at < before)
    ids: Sequence[int] = tx.scalars(old.order_by(log_requests.c.id).limit(most)).all()
    if ids:
        tx.execute(log_bundles.delete().where(log_bundles.c.request_id.in_(ids)))
        tx.execute(log_requests.delete().where(log_requests.c.id.in_(ids)))
    return len(ids)


def _waiting(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return log_requests.c.state == "waiting", log_requests.c.expires_at > now


def _request(row: Any) -> LogRequest:
    return LogRequest(
        id=row.id,
        fleet_id=FleetId(row.fleet_id),
        device_id=DeviceId(row.device_id),
        source=row.source,
        max_bytes=row.max_bytes,
        state=row.state,
        reason=row.reason,
        requested_at=row.requested_at,
        requested_by=row.requested_by,
        expires_at=row.expires_at,
        ended_at=row.ended_at,
        size_bytes=row.size_bytes,
    )
