"""`tidegate artifact`: upload, publish, list, show, withdraw."""

from __future__ import annotations

import hashlib
import io
import shlex
from pathlib import Path
from typing import Any, BinaryIO, Literal

import click
import msgspec

from tidegate.cli import publisher
from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.commands import Noun, gives
from tidegate.cli.names import ARTIFACT, VERSION
from tidegate.cli.options import Slice, paged
from tidegate.cli.output import size
from tidegate.cli.sbom import sbom
from tidegate.client.upload import BrokenOff
from tidegate.errors import Conflict, Forbidden, Invalid, NotFound
from tidegate.problems import invalid_from
from tidegate.trust.tuf.repository import Change, TargetEntry
from tidegate.wire import descriptor as wire
from tidegate.wire.descriptor import Descriptor, ModelManifest, PayloadFile
from tidegate.wire.operator.artifacts import ArtifactDetail, ArtifactSummary, NewFile, UploadState
from tidegate.wire.operator.common import Page

_SIGN = click.option(
    "--sign", "sign", type=click.Path(dir_okay=False, path_type=Path), help="Publisher key (PEM) on this machine."
)
_ROOT = click.option(
    "--root", type=click.Path(dir_okay=False, path_type=Path), help="Trusted root, needed the first time with --sign."
)


@click.group("artifact", cls=Noun)
def commands() -> None:
    """Artifacts: published, immutable versions."""


commands.add_command(sbom)


@commands.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--upload", "upload_id", default="", help="Go on with an upload that broke off.")
@pass_cli
@gives(UploadState, "artifact upload weights.onnx")
def upload(cli: Cli, file: Path, upload_id: str) -> None:
    """Send a file without publishing it; shows the id that `publish --upload` takes."""
    with _opened(file) as stream:
        cli.out.data(_send(cli, stream, file.name, upload_id))


@commands.command("upload-show")
@click.argument("upload_id")
@pass_cli
@gives(UploadState, "artifact upload-show 0f3c2b9d8a7e6f5d4c3b2a1908f7e6d5")
def upload_show(cli: Cli, upload_id: str) -> None:
    """How much of an upload has arrived; its SHA-256 once it is whole."""
    cli.out.data(cli.client.uploads.get(upload_id))


@commands.command("upload-discard")
@click.argument("upload_id")
@pass_cli
@gives(None, "artifact upload-discard 0f3c2b9d8a7e6f5d4c3b2a1908f7e6d5")
def upload_discard(cli: Cli, upload_id: str) -> None:
    """Forget an upload that nothing was published from, and give its room back."""
    cli.client.uploads.discard(upload_id)
    cli.out.say(f"upload {upload_id} is discarded")


@commands.command()
@click.argument("name", type=ARTIFACT)
@click.argument("version")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--kind", type=click.Choice(["model", "config"]), default="model", show_default=True,
              help="What the file is.")  # fmt: skip
