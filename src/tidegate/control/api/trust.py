"""The Trust Center over HTTP, and the public metadata that a publisher elsewhere starts from."""

from __future__ import annotations

import re

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tidegate.control.api.operations import Call, Operation, RawRoute
from tidegate.control.domain.access import Scope
from tidegate.control.services import artifacts, trust
from tidegate.control.services.node import Node
from tidegate.errors import NotFound
from tidegate.wire.operator.artifacts import RenewMetadata
from tidegate.wire.operator.trust import TrustDomain

METADATA_FILE = re.compile(r"(?:(?P<version>[1-9]\d{0,17})\.)?(?P<role>[a-z0-9][a-z0-9-]{0,63})\.json")


def _status(call: Call) -> TrustDomain:
    return msgspec.convert(trust.status(call.scope, call.node), TrustDomain, from_attributes=True)


def _renew(call: Call) -> None:
    body: RenewMetadata = call.body
    artifacts.submit_renewal(call.scope, call.node, body.signed)


async def _root(_request: Request, scope: Scope, node: Node) -> Response:
    data = await anyio.to_thread.run_sync(trust.export_root, scope, node)
    headers = {"content-disposition": f'attachment; filename="{scope.fleet}.root.json"'}
    return Response(data, media_type="application/json", headers=headers)


async def _metadata(request: Request, scope: Scope, node: Node) -> Response:
    match = METADATA_FILE.fullmatch(request.path_params["file"])
    if match is None:
        raise NotFound("cannot find this metadata file")
    version = int(match["version"]) if match["version"] else None
    data = await anyio.to_thread.run_sync(trust.metadata_file, scope, node, match["role"], version)
    return Response(data, media_type="application/json")


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/trust",
        permission="trust.read",
        summary="Keys, thresholds, versions and expiries of the trust domain, with warnings",
        handler=_status,
        answer=TrustDomain,
        tag="trust",
    ),
    Operation(
        method="POST",
        path="/v1/trust/renewals",
        name="trust.renew",
        permission="artifacts.publish",
        summary="Hand in publisher metadata that were signed again elsewhere",
        handler=_renew,
        body=RenewMetadata,
        status=204,
        tag="trust",
    ),
)

ROUTES = (
    RawRoute(
        method="GET",
        path="/v1/trust/root",
        permission="trust.read",
        summary="The current root, to be pinned into images",
        endpoint=_root,
        media_type="application/json",
        tag="trust",
    ),
    RawRoute(
        method="GET",
        path="/v1/trust/metadata/{file}",
        permission="trust.read",
        summary="One signed document, named as in the update repository (timestamp.json, 7.root.json)",
        endpoint=_metadata,
        media_type="application/json",
        tag="trust",
    ),
)
