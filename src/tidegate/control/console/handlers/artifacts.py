"""Artifacts: the names, the versions of one, two side by side, one version, and withdrawing it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from starlette.datastructures import UploadFile
from starlette.responses import StreamingResponse

from tidegate.control.console.views import Chip, Slice
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit, wrong
from tidegate.control.domain.artifacts import KINDS
from tidegate.control.services import artifacts, catalog, channels, sboms, uploads
from tidegate.errors import NotFound, Refused, TidegateError
from tidegate.wire.operator.artifacts import ListArtifacts

SIZE = 50
#: Channels offered for a version: as many as an artifact may have.
CHANNELS = 50
_STATES = (("", "All"), ("available", "available"), ("withdrawn", "withdrawn"))
_PIECE = 1 << 20


def listed(visit: Visit) -> Outcome:
    """Artifact names; versions are on the page of each."""
    search, offset = visit.ask("q").strip()[:128], visit.offset()
    kind = visit.ask("kind") if visit.ask("kind") in KINDS else ""
    items, total = catalog.names(visit.scope, visit.node, search=search, kind=kind, limit=SIZE, offset=offset)
    context = {
        "items": items,
        "slice": Slice(offset, len(items), total, SIZE, [("q", search), ("kind", kind)]),
        "chips": [
            Chip(one or "All kinds", f"/artifacts?kind={one}" if one else "/artifacts", one == kind)
            for one in ("", *KINDS)
        ],
        "search": search,
        "kind": kind,
    }
    return Show("artifacts.html", "Artifacts", context)


def versions(visit: Visit) -> Outcome:
    """Every version of one name."""
    name, offset = visit.params["name"], visit.offset()
    state = visit.ask("state") if visit.ask("state") in ("available", "withdrawn") else ""
    query = ListArtifacts(name=name, state=state, limit=SIZE, offset=offset)  # type: ignore[arg-type]
    page = artifacts.listed(visit.scope, visit.node, query)
    if not page.items and not state and not offset:
        raise NotFound(f"cannot find an artifact named {name[:128]}")
    path = f"/artifacts/{quote(name)}"
    context = {
        "items": page.items,
        "around": catalog.around(visit.scope, visit.node, name, page.items),
        "slice": Slice(offset, len(page.items), page.total, SIZE, [("state", state)]),
        "chips": [Chip(label, f"{path}?state={key}" if key else path, key == state) for key, label in _STATES],
        "path": path,
        "name": name,
        "state": state,
    }
    return Show("artifact_versions.html", name, context)


def compare(visit: Visit) -> Outcome:
    """Two versions side by side; the form before it asks for them."""
    name, first, second = visit.params["name"], visit.ask("a").strip(), visit.ask("b").strip()
    if not first or not second:
        return Go(f"/artifacts/{quote(name)}")
    found = catalog.compare(visit.scope, visit.node, name, first, second)
    return Show("artifact_compare.html", f"{name}: {first} and {second}", {"found": found, "name": name})


def shown(visit: Visit) -> Outcome:
    return _show(visit)


def _show(visit: Visit, problem: TidegateError | None = None) -> Show:
    name, version = visit.params["name"], visit.params["version"]
    view = artifacts.find(visit.scope, visit.node, name, version)
    known = channels.listed(visit.scope, visit.node, artifact=name, limit=CHANNELS).items
    context = {
        "view": view,
        "artifact": view.artifact,
        "sbom": sboms.find(visit.scope, visit.node, name, version),
        "channels": known,
        "path": f"/artifacts/{quote(name)}/{quote(version)}",
    }
    return Show("artifact.html", f"{view.artifact.name} {view.artifact.version}", context, problem=problem)


def withdraw(visit: Visit) -> Outcome:
    """The version is typed once more, since nobody can take this back."""
    name, version = visit.params["name"], visit.params["version"]
    try:
        if visit.text("confirm") != version:
            raise wrong("confirm", f"must be the version, {version}")
        artifacts.withdraw(visit.scope, visit.node, name, version, visit.text("reason"))
    except NotFound:
        raise
    except Refused as error:
        return _show(visit, error)
    return Go(f"/artifacts/{quote(name)}/{quote(version)}", "withdrawn")


def point(visit: Visit) -> Outcome:
    """A channel of the artifact is made to point at this version."""
    name, version = visit.params["name"], visit.params["version"]
    try:
        channels.move(visit.scope, visit.node, name, visit.text("channel"), version, visit.text("reason"))
    except Refused as error:
        return _show(visit, error)
    return Go(f"/artifacts/{quote(name)}/{quote(version)}", "channel-moved")


# -- the SBOM ---------------------------------------------------------------------------------------------------------


def components(visit: Visit) -> Outcome:
    """What the version's SBOM lists."""
    name, version = visit.params["name"], visit.params["version"]
    search, offset = visit.ask("q").strip()[:128], visit.offset()
    view = sboms.find(visit.scope, visit.node, name, version)
    page = sboms.ComponentPage([], 0, None)
    if view.current is not None:
        page = sboms.components(visit.scope, visit.node, name, version, search=search, limit=SIZE, offset=offset)
    context = {
        "view": view,
        "artifact": view.artifact,
        "items": page.items,
        "slice": Slice(offset, len(page.items), page.total, SIZE, [("q", search)]),
        "search": search,
        "path": f"/artifacts/{quote(name)}/{quote(version)}/sbom",
    }
    return Show("sbom.html", f"SBOM of {name} {version}", context)


