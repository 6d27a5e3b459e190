"""`tidegate artifact sbom`: attach, show, components, download, remove."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import click

from tidegate.cli.answers import ArtifactVersion, FileWritten
from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.commands import Noun, gives
from tidegate.cli.names import ARTIFACT, VERSION
from tidegate.cli.options import Slice, paged
from tidegate.cli.output import size
from tidegate.errors import Conflict, Invalid, NotFound, Unavailable
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.sboms import ArtifactSbom, ComponentInfo, SbomInfo

_POLL_SECONDS = 0.5
_ENDED = ("sha256", "state", "format", "spec_version", "received_at", "ended_at", "ended_by", "ended_reason")
_SHOWN = ("state", "format", "spec_version", "component_count", "size_bytes", "sha256", "received_at", "received_by",
          "checked_at")  # fmt: skip


@click.group("sbom", cls=Noun)
def sbom() -> None:
    """The SBOM of a version: CycloneDX or SPDX, as JSON."""


@sbom.command()
@click.argument("name", type=ARTIFACT)
@click.argument("version", type=VERSION)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the verdict.")
@click.option("--timeout", default=300, show_default=True, type=click.IntRange(1), help="Seconds to wait.")
@pass_cli
@gives(SbomInfo, "artifact sbom attach detector 1.4.0 bom.json")
def attach(cli: Cli, name: str, version: str, file: Path, wait: bool, timeout: int) -> None:
    """Attach FILE to NAME VERSION. One that it has is replaced and kept in its history."""
    try:
        sent = cli.client.upload(file)
    except OSError as error:
        raise Invalid(f"cannot read {file}: {error.strerror}") from error
    made = cli.client.sboms.attach(name, version, upload=sent.id)
    found = _verdict(cli, name, version, made, timeout) if wait else made
    cli.out.data(found, _human(cli, found))
    if found.state == "invalid":
        raise Invalid(f"cannot use the SBOM of {name} {version}: it is invalid; mend it and attach it again")


@sbom.command()
@click.argument("name", type=ARTIFACT)
@click.argument("version", type=VERSION)
@pass_cli
@gives(ArtifactSbom, "artifact sbom show detector 1.4.0")
def show(cli: Cli, name: str, version: str) -> None:
    """The SBOM that the version has, what is wrong with it, and those before it."""
    answer = cli.client.sboms.get(name, version)

    def human() -> None:
        if answer.current is None:
            cli.out.say(f"{name} {version} has no SBOM")
        else:
            _human(cli, answer.current)()
        if answer.ended:
            cli.out.table(answer.ended, _ENDED)

    cli.out.data(answer, human)


@sbom.command()
@click.argument("name", type=ARTIFACT)
@click.argument("version", type=VERSION)
@click.option("--search", default="", help="Part of a component's name or purl.")
@paged
@pass_cli
@gives(Page[ComponentInfo], "artifact sbom components detector 1.4.0 --search openssl")
def components(cli: Cli, name: str, version: str, search: str, part: Slice) -> None:
    """The components that a valid SBOM lists."""
    answer = part.of(cli.client.sboms.components(name, version, search=search))
    cli.out.page(answer, ("name", "version", "license", "purl"))


@sbom.command()
@click.argument("name", type=ARTIFACT)
@click.argument("version", type=VERSION)
@click.option(
    "--output", "-o", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Where to write it."
)
@click.option("--sha256", default="", help="One that the version had before; else the one it has.")
@pass_cli
@gives(FileWritten, "artifact sbom download detector 1.4.0 --output bom.json")
def download(cli: Cli, name: str, version: str, output: Path, sha256: str) -> None:
    """The original bytes, checked against their digest."""
    if not sha256:
        current = cli.client.sboms.get(name, version).current
        if current is None:
            raise NotFound(f"cannot find an SBOM of {name} {version}: it has none")
        sha256 = current.sha256
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    digest, count = hashlib.sha256(), 0
    try:
        with part.open("xb") as file:
            for piece in cli.client.sboms.document(name, version, sha256):
                digest.update(piece)
                count += file.write(piece)
        if digest.hexdigest() != sha256:
            raise Conflict("cannot use what was received: it has another digest than was asked for")
        part.replace(output)
    except OSError as error:
        raise Unavailable(f"cannot write {output}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    cli.out.data(FileWritten(str(output), sha256, count), f"wrote {output} ({size(count)})")


@sbom.command()
@click.argument("name", type=ARTIFACT)
@click.argument("version", type=VERSION)
@click.option("--reason", required=True, help="Why; kept in the audit log.")
@pass_cli
@gives(ArtifactVersion, "artifact sbom remove detector 1.4.0 --reason superseded")
def remove(cli: Cli, name: str, version: str, reason: str) -> None:
    """Take the SBOM away; it stays in the version's history."""
    cli.client.sboms.remove(name, version, reason=reason)
    cli.out.data(ArtifactVersion(name, version), f"{name} {version} has no SBOM any more")


def _verdict(cli: Cli, name: str, version: str, made: SbomInfo, timeout: int) -> SbomInfo:
    """The SBOM once it is checked. Raises `Unavailable` when that takes longer, `Conflict` when another came."""
    ends = time.monotonic() + timeout
    while True:
        current = cli.client.sboms.get(name, version).current
        if current is None or current.id != made.id:
            raise Conflict("cannot wait for the verdict: the SBOM was replaced or removed meanwhile")
        if current.state != "received":
            return current
        if time.monotonic() >= ends:
            raise Unavailable(
                f"cannot wait longer than {timeout} s for the verdict; it is attached and will be checked"
            )
        cli.client.pause(_POLL_SECONDS)


def _human(cli: Cli, found: SbomInfo) -> Callable[[], None]:
    def human() -> None:
        cli.out.fields({key: getattr(found, key) for key in _SHOWN})
        if found.licenses:
            rows = [{"license": one.license or "(none named)", "components": one.components} for one in found.licenses]
            cli.out.table(rows, ("license", "components"))
        if found.reasons:
            wrong = [{"pointer": one.pointer or "(whole document)", "rule": one.rule} for one in found.reasons]
            cli.out.table(wrong, ("pointer", "rule"))

    return human
