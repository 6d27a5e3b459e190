"""Publish: a file and what is said of it in one form, one act; a form for each kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from starlette.datastructures import UploadFile

from tidegate.control.console.views import Chip
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit, typed, wrong
from tidegate.control.domain.artifacts import KINDS, check_new
from tidegate.control.services import artifacts, uploads
from tidegate.errors import FieldError, Invalid, Refused, TidegateError
from tidegate.wire.config import CONFIG_MAX_BYTES
from tidegate.wire.descriptor import DESCRIPTOR_FILE, PayloadFile
from tidegate.wire.operator.artifacts import PublishArtifact

FRAMEWORKS = ("onnx", "tensorrt", "tflite", "pytorch", "gguf")
FIELDS = ("name", "version", "framework", "license", "description", "target_hardware",
          "destination", "mode", "reload_unit", "reload_program")  # fmt: skip
#: What a rule of the version is about, as the form names it.
_AT_FIELD = {
    "/config/destination": "/destination",
    "/config/mode": "/mode",
    "/config/reload": "/reload_unit",
    "/config/reload/unit": "/reload_unit",
    "/config/reload/argv": "/reload_program",
    "/config/reload/argv/0": "/reload_program",
    "/files/0/upload": "/file",
    "/files/0/name": "/file",
}
_PIECE = 1 << 20
#: Stand for the upload and its hash while everything else of the form is checked, before a byte is stored.
_NOT_YET, _NOT_HASHED = "0" * 32, "0" * 64


def shown(visit: Visit) -> Outcome:
    kind = visit.ask("kind") if visit.ask("kind") in KINDS else KINDS[0]
    return _form(visit, kind, {"name": visit.ask("name"), "framework": FRAMEWORKS[0]})


def _form(visit: Visit, kind: str, typed_in: dict[str, str], problem: TidegateError | None = None) -> Show:
    chips = [Chip(label, f"/publish?kind={label}", label == kind) for label in KINDS]
    context = {
        "typed": {name: typed_in.get(name, "") for name in FIELDS},
        "kind": kind,
        "kinds": chips,
        "frameworks": FRAMEWORKS,
        "largest": visit.node.settings.upload_max_bytes if kind == "model" else CONFIG_MAX_BYTES,
    }
    return Show("publish.html", "Publish version", context, problem=problem)


def _request(visit: Visit, kind: str, file_name: str, upload: str) -> PublishArtifact:
    return typed(
        {
            "name": visit.text("name"),
            "version": visit.text("version"),
            "kind": kind,
            "files": [{"name": file_name, "upload": upload}],
            "target_hardware": visit.text("target_hardware"),
            **({"manifest": _manifest(visit)} if kind == "model" else {"config": _config(visit)}),
        },
        PublishArtifact,
    )


def _manifest(visit: Visit) -> dict[str, str]:
    return {"framework": visit.text("framework")} | {
        key: visit.text(key) for key in ("license", "description") if visit.text(key)
    }


def _config(visit: Visit) -> dict[str, Any]:
    unit, program = visit.text("reload_unit"), visit.text("reload_program")
    if unit and program:
        raise wrong("reload_program", "must be empty where a unit is given")
    config: dict[str, Any] = {"destination": visit.text("destination"), "mode": visit.text("mode")}
    if unit:
        config["reload"] = {"kind": "unit", "unit": unit}
    if program:
        config["reload"] = {"kind": "program", "argv": [line.strip() for line in program.splitlines() if line.strip()]}
    return config


def _check(visit: Visit, request: PublishArtifact, file_name: str, length: int) -> None:
    """Every rule of the version but those about its bytes. Raises `Invalid`, `TooLarge`."""
    check_new(request.name, request.version, request.kind, [file_name], DESCRIPTOR_FILE)
    file = PayloadFile(file_name, _NOT_HASHED, length)
    artifacts.checked_descriptor(artifacts.describe(visit.scope.fleet, request, (file,)))


def _at_fields(error: Refused) -> Refused:
    """The same, each rule at the field of the form that breaks it."""
    if not isinstance(error, Invalid):
        return error
    moved = (FieldError(_AT_FIELD.get(one.pointer, one.pointer), one.detail) for one in error.errors)
    return Invalid(error.detail, tuple(moved), type=error.type)


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
    kind = visit.text("kind") or KINDS[0]
    if kind not in KINDS:
        raise wrong("kind", f"must be one of {', '.join(KINDS)}")
    try:
        file, file_name = _file(visit)
        length = file.size or 0
        _check(visit, _request(visit, kind, file_name, _NOT_YET), file_name, length)
        upload = uploads.upload_stream(visit.scope, visit.node, file_name, length, _pieces(file))
        try:
            artifact = artifacts.publish(visit.scope, visit.node, _request(visit, kind, file_name, upload.id))
        except TidegateError:
            uploads.discard(visit.scope, visit.node, upload.id)
            raise
    except Refused as error:
        return _form(visit, kind, typed_in, _at_fields(error))
    return Go(f"/artifacts/{quote(artifact.name)}/{quote(artifact.version)}", "published")


PAGES = (
    Page("GET", "/publish", "artifacts.publish", shown, nav="artifacts"),
    Page("POST", "/publish", "artifacts.publish", publish, nav="artifacts", uploads=True),
)
