"""`tidegate device`: devices, their tags, holds and identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from tidegate.cli import device_sheet
from tidegate.cli.client import Cli, pass_cli, quoted
from tidegate.cli.logs import log_cancel, log_requests, logs
from tidegate.cli.names import DEVICE
from tidegate.cli.output import gives, text
from tidegate.cli.token import show_minted
from tidegate.errors import Invalid
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.devices import DeviceDetailInfo, DeviceInfo, HoldInfo
from tidegate.wire.operator.groups import Freeze
from tidegate.wire.operator.tokens import Minted

_LIST = ("name", "presence", "last_seen_at", "agent_version", "tags", "groups", "hold", "waiting_on")
_FILTERS = ("search", "presence", "group", "selector", "tags", "artifact", "version", "held", "cursor")
_SHOWN = ("hardware", "declared_tags", "log_sources")


@click.group("device")
def commands() -> None:
    """Devices: who they are, whether they call, what holds them."""


@commands.command("list")
@click.option("--search", default="", help="Part of the name.")
@click.option("--state", default="active", show_default=True, type=click.Choice(["active", "decommissioned", "all"]))
@click.option("--presence", type=click.Choice(["online", "offline", "never"]))
@click.option("--group", default="", help="Only devices of this group.")
@click.option("--selector", default="", help="Only devices that it matches: 'arch == \"arm64\"'.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Only devices with this tag; may be repeated.")
@click.option("--artifact", default="", help="Only devices that run this artifact.")
@click.option("--version", default="", help="Together with --artifact: only this version.")
@click.option("--held", is_flag=True, help="Only devices that are held themselves.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--cursor", default="")
@pass_cli
@gives(Page[DeviceInfo])
def list_(cli: Cli, /, tags: Sequence[str], held: bool, **query: Any) -> None:
    """Devices by name."""
    asked = {**query, "tags": ",".join(tags), "held": True if held else None}
    answer = cli.client.call("GET", "/v1/devices", query=asked)
    rows = [{**item, "hold": hold_words(item["hold"])} for item in answer["items"]]
    first = "" if any(asked.get(name) for name in _FILTERS) else "tidegate token mint --device NAME"
    cli.out.page(answer if cli.out.as_json else {**answer, "items": rows}, _LIST, first=first)


@commands.command()
@click.argument("name", type=DEVICE)
@pass_cli
@gives(DeviceDetailInfo)
def show(cli: Cli, name: str) -> None:
    """One device: hardware, holds, certificates, history."""
    found = cli.client.call("GET", _path(name))
    cli.out.data(found, lambda: _print(cli, found))


def _print(cli: Cli, found: Mapping[str, Any]) -> None:
    cli.out.fields({**found["device"], **{name: found[name] for name in _SHOWN}})
    for title, columns in (
        ("holds", ("subject", "reason", "until")),
        ("in_progress", ("work", "state", "detail")),
        ("certificates", ("state", "serial", "not_before", "not_after")),
        ("events", ("at", "kind", "detail")),
    ):
        if found[title]:
            cli.out.say(f"\n{title.replace('_', ' ')}")
            cli.out.table(found[title], columns)


@commands.command()
@click.argument("name", type=DEVICE)
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE|KEY- ...")
@pass_cli
@gives(DeviceDetailInfo)
def tag(cli: Cli, name: str, changes: Sequence[str]) -> None:
    """Set tags with KEY=VALUE, take them away with KEY- (a minus at the end)."""
    put: dict[str, str] = {}
    remove: list[str] = []
    for change in changes:
        key, separator, value = change.partition("=")
        if separator:
            put[key] = value
        elif change.endswith("-"):
            remove.append(change[:-1])
        else:
            raise Invalid(f"cannot read the change {change}: it must be KEY=VALUE or KEY-")
    found = cli.client.call("PATCH", f"{_path(name)}/tags", body={"put": put, "remove": remove})
    cli.out.data(found, lambda: cli.out.fields({"tags": found["device"]["tags"]}))


@commands.command()
@click.argument("name", type=DEVICE)
@click.option("--reason", required=True)
@click.option("--until", help="RFC 3339, such as 2026-12-01T08:00:00Z; left out: until released.")
@pass_cli
@gives(HoldInfo)
def hold(cli: Cli, name: str, reason: str, until: str | None) -> None:
    """Hold a device: nothing is served to it and it gets no leave."""
    cli.out.data(cli.client.call("PUT", f"{_path(name)}/hold", body=hold_body(reason, until)))


@commands.command()
@click.argument("name", type=DEVICE)
@pass_cli
@gives(None)
def release(cli: Cli, name: str) -> None:
    """End the hold on a device."""
    cli.client.call("DELETE", f"{_path(name)}/hold")
    cli.out.say(f"device {name} is released")


@commands.command()
@click.option("--reason", required=True)
@click.option("--until", help="RFC 3339; left out: until released.")
@pass_cli
@gives(Freeze)
def freeze(cli: Cli, reason: str, until: str | None) -> None:
    """Hold the whole fleet."""
    cli.out.data(cli.client.call("PUT", "/v1/freeze", body=hold_body(reason, until)))


@commands.command()
@pass_cli
@gives(None)
def unfreeze(cli: Cli) -> None:
    """End the hold on the whole fleet."""
    cli.client.call("DELETE", "/v1/freeze")
    cli.out.say("the fleet is released")


@commands.command()
@click.argument("name", type=DEVICE)
@click.option("--stop-workloads", is_flag=True, help="The agent stops what it runs before it wipes its key.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_cli
@gives(None)
def decommission(cli: Cli, name: str, stop_workloads: bool, yes: bool) -> None:
    """End a device's membership: it is refused from now on and wipes its key. There is no way back."""
    if not yes:
        typed = click.prompt(f"Type the name to decommission {name}", err=True)
        if typed != name:
            raise Invalid(f"cannot decommission {name}: another name was typed")
    cli.client.call("POST", f"{_path(name)}/decommission", body={"confirm": name, "stop_workloads": stop_workloads})
    cli.out.say(f"device {name} is decommissioned; every replica refuses it within 5 seconds")


@commands.command()
@click.argument("name", type=DEVICE)
@click.option("--expires-seconds", type=click.IntRange(60, 2_592_000), help="Default: one hour.")
@pass_cli
@gives(Minted)
def recover(cli: Cli, name: str, expires_seconds: int | None) -> None:
    """Mint a token that gives the device a new key under the same record."""
    body = {} if expires_seconds is None else {"expires_in_seconds": expires_seconds}
    show_minted(cli, cli.client.call("POST", f"{_path(name)}/recover", body=body, creates=True))


for command in (logs, log_requests, log_cancel):
    commands.add_command(command)


def hold_words(hold: Mapping[str, Any] | None) -> str | None:
    """Why, and until when, in a list."""
    if hold is None or hold["until"] is None:
        return None if hold is None else str(hold["reason"])
    return f"{hold['reason']}, until {text(hold['until'])}"


def hold_body(reason: str, until: str | None) -> dict[str, str]:
    return {"reason": reason} if until is None else {"reason": reason, "until": until}


def _path(name: str) -> str:
    return f"/v1/devices/{quoted(name)}"


commands.add_command(device_sheet.import_)
commands.add_command(device_sheet.export)
