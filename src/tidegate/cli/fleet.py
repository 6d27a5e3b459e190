"""`tidegate fleet`: fleets of the node."""

from __future__ import annotations

import click

from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.output import gives
from tidegate.wire.operator.fleets import FleetInfo, Fleets


@click.group("fleet")
def commands() -> None:
    """Fleets: tenants of one node, each with its own keys, repository and audit chain."""


@commands.command("list")
@pass_cli
@gives(Fleets)
def list_(cli: Cli) -> None:
    """The fleets that one has a role in; --fleet of the other commands names one of them."""
    cli.out.page(cli.client.call("GET", "/v1/fleets"), ("name", "devices", "interval_seconds", "frozen"))


@commands.command()
@click.argument("name")
@click.option(
    "--interval-seconds", type=click.IntRange(1, 3600), help="How often its devices report; else as the node."
)
@pass_cli
@gives(FleetInfo)
def create(cli: Cli, name: str, interval_seconds: int | None) -> None:
    """Create a fleet with a trust domain of its own. It stays: a fleet is never renamed or deleted."""
    body = {"name": name, "interval_seconds": interval_seconds}
    cli.out.data(cli.client.call("POST", "/v1/fleets", body=body, creates=True))
    cli.out.say(
        "This is a convenience trust domain: its root and targets keys lie in keys/offline/"
        f"{name} on the node. Move them away in production."
    )
