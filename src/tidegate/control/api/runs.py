"""What runs where, over HTTP."""

from __future__ import annotations

import functools

import msgspec
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tidegate.control.api.operations import Call, Operation, RawRoute, decode_query
from tidegate.control.domain.access import Scope
from tidegate.control.services import runs
from tidegate.control.services.node import Node
from tidegate.control.services.runs import Wanted
from tidegate.wire.operator import runs as wire
from tidegate.wire.operator.common import Page

MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}


def _wanted(query: wire.RunsQuery | wire.RunsPageQuery) -> Wanted:
    return Wanted(query.artifact, query.version, query.group, query.selector, query.show)


def _totals(call: Call) -> wire.RunsTotals:
    return msgspec.convert(
        runs.totals(call.scope, call.node, _wanted(call.query)), wire.RunsTotals, from_attributes=True
    )


def _versions(call: Call) -> Page[wire.RunsVersion]:
    query: wire.RunsPageQuery = call.query
    found = runs.versions(
        call.scope, call.node, _wanted(query), limit=query.limit, offset=query.offset, cursor=query.cursor
    )
    items = tuple(msgspec.convert(one, wire.RunsVersion, from_attributes=True) for one in found.items)
    return Page(items, found.total, found.next_cursor)


def _devices(call: Call) -> Page[wire.RunsDevice]:
    query: wire.RunsPageQuery = call.query
    found = runs.listed(
        call.scope, call.node, _wanted(query), limit=query.limit, offset=query.offset, cursor=query.cursor
    )
    items = tuple(msgspec.convert(one, wire.RunsDevice, from_attributes=True) for one in found.items)
    return Page(items, found.total, found.next_cursor)


async def _export(request: Request, scope: Scope, node: Node) -> Response:
    query: wire.ExportRuns = decode_query(wire.ExportRuns, request)
    pieces = await run_sync(runs.export, scope, node, _wanted(query), query.format)
    headers = {
        "content-disposition": f'attachment; filename="running-{scope.fleet}.{query.format}"',
        "cache-control": "no-store",
    }
    return StreamingResponse(pieces, headers=headers, media_type=MEDIA_TYPES[query.format])


_call = functools.partial(Operation, method="GET", permission="devices.read", tag="running")

OPERATIONS = (
    _call(
        path="/v1/running", handler=_versions, name="running.versions", query=wire.RunsPageQuery,
        summary="How many devices run each version of each artifact", answer=Page[wire.RunsVersion],
    ),
    _call(
        path="/v1/running/totals", handler=_totals, name="running.totals", query=wire.RunsQuery,
        summary="How many devices have reported, drifted, and run what is withdrawn", answer=wire.RunsTotals,
    ),
    _call(
        path="/v1/running/devices", handler=_devices, name="running.devices", query=wire.RunsPageQuery,
        summary="What runs where, device by device", answer=Page[wire.RunsDevice],
    ),
)  # fmt: skip

ROUTES = (
    RawRoute(
        method="GET", path="/v1/running/export", permission="devices.read", tag="running", endpoint=_export,
        name="running.export", summary="What runs where as CSV or JSON lines, the whole of it in a stable order",
        media_type="text/csv, application/jsonl", query=wire.ExportRuns,
    ),
)  # fmt: skip
