"""Logs on request: an operator asks, the device sends what its owner allows (docs/design/logs.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from tidegate.control.domain import logs as domain
from tidegate.control.domain.access import Scope
from tidegate.control.domain.devices import DeviceRef
from tidegate.control.domain.logs import LogRequest
from tidegate.control.services import audit, devices
from tidegate.control.services.node import Node
from tidegate.control.store import devices as device_store
from tidegate.control.store import engine, fleets
from tidegate.control.store import logs as store
from tidegate.errors import Conflict, NotFound
from tidegate.ids import DeviceId, FleetId
from tidegate.wire import device as wire

log = structlog.get_logger()

_FORGET_AT_ONCE = 200
_NO_ROOM = "newer logs of the fleet took its room (setting log_bundles_max_bytes); ask again"


@dataclass(frozen=True, slots=True)
class LogPage:
    items: list[LogRequest]
    total: int
    next_before: int | None


# -- operators --------------------------------------------------------------------------------------------------------


def ask(scope: Scope, node: Node, name: str, source: str, max_bytes: int) -> LogRequest:
    """Ask a device for the end of one of its log sources; an offline one is told when it calls.

    The source is the device's word: one that it does not know it refuses, and says so.

    Raises:
        Conflict: the device is decommissioned, or too many requests wait already.
    """
    scope.require("devices.write")
    with node.db.write() as tx:
        device = devices.require_active(tx, scope, name, lock=True)
        now = engine.now(tx)
        if len(store.waiting(tx, device.id, now)) >= domain.MOST_WAITING_OF_A_DEVICE:
            most = domain.MOST_WAITING_OF_A_DEVICE
            raise Conflict(f"cannot ask device {name} for more logs: {most} requests wait already; cancel one")
        if store.count_waiting(tx, scope.fleet_id) >= domain.MOST_WAITING_OF_A_FLEET:
            most = domain.MOST_WAITING_OF_A_FLEET
            raise Conflict(f"cannot ask for more logs: {most} requests of fleet {scope.fleet} wait already")
        request = store.insert(
            tx,
            fleet_id=scope.fleet_id,
            device_id=device.id,
            source=source,
            max_bytes=max_bytes,
            requested_at=now,
            requested_by=str(scope.actor),
            expires_at=now + domain.WAITS,
        )
        device_store.bump(tx, scope.fleet_id, [device.id])
        data = {"request": request.id, "source": source, "max_bytes": max_bytes}
        audit.record(tx, scope, action="device.logs", subject=f"device:{name}", data=data)
    node.hub.nudge("devices", scope.fleet_id, {device.id})
    return request


def listed(
    scope: Scope, node: Node, name: str, *, before: int | None = None, limit: int = 50, offset: int = 0
) -> LogPage:
    """The requests to a device, the newest first."""
    scope.require("devices.read")
    with node.db.read() as tx:
        device = devices.require(tx, scope, name)
        found, total = store.of_device(tx, device.id, before=before, limit=limit + 1, offset=offset)
    return LogPage(found[:limit], total, found[limit - 1].id if len(found) > limit else None)


def get(scope: Scope, node: Node, name: str, request_id: int) -> LogRequest:
    """Raises `NotFound`."""
    scope.require("devices.read")
    with node.db.read() as tx:
        return _require(store.find(tx, devices.require(tx, scope, name).id, request_id), name, request_id)


def bundle(scope: Scope, node: Node, name: str, request_id: int) -> bytes:
    """What the device sent, gzip. A log may hold anything: that it was read, and by whom, is recorded.

    Raises:
        NotFound: there is no such request.
        Conflict: nothing came, or not yet, or it is kept no more; says why.
    """
    scope.require("devices.write")
    with node.db.write() as tx:
        request = _require(store.find(tx, devices.require(tx, scope, name).id, request_id), name, request_id)
        data = store.bundle(tx, request.id)
        if data is None:
            why = f": {request.reason}" if request.reason else ""
            raise Conflict(f"cannot give the logs of request {request_id}: it is {request.state}{why}")
        told = {"request": request_id, "source": request.source}
        audit.record(tx, scope, action="device.logs.read", subject=f"device:{name}", data=told)
    return data


def headers(name: str, request: LogRequest) -> dict[str, str]:
    """What makes a browser save the bundle; names of devices and sources have no character that needs quoting."""
    file = f"{name}-{request.source}-{request.id}.log.gz"
    return {"content-disposition": f'attachment; filename="{file}"', "cache-control": "no-store"}


def cancel(scope: Scope, node: Node, name: str, request_id: int) -> None:
    """Ask no more. Raises `Conflict` where it has ended already."""
    scope.require("devices.write")
    with node.db.write() as tx:
        device = devices.require(tx, scope, name)
        request = _require(store.find(tx, device.id, request_id, lock=True), name, request_id)
        if request.state != "waiting":
            raise Conflict(f"cannot cancel request {request_id}: it is {request.state}")
        store.end(tx, request_id, state="cancelled", ended_at=engine.now(tx))
        device_store.bump(tx, scope.fleet_id, [device.id])
        data = {"request": request_id}
        audit.record(tx, scope, action="device.logs.cancel", subject=f"device:{name}", data=data)
    node.hub.nudge("devices", scope.fleet_id, {device.id})


def _require(found: LogRequest | None, name: str, request_id: int) -> LogRequest:
    if found is None:
        raise NotFound(f"cannot find log request {request_id} of device {name}")
    return found


# -- the device -------------------------------------------------------------------------------------------------------


def pending(node: Node, device: DeviceRef) -> tuple[wire.LogRequest, ...]:
    """What the device is to be asked for."""
    with node.db.read() as tx:
        found: Sequence[LogRequest] = store.waiting(tx, device.id, engine.now(tx))
    return tuple(wire.LogRequest(one.id, one.source, one.max_bytes) for one in found)


def devices_asked(node: Node, fleet_id: FleetId) -> set[DeviceId]:
    """The devices of which something is wanted."""
    with node.db.read() as tx:
        return store.devices_waiting(tx, fleet_id, engine.now(tx))


def received(node: Node, device: DeviceRef, request_id: int, data: bytes) -> None:
    """Take a bundle. One for a request that has ended is dropped: sending it twice changes nothing.

    Raises:
        NotFound: this device was not asked for it.
        Invalid: it is no gzip, or holds more than was asked for.
    """
    with node.db.read() as tx:
        request = store.find(tx, device.id, request_id)
    asked = _of_device(request, request_id)
    size = domain.unpacked_size(data, asked.max_bytes)
    _end(node, device, request_id, data, state="received", size_bytes=size)


def refused(node: Node, device: DeviceRef, request_id: int, reason: str) -> None:
    """The device sends nothing, and says why. Raises `NotFound`: this device was not asked for it."""
    _end(node, device, request_id, None, state="refused", reason=reason)


def _end(node: Node, device: DeviceRef, request_id: int, data: bytes | None, **values: object) -> None:
    with node.db.write() as tx:
        request = _of_device(store.find(tx, device.id, request_id, lock=True), request_id)
        if request.state != "waiting":
            return
        store.end(tx, request_id, ended_at=engine.now(tx), **values)
        if data is not None:
            fleets.settings(tx, device.fleet_id, lock=True)  # two at once would each find room for one
            store.put_bundle(tx, request_id, data)
            dropped = store.make_room(tx, device.fleet_id, node.settings.log_bundles_max_bytes, _NO_ROOM)
            if dropped:
                log.info("logs of devices made room for newer ones", fleet=device.fleet, dropped=dropped)
    node.hub.nudge("devices", device.fleet_id, {device.id})


def _of_device(found: LogRequest | None, request_id: int) -> LogRequest:
    if found is None:
        raise NotFound(f"cannot find log request {request_id}")
    return found


# -- time passes ------------------------------------------------------------------------------------------------------


def tidy(node: Node) -> int:
    """Expire what was not answered in time, forget what is older than the settings say; gives how many were."""
    with node.db.write() as tx:
        now = engine.now(tx)
        done = store.expire(tx, now)
        return done + store.forget(tx, now - timedelta(days=node.settings.log_bundles_days), _FORGET_AT_ONCE)
