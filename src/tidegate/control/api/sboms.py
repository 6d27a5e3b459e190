"""SBOMs over HTTP."""

from __future__ import annotations

import functools

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tidegate.control.api.operations import Call, Operation, RawRoute
from tidegate.control.domain.access import Scope
from tidegate.control.domain.sboms import Sbom
from tidegate.control.services import sboms
from tidegate.control.services.node import Node
from tidegate.wire.operator import sboms as wire
from tidegate.wire.operator.common import Page


def _info(sbom: Sbom) -> wire.SbomInfo:
    return wire.SbomInfo(
        id=sbom.id,
        state=sbom.state,
        sha256=sbom.sha256,
        size_bytes=sbom.size_bytes,
        file_name=sbom.file_name,
        received_at=sbom.received_at,
        received_by=sbom.received_by,
        checked_at=sbom.checked_at,
        format=sbom.format,
        spec_version=sbom.spec_version,
        component_count=sbom.component_count,
        licenses=tuple(wire.LicenseCount(license=name, components=count) for name, count in sbom.licenses),
        reasons=tuple(wire.SbomReason(pointer=pointer, rule=rule) for pointer, rule in sbom.reasons),
        ended_at=sbom.ended_at,
        ended_by=sbom.ended_by,
        ended_reason=sbom.ended_reason,
    )


def _get(call: Call) -> wire.ArtifactSbom:
    view = sboms.find(call.scope, call.node, call.path["name"], call.path["version"])
    current = _info(view.current) if view.current is not None else None
    return wire.ArtifactSbom(current=current, ended=tuple(_info(one) for one in view.ended))


def _attach(call: Call) -> wire.SbomInfo:
    body: wire.AttachSbom = call.body
    return _info(sboms.attach(call.scope, call.node, call.path["name"], call.path["version"], body.upload))


def _remove(call: Call) -> None:
    query: wire.RemoveSbom = call.query
    sboms.remove(call.scope, call.node, call.path["name"], call.path["version"], query.reason)


def _components(call: Call) -> Page[wire.ComponentInfo]:
    query: wire.ComponentQuery = call.query
    found = sboms.components(
        call.scope, call.node, call.path["name"], call.path["version"], search=query.search, limit=query.limit,
        offset=query.offset, cursor=query.cursor,
    )  # fmt: skip
    items = tuple(
        wire.ComponentInfo(name=one.name, version=one.version, purl=one.purl, license=one.license)
        for one in found.items
    )
    return Page(items, found.total, found.next_cursor)


async def download(request: Request, scope: Scope, node: Node) -> Response:
    """The original bytes, never as anything that a browser would show."""
    given = {name: str(value) for name, value in request.path_params.items()}
    sbom, pieces = await run_sync(sboms.document, scope, node, given["name"], given["version"], given["sha256"])
    headers = {
        "content-disposition": f'attachment; filename="{sbom.file_name}"',
        "content-length": str(sbom.size_bytes),
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    return StreamingResponse(pieces, headers=headers, media_type="application/octet-stream")


_call = functools.partial(Operation, tag="sboms")
_SBOM = "/v1/artifacts/{name}/{version}/sbom"

OPERATIONS = (
    _call(
        method="GET", path=_SBOM, permission="artifacts.read", handler=_get, name="sboms.get",
        summary="The SBOM of a version, and those it had before", answer=wire.ArtifactSbom,
    ),
    _call(
        method="POST", path=_SBOM, permission="artifacts.publish", handler=_attach, name="sboms.attach",
        summary="Attach a sealed upload as the SBOM; it is checked soon after", body=wire.AttachSbom,
        answer=wire.SbomInfo, status=201,
    ),
    _call(
        method="DELETE", path=_SBOM, permission="artifacts.publish", handler=_remove, name="sboms.remove",
        summary="Take the SBOM away; it stays in the history", query=wire.RemoveSbom, status=204,
    ),
    _call(
        method="GET", path=f"{_SBOM}/components", permission="artifacts.read", handler=_components,
        name="sboms.components", summary="The components that a valid SBOM lists", query=wire.ComponentQuery,
        answer=Page[wire.ComponentInfo],
    ),
)  # fmt: skip

ROUTES = (
    RawRoute(
        method="GET", path=f"{_SBOM}/documents/{{sha256}}", permission="artifacts.read", endpoint=download,
        name="sboms.document", tag="sboms", summary="The bytes of an SBOM as they were sent, by their digest",
    ),
)  # fmt: skip