def attach(visit: Visit) -> Outcome:
    """A file of the form, stored first and checked soon after."""
    name, version = visit.params["name"], visit.params["version"]
    try:
        file = visit.form.get("file")
        if not isinstance(file, UploadFile) or not file.filename:
            raise wrong("file", "must be chosen")
        file_name = file.filename.replace("\\", "/").rpartition("/")[2]
        upload = uploads.upload_stream(visit.scope, visit.node, file_name, file.size or 0, _pieces(file))
        try:
            sboms.attach(visit.scope, visit.node, name, version, upload.id)
        except TidegateError:
            uploads.discard(visit.scope, visit.node, upload.id)
            raise
    except Refused as error:
        return _show(visit, error)
    return Go(f"/artifacts/{quote(name)}/{quote(version)}", "sbom-attached")


def remove(visit: Visit) -> Outcome:
    name, version = visit.params["name"], visit.params["version"]
    try:
        sboms.remove(visit.scope, visit.node, name, version, visit.text("reason"))
    except Refused as error:
        return _show(visit, error)
    return Go(f"/artifacts/{quote(name)}/{quote(version)}", "sbom-removed")


def document(visit: Visit) -> Outcome:
    """The bytes as they were sent."""
    found, pieces = sboms.document(
        visit.scope, visit.node, visit.params["name"], visit.params["version"], visit.params["sha256"]
    )
    headers = {
        "Content-Disposition": f'attachment; filename="{found.file_name}"',
        "Content-Length": str(found.size_bytes),
    }
    return StreamingResponse(pieces, headers=headers, media_type="application/octet-stream")


def _pieces(file: UploadFile) -> Iterator[bytes]:
    while piece := file.file.read(_PIECE):
        yield piece


_ONE = "/artifacts/{name}/{version}"
PAGES = (
    Page("GET", "/artifacts", "artifacts.read", listed, nav="artifacts"),
    Page("GET", "/artifacts/{name}", "artifacts.read", versions, nav="artifacts"),
    Page("GET", "/compare/{name}", "artifacts.read", compare, nav="artifacts"),
    Page("GET", _ONE, "artifacts.read", shown, nav="artifacts", live=True),
    Page("POST", f"{_ONE}/withdraw", "artifacts.publish", withdraw, nav="artifacts"),
    Page("POST", f"{_ONE}/channel", "artifacts.publish", point, nav="artifacts"),
    Page("GET", f"{_ONE}/sbom", "artifacts.read", components, nav="artifacts", live=True),
    Page("POST", f"{_ONE}/sbom", "artifacts.publish", attach, nav="artifacts", file_bytes=sboms.MAX_BYTES),
    Page("POST", f"{_ONE}/sbom/remove", "artifacts.publish", remove, nav="artifacts"),
    Page("GET", f"{_ONE}/sbom/{{sha256}}", "artifacts.read", document, nav="artifacts"),
)
