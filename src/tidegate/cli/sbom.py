"""`tidegate artifact sbom`: attach, show, components, download, remove."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tidegate.cli.answers import ArtifactVersion, FileWritten
from tidegate.cli.client import Cli, pass_cli, quoted
from tidegate.cli.names import ARTIFACT, VERSION
from tidegate.cli.output import gives
from tidegate.errors import Conflict, Invalid, NotFound, Unavailable
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.sboms import ArtifactSbom, ComponentInfo, SbomInfo

_POLL_SECONDS = 0.5
_ENDED = ("sha256", "state", "format", "spec_version", "received_at", "ended_at", "ended_by", "ended_reason")
_SHOWN = ("state", "format", "spec_version", "component_count", "size_bytes", "sha256", "received_at", "received_by",
          "checked_at")  # fmt: skip


@click.group("sbom")
def sbom() -> None:
    """The SBOM of a version: CycloneDX or SPDX, as JSON."""


def _path(name: str, version: str) -> str:
    return f"/v1/artifacts/{quoted(name)}/{quoted(version)}/sbom"


@sbom.command()
@click.argument("name", type=ARTIFACT)
@click.argument("version", type=VERSION)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the verdict.")
@click.option("--timeout", default=300, show_default=True, type=click.IntRange(1), help="Seconds to wait.")
@pass_cli
@gives(SbomInfo)
def attach(cli: Cli, name: str, version: str, file: Path, wait: bool, timeout: int) -> None:
    """Attach FILE to NAME VERSION. One that it has is replaced and kept in its history."""
    try:
        sent = cli.client.upload(file)
    except OSError as error:
        raise Invalid(f"cannot read {file}: {error.strerror}") from error
    made = cli.client.call("POST", _path(name, version), body={"upload": sent.id}, creates=True)
    found = _verdict(cli, _path(name, version), made, timeout) if wait else made
    cli.out.data(found, _human(cli, found))
    if found["state"] == "invalid":
        raise Invalid(f"cannot use the SBOM of {name} {version}: it is invalid; mend it and attach it again")


@sbom.command()
@click.argument("name", type=ARTIFACT)
@click.argument("version", type=VERSION)
@pass_cli
@gives(ArtifactSbom)
def show(cli: Cli, name: str, version: str) -> None:
    """The SBOM that the version has, what is wrong with it, and those before it."""
    answer = cli.client.call("GET", _path(name, version))

    def human() -> None:
        if answer["current"] is None:
            cli.out.say(f"{name} {version} has no SBOM")
        else:
            _human(cli, answer["current"])()
        if answer["ended"]:
            cli.out.table(answer["ended"], _ENDED)

    cli.out.data(answer, human)


@sbom.command()
@click.argument("name", type=ARTIFACT)
@click.argument("version", type=VERSION)
@click.option("--search", default="", help="Part of a component's name or purl.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--cursor", default="")
@pass_cli
@gives(Page[ComponentInfo])
def components(cli: Cli, name: str, version: str, search: str, limit: int, cursor: str) -> None:
    """The components that a valid SBOM lists."""
    query = {"search": search, "limit": limit, "cursor": cursor}
    answer = cli.client.call("GET", f"{_path(name, version)}/components", query=query)
    cli.out.page(answer, ("name", "version", "license", "purl"))


@sbom.command()
@click.argument("name", type=ARTIFACT)
@click.argument("version", type=VERSION)
@click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Where to write it.")
@click.option("--sha256", default="", help="One that the version had before; else the one it has.")
@pass_cli
@gives(FileWritten)
def download(cli: Cli, name: str, version: str, output: Path, sha256: str) -> None:
    """The original bytes, checked against their digest."""
    if not sha256:
        current = cli.client.call("GET", _path(name, version))["current"]
        if current is None:
            raise NotFound(f"cannot find an SBOM of {name} {version}: it has none")
        sha256 = current["sha256"]
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    digest, count = hashlib.sha256(), 0
    try:
        with part.open("xb") as file:
            for piece in cli.client.download(f"{_path(name, version)}/documents/{quoted(sha256)}"):
                digest.update(piece)
                count += file.write(piece)
        if digest.hexdigest() != sha256:
            raise Conflict("cannot use what was received: it has another digest than was asked for")
        part.replace(output)
    except OSError as error:
        raise Unavailable(f"cannot write {output}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    cli.out.data({"file": str(output), "sha256": sha256, "size_bytes": count}, f"wrote {output} ({count} bytes)")


@sbom.command()
@click.argument("name", type=ARTIFACT)
@click.argument("version", type=VERSION)
@click.option("--reason", required=True, help="Why; kept in the audit log.")
@pass_cli
@gives(ArtifactVersion)
def remove(cli: Cli, name: str, version: str, reason: str) -> None:
    """Take the SBOM away; it stays in the version's history."""
    cli.client.call("DELETE", _path(name, version), query={"reason": reason})
    cli.out.data({"name": name, "version": version}, f"{name} {version} has no SBOM any more")


def _verdict(cli: Cli, path: str, made: dict[str, Any], timeout: int) -> dict[str, Any]:
    """The SBOM once it is checked. Raises `Unavailable` when that takes longer, `Conflict` when another came."""
    ends = time.monotonic() + timeout
    while True:
        current: dict[str, Any] | None = cli.client.call("GET", path)["current"]
        if current is None or current["id"] != made["id"]:
            raise Conflict("cannot wait for the verdict: the SBOM was replaced or removed meanwhile")
        if current["state"] != "received":
            return current
        if time.monotonic() >= ends:
            raise Unavailable(
                f"cannot wait longer than {timeout} s for the verdict; it is attached and will be checked"
            )
        cli.client.pause(_POLL_SECONDS)


def _human(cli: Cli, found: dict[str, Any]) -> Callable[[], None]:
    def human() -> None:
        cli.out.fields({key: found[key] for key in _SHOWN})
        if found["licenses"]:
            cli.out.table([{**one, "license": one["license"] or "(none named)"} for one in found["licenses"]],
                          ("license", "components"))  # fmt: skip
        if found["reasons"]:
            cli.out.table([{**one, "pointer": one["pointer"] or "(whole document)"} for one in found["reasons"]],
                          ("pointer", "rule"))  # fmt: skip

    return human
