"""`tidegate group`: groups of devices, listed or said by a selector."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import click

from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.commands import Noun, gives
from tidegate.cli.names import DEVICE, GROUP
from tidegate.cli.options import UNTIL, Slice, paged
from tidegate.cli.output import counted, hold_words
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.devices import HoldInfo, SelectionInfo
from tidegate.wire.operator.groups import GroupInfo, Membership


@click.group("group", cls=Noun)
def commands() -> None:
    """Groups: named sets of devices."""


@commands.command("list")
@click.option("--search", default="", help="Part of the name.")
@paged
@pass_cli
@gives(Page[GroupInfo], "group list --search lab")
def list_(cli: Cli, search: str, part: Slice) -> None:
    """Groups by name."""
    first = "" if search or part.cursor else "tidegate group create NAME"
    columns = ("name", "size", "selector", "hold", "created_at")
    answer = part.of(cli.client.groups.list(search=search))
    cli.out.page(answer, columns, first=first, cells=lambda row: {"hold": hold_words(row["hold"])})


@commands.command()
@click.argument("name", type=GROUP)
@pass_cli
@gives(GroupInfo, "group show lab")
def show(cli: Cli, name: str) -> None:
    """One group: who is in it is `tidegate device list --group`."""
    cli.out.data(cli.client.groups.get(name))


@commands.command()
@click.argument("name")
@click.argument("devices", nargs=-1, type=DEVICE)
@click.option("--selector", help="Who is in it, at any time: 'tags.site == \"plant-7\"'. See preview.")
@pass_cli
@gives(Membership, "group create lab cam-1 cam-2")
def create(cli: Cli, name: str, devices: Sequence[str], selector: str | None) -> None:
    """Create a group of the devices named, or of those that a selector matches."""
    made = cli.client.groups.create(name=name, devices=devices, selector=selector)
    if selector is None:
        _tell(cli, made, "added")
    else:
        cli.out.data(made, f"group {name} matches {counted(made.group.size)} now")


@commands.command()
@click.argument("selector")
@click.option("--device", default="", type=DEVICE, help="Why this one matches, or not.")
@pass_cli
@gives(SelectionInfo, "group preview 'arch == \"arm64\"' --device cam-1")
def preview(cli: Cli, selector: str, device: str) -> None:
    """Show what a selector matches; nothing is made of it."""
    found = cli.client.devices.select(selector=selector, device=device)
    more = " …" if found.count > len(found.first) else ""
    verb = "matches" if found.count == 1 else "match"
    lines = [f"{found.count:,} {verb}: {', '.join(found.first)}{more}" if found.count else "no device matches"]
    lines += [f"devices say this of themselves: {', '.join(found.declared)}"] if found.declared else []
    if device:
        lines += [f"{device} {'matches' if found.matches else 'does not match'}"]
        lines += [f"  {reason}" for reason in found.why_not]
    cli.out.data(found, "\n".join(lines))


@commands.command()
@click.argument("name", type=GROUP)
@click.option("--rename", "new_name", help="The new name.")
@click.option("--selector", help="The new selector.")
@pass_cli
@gives(GroupInfo, "group change lab --rename bench")
def change(cli: Cli, name: str, new_name: str | None, selector: str | None) -> None:
    """Rename a group, or change its selector."""
    if new_name is None and selector is None:
        raise click.UsageError("give --rename or --selector: there is nothing to change")
    found = cli.client.groups.change(name, name=new_name, selector=selector)
    cli.out.data(found, f"group {found.name} has {counted(found.size)}")


@commands.command()
@click.argument("name", type=GROUP)
@click.argument("devices", nargs=-1, required=True, type=DEVICE)
@pass_cli
@gives(Membership, "group add lab cam-3")
def add(cli: Cli, name: str, devices: Sequence[str]) -> None:
    """Put devices into a group."""
    _tell(cli, cli.client.groups.add(name, devices=devices), "added")


@commands.command()
@click.argument("name", type=GROUP)
@click.argument("devices", nargs=-1, required=True, type=DEVICE)
@pass_cli
@gives(Membership, "group remove lab cam-3")
def remove(cli: Cli, name: str, devices: Sequence[str]) -> None:
    """Take devices out of a group."""
    _tell(cli, cli.client.groups.remove(name, devices=devices), "removed")


@commands.command()
@click.argument("name", type=GROUP)
@pass_cli
@gives(None, "group delete lab")
def delete(cli: Cli, name: str) -> None:
    """Forget a group; its devices stay."""
    cli.client.groups.delete(name)
    cli.out.say(f"group {name} is gone; its devices stay")


@commands.command()
@click.argument("name", type=GROUP)
@click.option("--reason", required=True, help="Why; shown wherever the hold shows.")
@UNTIL
@pass_cli
@gives(HoldInfo, "group hold lab --reason 'being rebuilt'")
def hold(cli: Cli, name: str, reason: str, until: datetime | None) -> None:
    """Hold every device of a group."""
    cli.out.data(cli.client.groups.hold(name, reason=reason, until=until))


@commands.command()
@click.argument("name", type=GROUP)
@pass_cli
@gives(None, "group release lab")
def release(cli: Cli, name: str) -> None:
    """End the hold on a group."""
    cli.client.groups.release(name)
    cli.out.say(f"group {name} is released")


def _tell(cli: Cli, answer: Membership, done: str) -> None:
    if answer.unknown:
        cli.out.say(f"no device is called {', '.join(answer.unknown)}")
    cli.out.data(answer, f"{answer.changed} {done}; group {answer.group.name} has {counted(answer.group.size)}")