@click.option("--framework", default="", help="Of a model: onnx, tensorrt, tflite, pytorch, gguf, …")
@click.option("--license", "license_", default="", help="Of a model.")
@click.option("--description", default="", help="Of a model: a few words for people.")
@click.option(
    "--manifest", type=click.Path(dir_okay=False, path_type=Path), help="The whole manifest as a JSON file instead."
)
@click.option("--destination", default="", help="Of a config: where its file goes on a device, an absolute path.")
@click.option("--mode", default="", help="Of a config with a destination: octal, such as 0640.")
@click.option("--reload-unit", default="", help="Of a config: the systemd unit that reads it anew.")
@click.option("--reload-program", default="", help="Of a config: a program with its arguments that does so.")
@click.option("--target-hardware", default="", help='Selector, such as: arch == "arm64" and ram_bytes >= 8GiB')
@click.option("--requires", multiple=True, help="Another artifact that must run first: name or name:range.")
@click.option("--upload", "upload_id", default="", help="Go on with an upload that broke off.")
@_SIGN
@_ROOT
@pass_cli
@gives(ArtifactSummary, "artifact publish detector 1.4.0 weights.onnx --framework onnx")
def publish(
    cli: Cli, name: str, version: str, file: Path, kind: Literal["model", "config"], framework: str, license_: str,
    description: str, manifest: Path | None, destination: str, mode: str, reload_unit: str, reload_program: str,
    target_hardware: str, requires: tuple[str, ...], upload_id: str, sign: Path | None, root: Path | None,
) -> None:  # fmt: skip
    """Publish FILE as NAME VERSION: one signed, immutable version."""
    descriptor = _descriptor(
        fleet=cli.fleet, name=name, version=version, kind=kind, target_hardware=target_hardware,
        requires=[dict(zip(("artifact", "versions"), one.split(":", 1), strict=False)) for one in requires],
        **_described(kind, manifest, (framework, license_, description),
                     (destination, mode, reload_unit, reload_program)),
    )  # fmt: skip
    key = publisher.load_key(sign) if sign is not None else None
    view = publisher.open_view(cli, root) if key is not None else None
    with _opened(file) as stream:
        _unpublished(cli, name, version)
        local = hashlib.file_digest(stream, "sha256").hexdigest()
        sent = _send(cli, stream, file.name, upload_id)
    if sent.sha256 != local:
        raise Conflict(f"cannot publish {file}: the node stored other bytes than this file has; did it change?")
    signed = None
    if key is not None and view is not None:
        whole = msgspec.structs.replace(descriptor, files=(PayloadFile(file.name, local, sent.length),))
        signed = send_signed(cli, publisher.sign_change(view, key, Change(add=_targets(whole))))
    answer = cli.client.artifacts.publish(
        name=name, version=version, kind=kind, files=[NewFile(name=file.name, upload=sent.id)], signed=signed,
        manifest=descriptor.manifest, config=descriptor.config, target_hardware=target_hardware,
        requires=descriptor.requires,
    )  # fmt: skip
    cli.out.data(answer, f"published {name} {version} ({size(answer.size_bytes)})")


@commands.command("list")
@click.option("--name", default="", type=ARTIFACT, help="Only versions of this artifact.")
@click.option("--search", default="", help="Part of the name.")
@click.option("--state", type=click.Choice(["available", "withdrawn"]), help="Left out: both.")
@paged
@pass_cli
@gives(Page[ArtifactSummary], "artifact list --name detector")
def list_(cli: Cli, name: str, search: str, state: Literal["available", "withdrawn"] | None, part: Slice) -> None:
    """Published versions, newest first."""
    answer = part.of(cli.client.artifacts.list(name=name, search=search, state=state or ""))
    narrowed = name or search or state or part.cursor
    first = "" if narrowed else "tidegate artifact publish NAME VERSION FILE --framework NAME"
    columns = ("name", "version", "kind", "size_bytes", "published_at", "published_by", "withdrawn_at")
    cli.out.page(answer, columns, first=first)


@commands.command()
@click.argument("name", type=ARTIFACT)
@click.argument("version", type=VERSION)
@pass_cli
@gives(ArtifactDetail, "artifact show detector 1.4.0")
def show(cli: Cli, name: str, version: str) -> None:
    """One version: its files, its manifest, where it runs."""
    answer = cli.client.artifacts.get(name, version)

    def human() -> None:
        beside = ("manifest", "config", "target_hardware", "requires", "running_count")
        told = {**msgspec.structs.asdict(answer.artifact), **{name: getattr(answer, name) for name in beside}}
        cli.out.fields({name: value for name, value in told.items() if value not in (None, "", ())})
        cli.out.table(answer.files, ("name", "length", "sha256"))

    cli.out.data(answer, human)


@commands.command()
@click.argument("name", type=ARTIFACT)
@click.argument("version", type=VERSION)
@click.option("--reason", required=True, help="Why; kept for ever and shown everywhere.")
@_SIGN
@_ROOT
@pass_cli
@gives(ArtifactSummary, "artifact withdraw detector 1.4.0 --reason 'false alarms at night'")
def withdraw(cli: Cli, name: str, version: str, reason: str, sign: Path | None, root: Path | None) -> None:
    """Take a version out of the signed metadata, for good; devices that run it keep running it."""
    signed = None
    if sign is not None:
        paths = cli.client.artifacts.get(name, version).target_paths
        # The node names what to remove; only what belongs to this version is ever taken out.
        prefix = wire.target_path(cli.fleet, name, version, "")
        if not paths or not all(one.startswith(prefix) for one in paths):
            raise Conflict(f"cannot sign: the node names targets that do not belong to {name} {version}")
        key, view = publisher.load_key(sign), publisher.open_view(cli, root)
        signed = send_signed(cli, publisher.sign_change(view, key, Change(remove=paths)))
    answer = cli.client.artifacts.withdraw(name, version, reason=reason, signed=signed)
    cli.out.data(answer, f"withdrew {name} {version}")


