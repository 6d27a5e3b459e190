"""`tidegate token`: enrollment tokens."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.commands import Noun, gives
from tidegate.cli.names import DEVICE, GROUP, TOKEN
from tidegate.cli.options import Slice, paged
from tidegate.cli.output import text
from tidegate.errors import Invalid
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.tokens import Minted, TokenInfo


@click.group("token", cls=Noun)
def commands() -> None:
    """Enrollment tokens: what lets a machine become a device."""


@commands.command()
@click.option(
    "--device", "device_name", type=DEVICE, help="Bind it to this name; it may then replace the device of that name."
)
@click.option("--expires-seconds", type=click.IntRange(60, 2_592_000), help="Default: one hour.")
@click.option("--uses", type=click.IntRange(1, 10_000), help="Default: one.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Given to each device; may be repeated.")
@click.option("--group", "groups", multiple=True, type=GROUP, help="Each device is put into it; may be repeated.")
@click.option("--may-replace/--may-not-replace", default=None, help="Whether it may take a name that a device holds.")
@pass_cli
@gives(Minted, "token mint --device cam-1 --tag site=plant-7 --group lab")
def mint(
    cli: Cli,
    device_name: str | None,
    expires_seconds: int | None,
    uses: int | None,
    tags: Sequence[str],
    groups: Sequence[str],
    may_replace: bool | None,
) -> None:
    """Mint a token. Its secret is shown this once, with the command to run on the device."""
    made = cli.client.tokens.mint(
        device_name=device_name, expires_in_seconds=expires_seconds, uses=uses, may_replace=may_replace,
        tags=pairs(tags), groups=groups,
    )  # fmt: skip
    show_minted(cli, made)


@commands.command("list")
@click.option("--live", is_flag=True, help="Only tokens that can still be used.")
@paged
@pass_cli
@gives(Page[TokenInfo], "token list --live")
def list_(cli: Cli, live: bool, part: Slice) -> None:
    """Tokens, newest first."""
    first = "" if live or part.cursor else "tidegate token mint --device NAME"
    columns = ("id", "state", "device_name", "uses_left", "expires_at", "created_by", "groups", "tags")
    cli.out.page(part.of(cli.client.tokens.list(live=live)), columns, first=first)


@commands.command()
@click.argument("token_id", type=TOKEN)
@pass_cli
@gives(TokenInfo, "token show 7")
def show(cli: Cli, token_id: int) -> None:
    """One token and the devices that it enrolled."""
    cli.out.data(cli.client.tokens.get(token_id))


@commands.command()
@click.argument("token_id", type=TOKEN)
@pass_cli
@gives(TokenInfo, "token revoke 7")
def revoke(cli: Cli, token_id: int) -> None:
    """End a token at once; devices that it enrolled stay."""
    found = cli.client.tokens.revoke(token_id)
    cli.out.data(found, lambda: cli.out.say(f"token {token_id} is revoked"))


def show_minted(cli: Cli, made: Minted) -> None:
    """The secret is the data; all else is talk, so that the token can be piped on."""
    if cli.out.as_json:
        cli.out.data(made)
        return
    if made.recovers:
        name = made.token.device_name
        cli.out.say(f"device {name} keeps its record; its old key is refused once the new one is enrolled")
    until = text(made.token.expires_at)
    cli.out.say(f"token {made.id}, valid until {until}, shown this once. On the device:")
    cli.out.say(f"\n  {made.installer.command}\n")
    cli.out.say("It asks for the token, or reads it from standard input:")
    cli.out.data(made, made.secret)


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` texts as a mapping. Raises `Invalid` naming the one without ``=``."""
    split = {one: one.partition("=") for one in texts}
    for one, (key, separator, value) in split.items():
        if not (key and separator and value):
            raise Invalid(f"cannot read the tag {one}: it must be KEY=VALUE")
    return {key: value for key, _, value in split.values()}
