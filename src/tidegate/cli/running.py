"""`tidegate running`: what runs where, and its export."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from tidegate.cli.answers import FileWritten
from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.commands import Noun, gives
from tidegate.cli.names import ARTIFACT, GROUP
from tidegate.cli.options import Slice, paged
from tidegate.cli.output import counted, size
from tidegate.errors import Unavailable
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.runs import RunsDevice, RunsTotals, RunsVersion

_SHOW = click.Choice(["all", "drifted", "withdrawn", "unreported"])
COLUMNS = ("artifact", "running_version", "should_version", "withdrawn", "drift_since", "reported_at")


def _narrowed(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--show", type=_SHOW, default="all", show_default=True, help="Which devices."),
        click.option("--selector", default="", help='Only devices that match, such as: arch == "arm64"'),
        click.option("--group", default="", type=GROUP, help="Only devices of this group."),
        click.option("--version", default="", help="Only where this version runs."),
        click.option("--artifact", default="", type=ARTIFACT, help="Only this artifact."),
    ):
        function = option(function)
    return function


@click.group("running", cls=Noun)
def commands() -> None:
    """What runs where, as devices last reported."""


@commands.command()
@_narrowed
@paged
@pass_cli
@gives(Page[RunsVersion], "running versions --artifact detector")
def versions(cli: Cli, /, part: Slice, **asked: Any) -> None:
    """How many devices run each version."""
    answer = part.of(cli.client.running.versions(**asked))
    cli.out.page(answer, ("artifact", "version", "devices", "drifted", "withdrawn", "published"))
    if not cli.out.as_json:
        whole = cli.client.running.totals(**{name: asked[name] for name in ("artifact", "group", "selector")})
        cli.out.say(
            f"of {counted(whole.devices)} {whole.unreported:,} have reported none; {whole.drifted:,} drifted,"
            f" {whole.withdrawn:,} run a withdrawn version"
        )


@commands.command()
@_narrowed
@pass_cli
@gives(RunsTotals, "running totals --group lab")
def totals(cli: Cli, /, **asked: Any) -> None:
    """Of how many devices what they run is known, and how many of them drifted."""
    cli.out.data(cli.client.running.totals(**asked))


@commands.command()
@_narrowed
@paged
@pass_cli
@gives(Page[RunsDevice], "running devices --show drifted")
def devices(cli: Cli, /, part: Slice, **asked: Any) -> None:
    """What runs where, device by device."""
    cli.out.page(part.of(cli.client.running.devices(**asked)), ("device", *COLUMNS))


@commands.command()
@_narrowed
@click.option("--format", "format_", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True,
              help="Of the file.")  # fmt: skip
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path),
              help="A file; else standard output.")  # fmt: skip
@pass_cli
@gives(FileWritten, "running export --format jsonl --output fleet.jsonl")
def export(cli: Cli, /, format_: Literal["csv", "jsonl"], output: Path | None, **asked: Any) -> None:
    """Everything, as CSV or JSON lines, in a stable order."""
    pieces = cli.client.running.export(**asked, format=format_)
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
    cli.out.data(FileWritten(str(output), size_bytes=count), f"wrote {output} ({size(count)})")
