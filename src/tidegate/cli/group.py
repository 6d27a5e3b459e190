"""`tidegate group`: groups of devices, listed or said by a selector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from tidegate.cli.client import Cli, pass_cli, quoted
from tidegate.cli.device import hold_body, hold_words
from tidegate.cli.names import DEVICE, GROUP
from tidegate.cli.output import gives
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.devices import HoldInfo, SelectionInfo
from tidegate.wire.operator.groups import GroupInfo, Membership


@click.group("group")
def commands() -> None:
    """Groups: named sets of devices."""


@commands.command("list")
@click.option("--search", default="", help="Part of the name.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--cursor", default="")
@pass_cli
@gives(Page[GroupInfo])
def list_(cli: Cli, /, **query: Any) -> None:
    """Groups by name."""
    answer = cli.client.call("GET", "/v1/groups", query=query)
    rows = [{**item, "hold": hold_words(item["hold"])} for item in answer["items"]]
    first = "" if query["search"] or query["cursor"] else "tidegate group create NAME"
    columns = ("name", "size", "selector", "hold", "created_at")
    cli.out.page(answer if cli.out.as_json else {**answer, "items": rows}, columns, first=first)


@commands.command()
@click.argument("name", type=GROUP)
@pass_cli
@gives(GroupInfo)
def show(cli: Cli, name: str) -> None:
    """One group: who is in it is `tidegate device list --group`."""
    cli.out.data(cli.client.call("GET", _path(name)))


@commands.command()
@click.argument("name")
@click.argument("devices", nargs=-1, type=DEVICE)
@click.option("--selector", help="Who is in it, at any time: 'tags.site == \"plant-7\"'. See preview.")
@pass_cli
@gives(Membership)
def create(cli: Cli, name: str, devices: Sequence[str], selector: str | None) -> None:
    """Create a group of the devices named, or of those that a selector matches."""
    body = {"name": name, "devices": devices} if selector is None else {"name": name, "selector": selector}
    made = cli.client.call("POST", "/v1/groups", body=body, creates=True)
    if selector is None:
        _tell(cli, made, "added")
    else:
        cli.out.data(made, f"group {name} matches {_count(made['group']['size'])} now")


@commands.command()
@click.argument("selector")
@click.option("--device", default="", help="Why this one matches, or not.")
@pass_cli
@gives(SelectionInfo)
def preview(cli: Cli, selector: str, device: str) -> None:
    """Show what a selector matches; nothing is made of it."""
    found = cli.client.call("GET", "/v1/device-selection", query={"selector": selector, "device": device})
    more = " …" if found["count"] > len(found["first"]) else ""
    verb = "matches" if found["count"] == 1 else "match"
    said = f"{found['count']:,} {verb}: {', '.join(found['first'])}{more}" if found["count"] else "no device matches"
    lines = [said]
    lines += [f"devices say this of themselves: {', '.join(found['declared'])}"] if found["declared"] else []
    if device:
        lines += [f"{device} {'matches' if found['matches'] else 'does not match'}"]
        lines += [f"  {reason}" for reason in found["why_not"]]
    cli.out.data(found, "\n".join(lines))


@commands.command()
@click.argument("name", type=GROUP)
@click.option("--rename", "new_name", help="The new name.")
@click.option("--selector", help="The new selector.")
@pass_cli
@gives(GroupInfo)
def change(cli: Cli, name: str, new_name: str | None, selector: str | None) -> None:
    """Rename a group, or change its selector."""
    body = {key: value for key, value in (("name", new_name), ("selector", selector)) if value is not None}
    found = cli.client.call("PATCH", _path(name), body=body)
    cli.out.data(found, f"group {found['name']} has {_count(found['size'])}")


@commands.command()
@click.argument("name", type=GROUP)
@click.argument("devices", nargs=-1, required=True, type=DEVICE)
@pass_cli
@gives(Membership)
def add(cli: Cli, name: str, devices: Sequence[str]) -> None:
    """Put devices into a group."""
    _tell(cli, cli.client.call("POST", f"{_path(name)}/add", body={"devices": devices}), "added")


@commands.command()
@click.argument("name", type=GROUP)
@click.argument("devices", nargs=-1, required=True, type=DEVICE)
@pass_cli
@gives(Membership)
def remove(cli: Cli, name: str, devices: Sequence[str]) -> None:
    """Take devices out of a group."""
    _tell(cli, cli.client.call("POST", f"{_path(name)}/remove", body={"devices": devices}), "removed")


@commands.command()
@click.argument("name", type=GROUP)
@pass_cli
@gives(None)
def delete(cli: Cli, name: str) -> None:
    """Forget a group; its devices stay."""
    cli.client.call("DELETE", _path(name))
    cli.out.say(f"group {name} is gone; its devices stay")


@commands.command()
@click.argument("name", type=GROUP)
@click.option("--reason", required=True)
@click.option("--until", help="RFC 3339; left out: until released.")
@pass_cli
@gives(HoldInfo)
def hold(cli: Cli, name: str, reason: str, until: str | None) -> None:
    """Hold every device of a group."""
    cli.out.data(cli.client.call("PUT", f"{_path(name)}/hold", body=hold_body(reason, until)))


@commands.command()
@click.argument("name", type=GROUP)
@pass_cli
@gives(None)
def release(cli: Cli, name: str) -> None:
    """End the hold on a group."""
    cli.client.call("DELETE", f"{_path(name)}/hold")
    cli.out.say(f"group {name} is released")


def _tell(cli: Cli, answer: Mapping[str, Any], done: str) -> None:
    if answer["unknown"]:
        cli.out.say(f"no device is called {', '.join(answer['unknown'])}")
    group = answer["group"]
    cli.out.data(answer, f"{answer['changed']} {done}; group {group['name']} has {_count(group['size'])}")


def _count(devices: int) -> str:
    return "1 device" if devices == 1 else f"{devices:,} devices"


def _path(name: str) -> str:
    return f"/v1/groups/{quoted(name)}"
