"""Artifacts and uploads over HTTP."""

from __future__ import annotations

import functools

import anyio.to_thread
import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tidegate.control.api.operations import Call, Operation, RawRoute
from tidegate.control.domain.access import Scope
from tidegate.control.domain.artifacts import Artifact, Upload
from tidegate.control.services import artifacts, uploads
from tidegate.control.services.artifacts import ArtifactView
from tidegate.control.services.node import Node
from tidegate.control.services.uploads import CHUNK_BYTES, Receiver
from tidegate.errors import FieldError, Invalid
from tidegate.wire.operator import artifacts as wire
from tidegate.wire.operator.common import Page

#: A sender that is silent for this long has gone; what it sent is kept.
SILENCE_SECONDS = 60


def summary(artifact: Artifact) -> wire.ArtifactSummary:
    return msgspec.convert(artifact, wire.ArtifactSummary, from_attributes=True)


def _upload(upload: Upload) -> wire.UploadState:
    return msgspec.convert(upload, wire.UploadState, from_attributes=True)


def _detail(view: ArtifactView) -> wire.ArtifactDetail:
    described = view.descriptor
    return wire.ArtifactDetail(
        artifact=summary(view.artifact),
        files=described.files,
        target_paths=view.target_paths,
        manifest=described.manifest,
        target_hardware=described.target_hardware,
        requires=described.requires,
        running_on=view.running_on,
        running_count=view.running_count,
        config=described.config,
    )


def _list(call: Call) -> Page[wire.ArtifactSummary]:
    page = artifacts.listed(call.scope, call.node, call.query or wire.ListArtifacts())
    return Page(tuple(summary(one) for one in page.items), page.total, page.next_cursor)


def _get(call: Call) -> wire.ArtifactDetail:
    return _detail(artifacts.find(call.scope, call.node, call.path["name"], call.path["version"]))


def _publish(call: Call) -> wire.ArtifactSummary:
    return summary(artifacts.publish(call.scope, call.node, call.body))


def _withdraw(call: Call) -> wire.ArtifactSummary:
    body: wire.WithdrawArtifact = call.body
    name, version = call.path["name"], call.path["version"]
    return summary(artifacts.withdraw(call.scope, call.node, name, version, body.reason, body.signed))


def _create_upload(call: Call) -> wire.UploadState:
    body: wire.NewUpload = call.body
    return _upload(uploads.create(call.scope, call.node, body.file_name, body.length))


def _get_upload(call: Call) -> wire.UploadState:
    return _upload(uploads.find(call.scope, call.node, call.path["upload"]))


def _discard_upload(call: Call) -> None:
    uploads.discard(call.scope, call.node, call.path["upload"])


async def _receive(request: Request, scope: Scope, node: Node) -> Response:
    """Append the body at `offset`. What arrived before a broken connection is kept, synced and recorded."""
    offset = _offset(request)
    upload_id = request.path_params["upload"]
    run = anyio.to_thread.run_sync
    receiver = await run(uploads.receive, scope, node, upload_id, offset)
    try:
        whole = await _append(request, receiver)
        # Shielded: a connection that breaks now must not leave bytes written but not recorded.
        with anyio.CancelScope(shield=True):
            upload = await run(receiver.finish)
    finally:
        receiver.__exit__(None, None, None)
    if not whole:
        raise ClientDisconnect
    return Response(msgspec.json.encode(_upload(upload)), media_type="application/json")


async def _append(request: Request, receiver: Receiver) -> bool:
    """Write what arrives, a mebibyte at a time; False when the sender went away in the middle."""
    buffer = bytearray()
    pieces = request.stream()
    try:
        while True:
            with anyio.fail_after(SILENCE_SECONDS):
                piece = await anext(pieces, None)
            if piece is None:
                break
            buffer += piece
            if len(buffer) >= CHUNK_BYTES:
                await anyio.to_thread.run_sync(receiver.write, bytes(buffer))
                buffer.clear()
        whole = True
    except (ClientDisconnect, TimeoutError):
        whole = False
    if buffer:
        await anyio.to_thread.run_sync(receiver.write, bytes(buffer))
    return whole


def _offset(request: Request) -> int:
    given = request.query_params.getlist("offset")
    if len(given) != 1 or not (given[0].isascii() and given[0].isdigit() and len(given[0]) <= 16):
        rule = "must be given once: how many bytes were received so far"
        raise Invalid(f"cannot receive: offset {rule}", (FieldError("/offset", rule),))
    return int(given[0])


_call = functools.partial(Operation, tag="artifacts")

OPERATIONS = (
    _call(
        method="GET",
        path="/v1/artifacts",
        permission="artifacts.read",
        summary="Published versions, newest first",
        handler=_list,
        query=wire.ListArtifacts,
        answer=Page[wire.ArtifactSummary],
    ),
    _call(
        method="POST",
        path="/v1/artifacts",
        name="artifacts.publish",
        permission="artifacts.publish",
        summary="Publish a version from sealed uploads",
        handler=_publish,
        body=wire.PublishArtifact,
        answer=wire.ArtifactSummary,
        status=201,
    ),
    _call(
        method="GET",
        path="/v1/artifacts/{name}/{version}",
        permission="artifacts.read",
        summary="One version: files, manifest, where it runs",
        handler=_get,
        answer=wire.ArtifactDetail,
    ),
    _call(
        method="POST",
        path="/v1/artifacts/{name}/{version}/withdraw",
        permission="artifacts.publish",
        summary="Take a version out of the signed metadata, for good",
        handler=_withdraw,
        body=wire.WithdrawArtifact,
        answer=wire.ArtifactSummary,
    ),
    _call(
        method="POST",
        path="/v1/uploads",
        permission="artifacts.publish",
        summary="Announce a file",
        handler=_create_upload,
        body=wire.NewUpload,
        answer=wire.UploadState,
        status=201,
    ),
    _call(
        method="GET",
        path="/v1/uploads/{upload}",
        permission="artifacts.publish",
        summary="How much of a file has arrived",
        handler=_get_upload,
        answer=wire.UploadState,
    ),
    _call(
        method="DELETE",
        path="/v1/uploads/{upload}",
        name="uploads.discard",
        permission="artifacts.publish",
        summary="Forget an upload",
        handler=_discard_upload,
        status=204,
    ),
)

ROUTES = (
    RawRoute(
        method="PATCH",
        path="/v1/uploads/{upload}",
        name="uploads.append",
        permission="artifacts.publish",
        summary="Append the body at the query parameter offset; sealed when whole",
        endpoint=_receive,
        query=wire.AppendQuery,
        answer=wire.UploadState,
        media_type="application/json",
        tag="artifacts",
        bounded_by=f"the length announced, at most upload_max_bytes; {SILENCE_SECONDS} s of silence",
    ),
)
