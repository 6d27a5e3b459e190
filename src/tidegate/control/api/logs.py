"""Logs of devices over HTTP."""

from __future__ import annotations

from typing import cast

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response

from tidegate.control.api.operations import Call, Operation, RawRoute
from tidegate.control.domain.access import Scope
from tidegate.control.domain.logs import LogRequest
from tidegate.control.domain.paging import decode_cursor, encode_cursor
from tidegate.control.services import logs
from tidegate.control.services.node import Node
from tidegate.errors import NotFound
from tidegate.wire.operator import logs as wire
from tidegate.wire.operator.common import ListQuery, Page


def _ask(call: Call) -> wire.LogRequestInfo:
    body: wire.NewLogRequest = call.body
    name = call.path["device"]
    return _info(name, logs.ask(call.scope, call.node, name, body.source, body.max_bytes))


def _list(call: Call) -> Page[wire.LogRequestInfo]:
    query: ListQuery = call.query
    name = call.path["device"]
    position = cast("tuple[int] | None", decode_cursor(query.cursor, int))
    before = position[0] if position else None
    found = logs.listed(call.scope, call.node, name, before=before, limit=query.limit, offset=query.offset)
    cursor = encode_cursor(found.next_before) if found.next_before is not None else None
    return Page(tuple(_info(name, one) for one in found.items), found.total, cursor)


def _get(call: Call) -> wire.LogRequestInfo:
    name = call.path["device"]
    return _info(name, logs.get(call.scope, call.node, name, call.integer("request")))


def _cancel(call: Call) -> None:
    logs.cancel(call.scope, call.node, call.path["device"], call.integer("request"))


async def _bundle(request: Request, scope: Scope, node: Node) -> Response:
    name, number = str(request.path_params["device"]), str(request.path_params["request"])
    if not (number.isascii() and number.isdigit() and len(number) <= 18):
        raise NotFound(f"cannot find log request {number[:64]} of device {name}")
    asked = await run_sync(logs.get, scope, node, name, int(number))
    data = await run_sync(logs.bundle, scope, node, name, asked.id)
    return Response(data, headers=logs.headers(name, asked), media_type="application/gzip")


def _info(name: str, one: LogRequest) -> wire.LogRequestInfo:
    return wire.LogRequestInfo(
        id=one.id,
        device=name,
        source=one.source,
        max_bytes=one.max_bytes,
        state=one.state,
        reason=one.reason,
        requested_at=one.requested_at,
        requested_by=one.requested_by,
        expires_at=one.expires_at,
        ended_at=one.ended_at,
        size_bytes=one.size_bytes,
    )


OPERATIONS = (
    Operation(
        method="POST", path="/v1/devices/{device}/logs", permission="devices.write", tag="devices", handler=_ask,
        summary="Ask a device for the end of one of its log sources", body=wire.NewLogRequest,
        answer=wire.LogRequestInfo, status=201, name="devices.ask_log",
    ),
    Operation(
        method="GET", path="/v1/devices/{device}/logs", permission="devices.read", tag="devices", handler=_list,
        summary="What was asked of a device's logs, the newest first", query=ListQuery,
        answer=Page[wire.LogRequestInfo],
    ),
    Operation(
        method="GET", path="/v1/devices/{device}/logs/{request}", permission="devices.read", tag="devices",
        handler=_get, summary="One log request", answer=wire.LogRequestInfo,
    ),
    Operation(
        method="DELETE", path="/v1/devices/{device}/logs/{request}", permission="devices.write", tag="devices",
        handler=_cancel, summary="Cancel a log request that waits", status=204,
        name="devices.cancel_log",
    ),
)  # fmt: skip

ROUTES = (
    RawRoute(
        method="GET", path="/v1/devices/{device}/logs/{request}/bundle", permission="devices.write", tag="devices",
        endpoint=_bundle, summary="The log, packed with gzip as the device sent it", media_type="application/gzip",
        name="devices.log_bundle",
    ),
)  # fmt: skip
