"""`tidegate channel`: list, show, move, delete, history."""

from __future__ import annotations

import click

from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.commands import Noun, gives
from tidegate.cli.names import ARTIFACT, CHANNEL, VERSION
from tidegate.cli.options import Slice, paged
from tidegate.wire.operator.channels import ChannelInfo, ChannelMove
from tidegate.wire.operator.common import Page

_COLUMNS = ("artifact", "channel", "version", "moved_at", "moved_by", "withdrawn_at")
_REASON = click.option("--reason", required=True, help="Why; kept in the channel's history.")


@click.group("channel", cls=Noun)
def commands() -> None:
    """Channels: movable labels of versions, such as canary and stable."""


@commands.command("list")
@click.option("--artifact", default=None, type=ARTIFACT, help="Only of this artifact.")
@paged
@pass_cli
@gives(Page[ChannelInfo], "channel list --artifact detector")
def list_(cli: Cli, artifact: str | None, part: Slice) -> None:
    """Channels by artifact, and the version each points at."""
    first = "" if artifact or part.cursor else "tidegate channel move ARTIFACT CHANNEL VERSION --reason TEXT"
    cli.out.page(part.of(cli.client.channels.list(artifact=artifact or None)), _COLUMNS, first=first)


@commands.command()
@click.argument("artifact", type=ARTIFACT)
@click.argument("channel", type=CHANNEL)
@pass_cli
@gives(ChannelInfo, "channel show detector stable")
def show(cli: Cli, artifact: str, channel: str) -> None:
    """One channel."""
    answer = cli.client.channels.get(artifact, channel)
    cli.out.data(answer)
    if answer.withdrawn_at:
        cli.out.say(f"{artifact} {answer.version} is withdrawn: nothing can be rolled out from {channel} until it is"
                    " moved")  # fmt: skip


@commands.command()
@click.argument("artifact", type=ARTIFACT)
@click.argument("channel", type=CHANNEL)
@click.argument("version", type=VERSION)
@_REASON
@click.option("--seen", default=None, help="Only if it points at this version now (empty: if there is none).")
@pass_cli
@gives(ChannelInfo, "channel move detector stable 1.4.0 --reason 'a week on canary without a failure'")
def move(cli: Cli, artifact: str, channel: str, version: str, reason: str, seen: str | None) -> None:
    """Make CHANNEL of ARTIFACT point at VERSION; it is created where there is none.

    Devices are not touched: the next rollout created from the channel gets the version.
    """
    answer = cli.client.channels.move(artifact, channel, version=version, reason=reason, seen=seen)
    cli.out.data(answer, f"{artifact} {channel} points at {answer.version}")


@commands.command()
@click.argument("artifact", type=ARTIFACT)
@click.argument("channel", type=CHANNEL)
@_REASON
@pass_cli
@gives(None, "channel delete detector nightly --reason 'nobody builds it any more'")
def delete(cli: Cli, artifact: str, channel: str, reason: str) -> None:
    """Forget a channel; its history stays, and no device is touched."""
    cli.client.channels.delete(artifact, channel, reason=reason)
    cli.out.say(f"{artifact} {channel} is deleted")


@commands.command()
@click.argument("artifact", type=ARTIFACT)
@click.argument("channel", type=CHANNEL)
@paged
@pass_cli
@gives(Page[ChannelMove], "channel history detector stable")
def history(cli: Cli, artifact: str, channel: str, part: Slice) -> None:
    """Who moved it when, from where to where and why; the newest first."""
    answer = part.of(cli.client.channels.history(artifact, channel))
    cli.out.page(answer, ("at", "by", "from_version", "to_version", "reason"))
