"""The update repository for devices: ``metadata/<file>`` and ``targets/<path>`` of the device's own fleet.

An ASGI application that the device channel mounts at ``/repository``; the channel has verified who asks and puts the
`DeviceRef` into ``scope["device"]``. Anything of another fleet, withdrawn or unknown is 404, all alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as ASGIScope

from tidegate.control import problems
from tidegate.control.api.trust import METADATA_FILE
from tidegate.control.domain.devices import DeviceRef
from tidegate.control.services.node import Node
from tidegate.control.services.served import Document, Served
from tidegate.errors import Defect, MethodNotAllowed, NotFound
from tidegate.ids import ARTIFACT_NAME, FILE_NAME, FLEET_NAME, VERSION
from tidegate.wire.descriptor import PayloadFile

PREFIX = "/repository"
_TARGET = re.compile(
    rf"(?P<fleet>{FLEET_NAME.pattern})/(?P<name>{ARTIFACT_NAME.pattern})/(?P<version>{VERSION.pattern})"
    rf"/(?P<sha256>[0-9a-f]{{64}})\.(?P<file>{FILE_NAME.pattern})"
)
_RANGE = re.compile(r"bytes=(?:(?P<first>\d{1,18})-(?P<last>\d{0,18})|-(?P<suffix>\d{1,18}))")
_LASTING = "private, max-age=31536000, immutable"


def repository_app(node: Node) -> ASGIApp:
    """The application; make one per process, it keeps a cache."""
    served = Served(node)

    async def app(scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise Defect("the repository answers HTTP only")
        try:
            response = await _respond(node, served, scope)
        except Exception as error:  # noqa: BLE001 - the edge: every error becomes a problem
            response = problems.respond(problems.understood(error))
        await response(scope, receive, send)

    return app


async def _respond(node: Node, served: Served, scope: ASGIScope) -> Response:
    if scope["method"] not in ("GET", "HEAD"):
        raise MethodNotAllowed(f"cannot {scope['method']} the repository", ("GET", "HEAD"))
    device: DeviceRef = scope["device"]
    path = scope["path"].removeprefix(scope.get("root_path", "")).removeprefix(PREFIX)
    if path.startswith("/metadata/"):
        return await _metadata(served, device, path.removeprefix("/metadata/"), Headers(scope=scope))
    if path.startswith("/targets/"):
        return await _target(node, served, device, path.removeprefix("/targets/"), scope)
    raise NotFound("cannot find this in the repository")


# -- metadata ---------------------------------------------------------------------------------------------------------


async def _metadata(served: Served, device: DeviceRef, file: str, headers: Headers) -> Response:
    match = METADATA_FILE.fullmatch(file)
    # Consistent snapshots: only the timestamp goes by its bare name.
    if match is None or (match["version"] is None) != (match["role"] == "timestamp"):
        raise NotFound("cannot find this metadata file")
    role, version = match["role"], int(match["version"]) if match["version"] else None
    known, document = served.peek_document(device.fleet_id, role, version)
    if not known:
        document = await anyio.to_thread.run_sync(served.document, device.fleet_id, role, version)
    if document is None:
        raise NotFound("cannot find this metadata file")
    return _document(document, headers, lasting=version is not None)


def _document(document: Document, headers: Headers, *, lasting: bool) -> Response:
    answer = {
        "etag": document.etag,
        "cache-control": _LASTING if lasting else "no-cache",
        "vary": "accept-encoding",
    }
    if headers.get("if-none-match") == document.etag:
        return Response(status_code=304, headers=answer)
    if document.gzipped is not None and "gzip" in headers.get("accept-encoding", ""):
        return Response(document.gzipped, headers={**answer, "content-encoding": "gzip"}, media_type="application/json")
    return Response(document.data, headers=answer, media_type="application/json")


# -- targets ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    """Bytes `start` to before `end`."""

    start: int
    end: int


async def _target(node: Node, served: Served, device: DeviceRef, path: str, scope: ASGIScope) -> Response:
    match = _TARGET.fullmatch(path)
    if match is None or match["fleet"] != device.fleet:
        raise NotFound("cannot find this target")
    file = await anyio.to_thread.run_sync(served.file, device.fleet_id, match["name"], match["version"], match["file"])
    if file is None or file.sha256 != match["sha256"]:
        raise NotFound("cannot find this target")
    return _bytes(node, file, Headers(scope=scope), head=scope["method"] == "HEAD")


def _bytes(node: Node, file: PayloadFile, headers: Headers, *, head: bool) -> Response:
    etag = f'"{file.sha256}"'
    answer = {"etag": etag, "cache-control": _LASTING, "accept-ranges": "bytes"}
    if headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=answer)
    asked = headers.get("range") if headers.get("if-range", etag) == etag else None
    part = _part(asked, file.length)
    if part is None:
        return Response(status_code=416, headers={**answer, "content-range": f"bytes */{file.length}"})
    partial = asked is not None and _RANGE.fullmatch(asked) is not None
    if partial:
        answer["content-range"] = f"bytes {part.start}-{part.end - 1}/{file.length}"
    answer["content-length"] = str(part.end - part.start)
    status = 206 if partial else 200
    if head or part.start == part.end:
        return Response(status_code=status, headers=answer, media_type="application/octet-stream")
    # Compressing is left out: models hardly shrink, and ranges would no longer mean the file's own bytes.
    return StreamingResponse(
        node.blobs.stream(file.sha256, part.start, part.end), status, answer, "application/octet-stream"
    )


def _part(asked: str | None, length: int) -> _Part | None:
    """What a Range header asks for (RFC 9110 section 14.2); all of it without one or with one not understood.

    None when it cannot be satisfied.
    """
    match = _RANGE.fullmatch(asked) if asked is not None else None
    if match is None:
        return _Part(0, length)
    if match["suffix"]:
        wanted = int(match["suffix"])
        return _Part(max(0, length - wanted), length) if wanted and length else None
    first = int(match["first"])
    last = int(match["last"]) if match["last"] else length - 1
    if first >= length or last < first:
        return None
    return _Part(first, min(last, length - 1) + 1)
