"""`tidegate fleet`: fleets of the node, and the brake for a whole one."""

from __future__ import annotations

from datetime import datetime

import click

from tidegate.cli.answers import FleetShown
from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.commands import Noun, gives
from tidegate.cli.options import UNTIL
from tidegate.cli.output import hold_words
from tidegate.errors import NotFound
from tidegate.wire.operator.fleets import FleetInfo, Fleets
from tidegate.wire.operator.groups import Freeze


@click.group("fleet", cls=Noun)
def commands() -> None:
    """Fleets: tenants of one node, each with its own keys, repository and audit chain."""


@commands.command("list")
@pass_cli
@gives(Fleets, "fleet list")
def list_(cli: Cli) -> None:
    """The fleets that one has a role in; --fleet of the other commands names one of them."""
    cli.out.page(cli.client.fleets.list(), ("name", "devices", "interval_seconds", "frozen"))


@commands.command()
@pass_cli
@gives(FleetShown, "fleet show --fleet default")
def show(cli: Cli) -> None:
    """The fleet that is meant: its devices in numbers, and whether it is frozen."""
    found = next((one for one in cli.client.fleets.list().items if one.name == cli.fleet), None)
    if found is None:
        raise NotFound(f"cannot find the fleet {cli.fleet}: tidegate fleet list names those that there are")
    shown = FleetShown(
        name=found.name,
        interval_seconds=found.interval_seconds,
        devices=cli.client.devices.counts(),
        hold=cli.client.freeze.get().hold,
    )
    frozen = {"frozen": hold_words(shown.hold) or "no"}
    said = {"name": shown.name, "devices_report_every": f"{shown.interval_seconds} s", **frozen}
    cli.out.data(shown, lambda: cli.out.fields({**said, "devices": shown.devices}))


@commands.command()
@click.argument("name")
@click.option(
    "--interval-seconds", type=click.IntRange(1, 3600), help="How often its devices report; else as the node."
)
@pass_cli
@gives(FleetInfo, "fleet create plant-2")
def create(cli: Cli, name: str, interval_seconds: int | None) -> None:
    """Create a fleet with a trust domain of its own. It stays: a fleet is never renamed or deleted."""
    cli.out.data(cli.client.fleets.create(name=name, interval_seconds=interval_seconds))
    cli.out.say(
        "This is a convenience trust domain: its root and targets keys lie in keys/offline/"
        f"{name} on the node. Move them away in production."
    )


@commands.command()
@click.option("--reason", required=True, help="Why; shown wherever the freeze shows.")
@UNTIL
@pass_cli
@gives(Freeze, "fleet freeze --reason 'storm warning' --until 2026-12-01T08:00:00Z")
def freeze(cli: Cli, reason: str, until: datetime | None) -> None:
    """Hold the whole fleet: no rollout serves a device or gives leave until it is released."""
    found = cli.client.freeze.begin(reason=reason, until=until)
    cli.out.data(found, f"fleet {cli.fleet} is frozen: {hold_words(found.hold)}; end it with tidegate fleet release")


@commands.command()
@pass_cli
@gives(None, "fleet release")
def release(cli: Cli) -> None:
    """End the freeze: rollouts go on where they stood."""
    cli.client.freeze.end()
    cli.out.say(f"fleet {cli.fleet} is released")
