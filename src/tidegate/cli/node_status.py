"""`tidegate node`: the node that one is signed in to, as it says itself."""

from __future__ import annotations

import sys

import click

from tidegate.cli.answers import NodeStatus
from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.commands import Noun, gives
from tidegate.wire.operator.trust import WarningInfo


@click.group("node", cls=Noun)
def commands() -> None:
    """The node that one is signed in to; on its own machine there are also init, serve and doctor."""


@commands.command()
@pass_cli
@gives(NodeStatus, "node status")
def status(cli: Cli) -> None:
    """Whether the node is ready, and what needs a person; exit 5 where it is not ready."""
    ready = cli.client.node.ready()
    of_disk = tuple(WarningInfo(kind, kind.replace("-", " ")) for kind in ready.warnings)
    found = NodeStatus(
        url=cli.client.url, ready=ready.ready, checks=ready.checks,
        warnings=(*of_disk, *cli.client.node.warnings().items),
    )  # fmt: skip

    def human() -> None:
        cli.out.fields({"url": found.url, "ready": found.ready, "checks": found.checks})
        for warning in found.warnings:
            cli.out.say(f"warning: {warning.text}")

    cli.out.data(found, human)


@commands.command()
@click.option("--channel", is_flag=True, help="Of the device channel instead of the operator API.")
@pass_cli
@gives(dict, "node openapi")
def openapi(cli: Cli, channel: bool) -> None:
    """Print the OpenAPI document of this node, as JSON in any case."""
    found = cli.client.node.device_openapi() if channel else cli.client.node.openapi()
    for piece in found:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
