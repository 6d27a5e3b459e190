"""Devices as a sheet over HTTP: streamed in and out."""

from __future__ import annotations

import anyio
import msgspec
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tidegate.control.api.operations import BODY_SECONDS, RawRoute, decode_query
from tidegate.control.domain.access import Scope
from tidegate.control.domain.sheet import MAX_BYTES
from tidegate.control.services import device_sheet
from tidegate.control.services.device_sheet import Document, Figures
from tidegate.control.services.devices import Search
from tidegate.control.services.node import Node
from tidegate.errors import Malformed
from tidegate.wire.operator import sheets as wire
from tidegate.wire.problem import ProblemField

_JSON = msgspec.json.Encoder()
#: Lines are read in a thread, this many bytes at a time.
_PIECE_BYTES = 256 << 10


async def _import(request: Request, scope: Scope, node: Node) -> Response:
    query: wire.ImportQuery = decode_query(wire.ImportQuery, request)
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type not in ("text/csv", "application/octet-stream", ""):
        raise Malformed("cannot read the body: its Content-Type must be text/csv")
    document = await _read(request)
    if query.dry_run:
        found = await run_sync(device_sheet.preview, scope, node, document, query.unknown)
    else:
        found = await run_sync(device_sheet.carry_out, scope, node, document, query.unknown, query.expires_in_seconds)
    body = _JSON.encode(info(found, done=not query.dry_run))
    return Response(body, headers={"cache-control": "no-store"}, media_type="application/json")


async def _read(request: Request) -> Document:
    """Raises `Malformed` when the file does not arrive in time, and what `device_sheet.read` raises, at once."""
    intake = device_sheet.Intake()
    buffer = bytearray()
    with anyio.move_on_after(BODY_SECONDS) as deadline:
        async for piece in request.stream():
            buffer += piece
            if len(buffer) >= _PIECE_BYTES:
                await run_sync(intake.feed, bytes(buffer))
                buffer.clear()
    if deadline.cancelled_caught:
        raise Malformed(f"cannot wait longer than {BODY_SECONDS} seconds for the file")
    await run_sync(intake.feed, bytes(buffer))
    return intake.end()


def info(found: Figures, *, done: bool) -> wire.ImportInfo:
    return wire.ImportInfo(
        done=done,
        sha256=found.sha256,
        rows=found.rows,
        changed=found.changed,
        unchanged=found.unchanged,
        tags_put=found.tags_put,
        tags_removed=found.tags_removed,
        groups_joined=found.groups_joined,
        groups_left=found.groups_left,
        unknown=found.unknown,
        unknown_count=found.unknown_count,
        shown=tuple(wire.NamedChange(name, change) for name, change in found.shown),
        errors=tuple(ProblemField(one.pointer, one.detail) for one in found.errors),
        wrong=found.wrong,
        tokens=tuple(wire.NamedToken(one.name, one.secret, one.expires_at) for one in found.tokens),
    )


async def _export(request: Request, scope: Scope, node: Node) -> Response:
    query: wire.ExportQuery = decode_query(wire.ExportQuery, request)
    search = Search(selector=query.selector, group=query.group or None)
    pieces = await run_sync(device_sheet.export, scope, node, search)
    return csv_answer(pieces, f"devices-{scope.fleet}.csv")


def csv_answer(pieces: object, name: str) -> StreamingResponse:
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return StreamingResponse(pieces, headers=headers, media_type="text/csv; charset=utf-8")  # type: ignore[arg-type]


ROUTES = (
    RawRoute(
        method="POST", path="/v1/device-import", name="devices.import_sheet", permission="devices.write",
        tag="devices", endpoint=_import, query=wire.ImportQuery, answer=wire.ImportInfo,
        media_type="application/json", bounded_by=f"{MAX_BYTES >> 20} MiB",
        summary="Set tags and static groups of many devices from CSV: every line or none",
    ),
    RawRoute(
        method="GET", path="/v1/device-export", name="devices.export_sheet", permission="devices.read",
        tag="devices", endpoint=_export, query=wire.ExportQuery, media_type="text/csv",
        summary="Devices with tags and static groups as CSV, which imports to the same",
    ),
)  # fmt: skip
