"""`tidegate running`: what runs where, and its export."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tidegate.cli.answers import FileWritten
from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.output import gives
from tidegate.errors import Unavailable
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.runs import RunsDevice, RunsVersion

_SHOW = click.Choice(["all", "drifted", "withdrawn", "unreported"])


def _narrowed(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--show", type=_SHOW, default="all", show_default=True, help="Which devices."),
        click.option("--selector", default="", help='Only devices that match, such as: arch == "arm64"'),
        click.option("--group", default="", help="Only devices of this group."),
        click.option("--version", default="", help="Only where this version runs."),
        click.option("--artifact", default="", help="Only this artifact."),
    ):
        function = option(function)
    return function


@click.group("running")
def commands() -> None:
    """What runs where, as devices last reported."""


@commands.command()
@_narrowed
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--cursor", default="")
@pass_cli
@gives(Page[RunsVersion])
def versions(cli: Cli, /, **asked: Any) -> None:
    """How many devices run each version."""
    answer = cli.client.call("GET", "/v1/running", query=asked)
    cli.out.page(answer, ("artifact", "version", "devices", "drifted", "withdrawn", "published"))
    narrowed = {name: asked[name] for name in ("artifact", "group", "selector")}
    whole = cli.client.call("GET", "/v1/running/totals", query=narrowed)
    cli.out.say(
        f"of {whole['devices']} devices {whole['unreported']} have reported none; {whole['drifted']} drifted,"
        f" {whole['withdrawn']} run a withdrawn version"
    )


@commands.command()
@_narrowed
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--cursor", default="")
@pass_cli
@gives(Page[RunsDevice])
def devices(cli: Cli, /, **asked: Any) -> None:
    """What runs where, device by device."""
    answer = cli.client.call("GET", "/v1/running/devices", query=asked)
    cli.out.page(answer, ("device", "artifact", "running_version", "should_version", "withdrawn", "drift_since",
                          "reported_at"))  # fmt: skip


@commands.command()
@_narrowed
@click.option("--format", "format_", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="A file; else standard output.")
@pass_cli
@gives(FileWritten)
def export(cli: Cli, /, format_: str, output: Path | None, **asked: Any) -> None:
    """Everything, as CSV or JSON lines, in a stable order."""
    pieces = cli.client.download("/v1/running/export", {**asked, "format": format_})
    if output is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    # Whole or not at all: a file that broke off would look like a smaller fleet.
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    count = 0
    try:
        with part.open("xb") as file, cli.out.progress(output.name, None) as advance:
            for piece in pieces:
                count += file.write(piece)
                advance(len(piece))
        part.replace(output)
    except OSError as error:
        raise Unavailable(f"cannot write {output}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    cli.out.data({"file": str(output), "size_bytes": count}, f"wrote {output} ({count} bytes)")
