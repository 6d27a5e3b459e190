"""`tidegate artifact`: upload, publish, list, show, withdraw."""

from __future__ import annotations

import hashlib
import io
import shlex
from pathlib import Path
from typing import Any, BinaryIO

import click
import msgspec

from tidegate.cli import publisher
from tidegate.cli.client import Cli, pass_cli, quoted
from tidegate.cli.names import ARTIFACT, VERSION
from tidegate.cli.output import gives
from tidegate.cli.sbom import sbom
from tidegate.client.upload import BrokenOff
from tidegate.errors import Conflict, Forbidden, Invalid, NotFound
from tidegate.trust.tuf.repository import Change, TargetEntry
from tidegate.wire import descriptor as wire
from tidegate.wire.descriptor import Descriptor, ModelManifest, PayloadFile
from tidegate.wire.operator.artifacts import ArtifactDetail, ArtifactSummary, UploadState
from tidegate.wire.operator.common import Page

_SIGN = click.option(
    "--sign", "sign", type=click.Path(dir_okay=False, path_type=Path), help="Publisher key (PEM) on this machine."
)
_ROOT = click.option(
    "--root", type=click.Path(dir_okay=False, path_type=Path), help="Trusted root, needed the first time with --sign."
)


@click.group("artifact")
def commands() -> None:
    """Artifacts: published, immutable versions."""


commands.add_command(sbom)


@commands.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--upload", "upload_id", default="", help="Go on with an upload that broke off.")
@pass_cli
@gives(UploadState)
def upload(cli: Cli, file: Path, upload_id: str) -> None:
    """Send a file without publishing it; shows the id that `publish --upload` takes."""
    with _opened(file) as stream:
        cli.out.data(_send(cli, stream, file.name, upload_id))


@commands.command()
@click.argument("name")
@click.argument("version")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--kind", type=click.Choice(["model", "config"]), default="model", show_default=True)
@click.option("--framework", default="", help="Of a model: onnx, tensorrt, tflite, pytorch, gguf, …")
@click.option("--license", "license_", default="", help="Of a model.")
@click.option("--description", default="")
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
@gives(ArtifactSummary)
def publish(
    cli: Cli, name: str, version: str, file: Path, kind: str, framework: str, license_: str, description: str,
    manifest: Path | None, destination: str, mode: str, reload_unit: str, reload_program: str, target_hardware: str,
    requires: tuple[str, ...], upload_id: str, sign: Path | None, root: Path | None,
) -> None:  # fmt: skip
    """Publish FILE as NAME VERSION: one signed, immutable version."""
    options = _config(destination, mode, reload_unit, reload_program)
    if kind == "config":
        if manifest or framework or license_ or description:
            raise click.UsageError("--manifest, --framework, --license and --description are for a model only")
        described = {"config": options}
    else:
        if options:
            raise click.UsageError("--destination, --mode and --reload-… are for --kind config only")
        described = {"manifest": _manifest(manifest, framework, license_, description)}
    needs = [dict(zip(("artifact", "versions"), one.split(":", 1), strict=False)) for one in requires]
    body: dict[str, Any] = {"name": name, "version": version, "kind": kind, "target_hardware": target_hardware}
    body |= {"requires": needs, **described}
    key = publisher.load_key(sign) if sign is not None else None
    view = publisher.open_view(cli, root) if key is not None else None
    with _opened(file) as stream:
        _unpublished(cli, name, version)
        local = hashlib.file_digest(stream, "sha256").hexdigest()
        sent = _send(cli, stream, file.name, upload_id)
    if sent.sha256 != local:
        raise Conflict(f"cannot publish {file}: the node stored other bytes than this file has; did it change?")
    body["files"] = [{"name": file.name, "upload": sent.id}]
    if key is not None and view is not None:
        payload = PayloadFile(file.name, local, sent.length)
        change = Change(add=_targets(_descriptor(cli.fleet, body, payload)))
        body["signed"] = send_signed(cli, publisher.sign_change(view, key, change))
    answer = cli.client.call("POST", "/v1/artifacts", body=body, creates=True)
    cli.out.data(answer, f"published {name} {version} ({answer['size_bytes']} bytes)")


@commands.command("list")
@click.option("--name", default="", help="Only versions of this artifact.")
@click.option("--search", default="", help="Part of the name.")
@click.option("--state", type=click.Choice(["available", "withdrawn"]))
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--cursor", default="")
@pass_cli
@gives(Page[ArtifactSummary])
def list_(cli: Cli, name: str, search: str, state: str | None, limit: int, cursor: str) -> None:
    """Published versions, newest first."""
    query = {"name": name, "search": search, "state": state, "limit": limit, "cursor": cursor}
    answer = cli.client.call("GET", "/v1/artifacts", query=query)
    first = "" if name or search or state or cursor else "tidegate artifact publish NAME VERSION FILE --framework NAME"
    columns = ("name", "version", "kind", "size_bytes", "published_at", "published_by", "withdrawn_at")
    cli.out.page(answer, columns, first=first)


@commands.command()
@click.argument("name", type=ARTIFACT)
@click.argument("version", type=VERSION)
@pass_cli
@gives(ArtifactDetail)
def show(cli: Cli, name: str, version: str) -> None:
    """One version: its files, its manifest, where it runs."""
    answer = cli.client.call("GET", f"/v1/artifacts/{quoted(name)}/{quoted(version)}")

    def human() -> None:
        beside = ("manifest", "config", "target_hardware", "requires", "running_count")
        cli.out.fields({**answer["artifact"], **{name: answer[name] for name in beside}})
        cli.out.table(answer["files"], ("name", "length", "sha256"))

    cli.out.data(answer, human)


@commands.command()
@click.argument("name", type=ARTIFACT)
@click.argument("version", type=VERSION)
@click.option("--reason", required=True, help="Why; kept for ever and shown everywhere.")
@_SIGN
@_ROOT
@pass_cli
@gives(ArtifactSummary)
def withdraw(cli: Cli, name: str, version: str, reason: str, sign: Path | None, root: Path | None) -> None:
    """Take a version out of the signed metadata, for good; devices that run it keep running it."""
    path = f"/v1/artifacts/{quoted(name)}/{quoted(version)}"
    body: dict[str, Any] = {"reason": reason}
    if sign is not None:
        paths = tuple(cli.client.call("GET", path)["target_paths"])
        # The node names what to remove; only what belongs to this version is ever taken out.
        prefix = wire.target_path(cli.fleet, name, version, "")
        if not paths or not all(one.startswith(prefix) for one in paths):
            raise Conflict(f"cannot sign: the node names targets that do not belong to {name} {version}")
        key, view = publisher.load_key(sign), publisher.open_view(cli, root)
        body["signed"] = send_signed(cli, publisher.sign_change(view, key, Change(remove=paths)))
    answer = cli.client.call("POST", f"{path}/withdraw", body=body)
    cli.out.data(answer, f"withdrew {name} {version}")


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


def _descriptor(fleet: str, body: dict[str, Any], payload: PayloadFile) -> Descriptor:
    """As the node will write it, so that what is signed here is what it stores."""
    said = ("name", "version", "kind", "manifest", "config", "target_hardware", "requires")
    fields = {key: body[key] for key in said if key in body}
    try:
        return msgspec.convert({**fields, "fleet": fleet, "files": [msgspec.to_builtins(payload)]}, Descriptor)
    except msgspec.ValidationError as error:
        raise Invalid(f"cannot publish this version: {error}") from error


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
        cli.client.call("GET", f"/v1/artifacts/{quoted(name)}/{quoted(version)}")
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
