"""`tidegate settings`: what a fleet sets for itself, and the node's settings in force."""

from __future__ import annotations

import json
from typing import Any

import click
import msgspec

from tidegate.cli.client import Cli, pass_cli, read_text
from tidegate.cli.commands import Noun, gives
from tidegate.errors import Invalid
from tidegate.wire.operator.settings import FleetSettings, NodeSettings


@click.group("settings", cls=Noun)
def commands() -> None:
    """What a fleet sets for itself, and the node's settings in force."""


@commands.command()
@pass_cli
@gives(FleetSettings, "settings show")
def show(cli: Cli) -> None:
    """What the fleet has set."""
    cli.out.data(cli.client.settings.get())


@commands.command()
@pass_cli
@gives(NodeSettings, "settings node")
def node(cli: Cli) -> None:
    """The node's settings in force, and which of them its settings file says."""
    cli.out.page(cli.client.settings.node(), ("name", "value", "given", "meaning"))


@commands.command("set")
@click.option("--interval-seconds", type=click.IntRange(1, 3600), help="How often the fleet's devices report.")
@click.option("--four-eyes/--no-four-eyes", default=None, help="Approve and resume need another person.")
@click.option("--strategy-file", default="", help="JSON file with the strategy of rollouts that name none.")
@click.option("--no-strategy", is_flag=True, help="Rollouts that name no strategy have one wave to all.")
@click.option("--device-events-days", type=click.IntRange(1, 3650), help="How long the history of devices is kept.")
@click.option("--node-device-events-days", is_flag=True, help="The history of devices is kept as the node says.")
@pass_cli
@gives(FleetSettings, "settings set --interval-seconds 60 --four-eyes")
def set_(
    cli: Cli, interval_seconds: int | None, four_eyes: bool | None, strategy_file: str, no_strategy: bool,
    device_events_days: int | None, node_device_events_days: bool,
) -> None:  # fmt: skip
    """Change what is named, and leave the rest as it is."""
    changes: dict[str, Any] = {
        "interval_seconds": interval_seconds,
        "four_eyes": four_eyes,
        "default_strategy": _strategy(strategy_file) if strategy_file else None,
        "device_events_days": device_events_days,
    }
    wanted = {name: value for name, value in changes.items() if value is not None}
    if no_strategy:
        wanted["default_strategy"] = None
    if node_device_events_days:
        wanted["device_events_days"] = None
    if not wanted:
        raise click.UsageError("cannot change nothing: name a setting, see --help")
    known = msgspec.structs.asdict(cli.client.settings.get())
    cli.out.data(cli.client.settings.replace(**(known | wanted)))


def _strategy(file: str) -> dict[str, Any]:
    try:
        read = json.loads(read_text(file, "strategy"))
    except ValueError as error:
        raise Invalid(f"cannot read {file} as JSON: {error}") from error
    if not isinstance(read, dict):
        raise Invalid(f"cannot use {file}: a strategy is an object")
    return read