def _described(
    kind: str, manifest: Path | None, model: tuple[str, str, str], config: tuple[str, str, str, str]
) -> dict[str, Any]:
    """What goes with this kind, and with no other."""
    if kind == "config":
        if manifest or any(model):
            raise click.UsageError("--manifest, --framework, --license and --description are for a model only")
        return {"config": _config(*config)}
    if any(config):
        raise click.UsageError("--destination, --mode and --reload-… are for --kind config only")
    return {"manifest": _manifest(manifest, *model)}


def _manifest(file: Path | None, framework: str, license_: str, description: str) -> dict[str, Any]:
    if file is None:
        if not framework:
            raise click.UsageError("give --framework, or --manifest with the whole manifest")
        given = {"framework": framework, "license": license_, "description": description}
        return {key: value for key, value in given.items() if value}
    try:
        data: dict[str, Any] = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        msgspec.convert(data, ModelManifest)
    except OSError as error:
        raise Invalid(f"cannot read {file}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot use the manifest {file}: {error}") from error
    return data


def _config(destination: str, mode: str, unit: str, program: str) -> dict[str, Any]:
    if unit and program:
        raise click.UsageError("give --reload-unit or --reload-program, not both")
    given: dict[str, Any] = {"destination": destination, "mode": mode}
    if unit:
        given["reload"] = {"kind": "unit", "unit": unit}
    if program:
        try:
            given["reload"] = {"kind": "program", "argv": shlex.split(program)}
        except ValueError as error:
            raise click.UsageError(f"cannot read --reload-program: {error}") from error
    return {key: value for key, value in given.items() if value}


def _descriptor(**fields: Any) -> Descriptor:
    """As the node will write it, so that what is signed here is what it stores; its file is added once it is sent."""
    try:
        placeholder = [{"name": "payload", "sha256": "0" * 64, "length": 0}]
        return msgspec.convert({**fields, "files": placeholder}, Descriptor)
    except msgspec.ValidationError as error:
        raise invalid_from(error, "version") from error


def _targets(descriptor: Descriptor) -> tuple[TargetEntry, ...]:
    return tuple(
        TargetEntry(
            wire.target_path(descriptor.fleet, descriptor.name, descriptor.version, file.name), file.length, file.sha256
        )
        for file in wire.signed_files(descriptor, wire.encode(descriptor))
    )


# -- sending ----------------------------------------------------------------------------------------------------------


def _unpublished(cli: Cli, name: str, version: str) -> None:
    """Asked before a file of many gigabytes is sent for nothing; the node decides again when it publishes.

    Raises:
        Conflict: it is published.
    """
    try:
        cli.client.artifacts.get(name, version)
    except (NotFound, Forbidden, Invalid):
        return
    raise Conflict(f"cannot publish {name} {version}: it is published already, and a version never changes")


def _opened(file: Path) -> io.BufferedReader:
    try:
        return file.open("rb")
    except OSError as error:
        raise Invalid(f"cannot read {file}: {error.strerror}") from error


def send_signed(cli: Cli, data: bytes) -> str:
    """Hand over signed documents; gives the upload's id."""
    return _send(cli, io.BytesIO(data), "signed.json", "").id


def _send(cli: Cli, stream: BinaryIO, file_name: str, upload_id: str) -> UploadState:
    """Send what the node does not have yet, with a bar."""
    shown = 0
    with cli.out.progress(file_name, stream.seek(0, io.SEEK_END)) as advance:

        def told(received: int, _length: int) -> None:
            nonlocal shown
            advance(received - shown)
            shown = received

        try:
            return cli.client.upload(stream, name=file_name, resume=upload_id, progress=told)
        except BrokenOff as error:
            cli.out.say(f"go on later with --upload {error.upload_id}")
            raise
