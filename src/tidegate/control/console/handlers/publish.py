"""Publish: a file and its manifest in one form, one act."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from starlette.datastructures import UploadFile

from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit, typed, wrong
from tidegate.control.domain.artifacts import check_new
from tidegate.control.services import artifacts, uploads
from tidegate.errors import Refused, TidegateError
from tidegate.wire.descriptor import DESCRIPTOR_FILE
from tidegate.wire.operator.artifacts import PublishArtifact

FRAMEWORKS = ("onnx", "tensorrt", "tflite", "pytorch", "gguf")
FIELDS = ("name", "version", "framework", "license", "description", "target_hardware")
_PIECE = 1 << 20
#: Stands for the upload while everything else of the form is checked, before a byte is stored.
_NOT_YET = "0" * 32


def shown(visit: Visit) -> Outcome:
    return _form(visit, {"name": visit.ask("name"), "framework": FRAMEWORKS[0]})


def _form(visit: Visit, typed_in: dict[str, str], problem: TidegateError | None = None) -> Show:
    context = {
        "typed": {name: typed_in.get(name, "") for name in FIELDS},
        "frameworks": FRAMEWORKS,
        "largest": visit.node.settings.upload_max_bytes,
    }
    return Show("publish.html", "Publish version", context, problem=problem)


def _request(visit: Visit, file_name: str, upload: str) -> PublishArtifact:
    manifest = {"framework": visit.text("framework")}
    manifest |= {key: visit.text(key) for key in ("license", "description") if visit.text(key)}
    return typed(
        {
            "name": visit.text("name"),
            "version": visit.text("version"),
            "kind": "model",
            "files": [{"name": file_name, "upload": upload}],
            "manifest": manifest,
            "target_hardware": visit.text("target_hardware"),
        },
        PublishArtifact,
    )


def _file(visit: Visit) -> tuple[UploadFile, str]:
    file = visit.form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        raise wrong("file", "must be chosen")
    # Some browsers send the whole path.
    return file, file.filename.replace("\\", "/").rpartition("/")[2]


def _pieces(file: UploadFile) -> Iterator[bytes]:
    while piece := file.file.read(_PIECE):
        yield piece


def publish(visit: Visit) -> Outcome:
    """Everything but the bytes is checked first, so that a mistake does not cost an upload."""
    typed_in = {name: visit.text(name) for name in FIELDS}
    try:
        file, file_name = _file(visit)
        check_new(typed_in["name"], typed_in["version"], "model", [file_name], DESCRIPTOR_FILE)
        _request(visit, file_name, _NOT_YET)
        length = file.size or 0
        upload = uploads.upload_stream(visit.scope, visit.node, file_name, length, _pieces(file))
        try:
            artifact = artifacts.publish(visit.scope, visit.node, _request(visit, file_name, upload.id))
        except TidegateError:
            uploads.discard(visit.scope, visit.node, upload.id)
            raise
    except Refused as error:
        return _form(visit, typed_in, error)
    return Go(f"/artifacts/{quote(artifact.name)}/{quote(artifact.version)}", "published")


PAGES = (
    Page("GET", "/publish", "artifacts.publish", shown, nav="artifacts"),
    Page("POST", "/publish", "artifacts.publish", publish, nav="artifacts", uploads=True),
)
