"""`tidegate channel`: list, show, move, delete, history."""

from __future__ import annotations

import click

from tidegate.cli.client import Cli, pass_cli, quoted
from tidegate.cli.names import ARTIFACT, VERSION
from tidegate.cli.output import gives
from tidegate.wire.operator.channels import ChannelInfo, ChannelMove
from tidegate.wire.operator.common import Page

_COLUMNS = ("artifact", "channel", "version", "moved_at", "moved_by", "withdrawn_at")


def _path(artifact: str, channel: str) -> str:
    return f"/v1/channels/{quoted(artifact)}/{quoted(channel)}"


@click.group("channel")
def commands() -> None:
    """Channels: movable labels of versions, such as canary and stable."""


@commands.command("list")
@click.option("--artifact", default="", help="Only of this artifact.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--cursor", default="")
@pass_cli
@gives(Page[ChannelInfo])
def list_(cli: Cli, artifact: str, limit: int, cursor: str) -> None:
    """Channels by artifact, and the version each points at."""
    query = {"artifact": artifact, "limit": limit, "cursor": cursor}
    first = "" if artifact or cursor else "tidegate channel move ARTIFACT CHANNEL VERSION --reason TEXT"
    cli.out.page(cli.client.call("GET", "/v1/channels", query=query), _COLUMNS, first=first)


@commands.command()
@click.argument("artifact", type=ARTIFACT)
@click.argument("channel")
@pass_cli
@gives(ChannelInfo)
def show(cli: Cli, artifact: str, channel: str) -> None:
    """One channel."""
    answer = cli.client.call("GET", _path(artifact, channel))
    cli.out.data(answer)
    if answer["withdrawn_at"]:
        cli.out.say(f"{artifact} {answer['version']} is withdrawn: nothing can be rolled out from {channel} until it is"
                    " moved")  # fmt: skip


@commands.command()
@click.argument("artifact", type=ARTIFACT)
@click.argument("channel")
@click.argument("version", type=VERSION)
@click.option("--reason", required=True, help="Why; kept in the channel's history.")
@click.option("--seen", default=None, help="Only if it points at this version now (empty: if there is none).")
@pass_cli
@gives(ChannelInfo)
def move(cli: Cli, artifact: str, channel: str, version: str, reason: str, seen: str | None) -> None:
    """Make CHANNEL of ARTIFACT point at VERSION; it is created where there is none.

    Devices are not touched: the next rollout created from the channel gets the version.
    """
    body = {"version": version, "reason": reason, "seen": seen}
    answer = cli.client.call("PUT", _path(artifact, channel), body=body)
    cli.out.data(answer, f"{artifact} {channel} points at {answer['version']}")


@commands.command()
@click.argument("artifact", type=ARTIFACT)
@click.argument("channel")
@click.option("--reason", required=True, help="Why; kept in the channel's history.")
@pass_cli
@gives(None)
def delete(cli: Cli, artifact: str, channel: str, reason: str) -> None:
    """Forget a channel; its history stays, and no device is touched."""
    cli.client.call("DELETE", _path(artifact, channel), query={"reason": reason})
    cli.out.data({"artifact": artifact, "channel": channel}, f"{artifact} {channel} is deleted")


@commands.command()
@click.argument("artifact", type=ARTIFACT)
@click.argument("channel")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--cursor", default="")
@pass_cli
@gives(Page[ChannelMove])
def history(cli: Cli, artifact: str, channel: str, limit: int, cursor: str) -> None:
    """Who moved it when, from where to where and why; the newest first."""
    query = {"limit": limit, "cursor": cursor}
    answer = cli.client.call("GET", f"{_path(artifact, channel)}/history", query=query)
    cli.out.page(answer, ("at", "by", "from_version", "to_version", "reason"))
