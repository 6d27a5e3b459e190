"""`tidegate token`: enrollment tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from tidegate.cli.client import Cli, pass_cli, quoted
from tidegate.cli.names import TOKEN
from tidegate.cli.output import gives
from tidegate.errors import Invalid
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.tokens import Minted, TokenInfo


@click.group("token")
def commands() -> None:
    """Enrollment tokens: what lets a machine become a device."""


@commands.command()
@click.option("--device", "device_name", help="Bind it to this name; it may then replace the device of that name.")
@click.option("--expires-seconds", type=click.IntRange(60, 2_592_000), help="Default: one hour.")
@click.option("--uses", type=click.IntRange(1, 10_000), help="Default: one.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Given to each device; may be repeated.")
@click.option("--group", "groups", multiple=True, help="Each device is put into it; may be repeated.")
@click.option("--may-replace/--may-not-replace", default=None, help="Whether it may take a name that a device holds.")
@pass_cli
@gives(Minted)
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
    asked = {
        "device_name": device_name,
        "expires_in_seconds": expires_seconds,
        "uses": uses,
        "may_replace": may_replace,
        "tags": pairs(tags),
        "groups": list(groups),
    }
    body = {name: value for name, value in asked.items() if value is not None}
    show_minted(cli, cli.client.call("POST", "/v1/tokens", body=body, creates=True))


@commands.command("list")
@click.option("--live", is_flag=True, help="Only tokens that can still be used.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--cursor", default="")
@pass_cli
@gives(Page[TokenInfo])
def list_(cli: Cli, live: bool, limit: int, cursor: str) -> None:
    """Tokens, newest first."""
    query = {"live": True if live else None, "limit": limit, "cursor": cursor}
    answer = cli.client.call("GET", "/v1/tokens", query=query)
    cli.out.page(answer, ("id", "state", "device_name", "uses_left", "expires_at", "created_by", "groups", "tags"))


@commands.command()
@click.argument("token_id", type=TOKEN)
@pass_cli
@gives(TokenInfo)
def show(cli: Cli, token_id: int) -> None:
    """One token and the devices that it enrolled."""
    cli.out.data(cli.client.call("GET", f"/v1/tokens/{quoted(token_id)}"))


@commands.command()
@click.argument("token_id", type=TOKEN)
@pass_cli
@gives(None)
def revoke(cli: Cli, token_id: int) -> None:
    """End a token at once; devices that it enrolled stay."""
    cli.client.call("DELETE", f"/v1/tokens/{quoted(token_id)}")
    cli.out.say(f"token {token_id} is revoked")


def show_minted(cli: Cli, made: Mapping[str, Any]) -> None:
    """The secret is the data; all else is talk, so that the token can be piped on."""
    if cli.out.as_json:
        cli.out.data(made)
        return
    name = made["token"]["device_name"]
    if made["recovers"]:
        cli.out.say(f"device {name} keeps its record; its old key is refused once the new one is enrolled")
    cli.out.say(f"token {made['id']}, valid until {made['token']['expires_at']}, shown this once. On the device:")
    cli.out.say(f"\n  {made['installer']['command']}\n")
    cli.out.say("It asks for the token, or reads it from standard input:")
    cli.out.data(made["secret"])


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` texts as a mapping. Raises `Invalid` naming the one without ``=``."""
    split = {text: text.partition("=") for text in texts}
    for text, (key, separator, value) in split.items():
        if not (key and separator and value):
            raise Invalid(f"cannot read the tag {text}: it must be KEY=VALUE")
    return {key: value for key, _, value in split.values()}
