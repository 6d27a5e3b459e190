"""What pages load from 'self': style, font, script, logo. Addressed by content: a browser may keep it for ever."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "woff2": "font/woff2",
}
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    content: bytes
    packed: bytes | None  # gzip, where it pays
    media_type: str


def _walk(folder: Traversable, prefix: str = "") -> dict[str, Asset]:
    found: dict[str, Asset] = {}
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        path = prefix + entry.name
        if entry.is_dir():
            found |= _walk(entry, path + "/")
        elif (media_type := _TYPES.get(entry.name.rpartition(".")[2])) is not None:
            content = entry.read_bytes()
            packed = gzip.compress(content, mtime=0)
            found[path] = Asset(content, packed if len(packed) < 0.9 * len(content) else None, media_type)
    return found


@cache
def assets() -> dict[str, Asset]:
    """Path below static/ to its content."""
    return _walk(files("tidegate.control.console").joinpath("static"))


@cache
def digest() -> str:
    """Of all of them: style sheets refer to the font relative to themselves, so they change address together."""
    state = hashlib.sha256()
    for path, asset in assets().items():
        state.update(f"{path}\0{len(asset.content)}\0".encode() + asset.content)
    return state.hexdigest()[:16]


def url(path: str) -> str:
    """The address of one asset.

    Raises:
        KeyError: there is no such file; a template names what does not exist.
    """
    assets()[path]
    return f"/static/{digest()}/{path}"


async def serve(request: Request) -> Response:
    """One asset; an address of another release is sent on to this one's."""
    path = request.path_params["path"]
    asset = assets().get(path)
    if asset is None:
        return PlainTextResponse("cannot find this file", 404)
    if request.path_params["digest"] != digest():
        return RedirectResponse(url(path), 307, headers={"Cache-Control": "no-store"})
    headers = {"Cache-Control": _FOR_EVER, "X-Content-Type-Options": "nosniff", "Vary": "Accept-Encoding"}
    if asset.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.packed, media_type=asset.media_type, headers=headers | {"Content-Encoding": "gzip"})
    return Response(asset.content, media_type=asset.media_type, headers=headers)


async def favicon(_request: Request) -> Response:
    return RedirectResponse(url("favicon.svg"), 307)
