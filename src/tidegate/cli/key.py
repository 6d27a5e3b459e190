"""`tidegate key`: API keys."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tidegate.cli.answers import KeyCreated
from tidegate.cli.client import Cli, pass_cli, quoted
from tidegate.cli.names import KEY
from tidegate.cli.output import gives
from tidegate.errors import Unavailable
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.people import ApiKeyInfo


@click.group("key")
def commands() -> None:
    """API keys: machines that act with one role."""


@commands.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--cursor", default="")
@pass_cli
@gives(Page[ApiKeyInfo])
def list_(cli: Cli, limit: int, cursor: str) -> None:
    """The keys that reach the fleet, the oldest first."""
    answer = cli.client.call("GET", "/v1/api-keys", query={"limit": limit, "cursor": cursor})
    columns = ("id", "name", "role", "fleet", "created_by", "state", "expires_at", "lapses_at", "last_used_at")
    cli.out.page(answer, columns)


@commands.command()
@click.argument("name")
@click.option("--role", required=True, help="viewer, operator, approver, admin, or an own role.")
@click.option("--every-fleet", is_flag=True, help="For all fleets instead of the one that is meant.")
@click.option("--expires-days", type=click.IntRange(1, 3650))
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="New file for the secret, mode 0600.")
@pass_cli
@gives(KeyCreated)
def create(cli: Cli, name: str, role: str, every_fleet: bool, expires_days: int | None, output: Path | None) -> None:
    """Create a key; its secret is shown this once, or written to --output and not shown."""
    descriptor = None
    try:
        if output is not None:  # before the key is made: a secret that cannot be kept is not asked for
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Unavailable(f"cannot write {output}: {error.strerror}") from error
    body = {"name": name, "role": role, "every_fleet": every_fleet, "expires_days": expires_days}
    try:
        made = cli.client.call("POST", "/v1/api-keys", body=body, creates=True)
    except BaseException:
        if output is not None and descriptor is not None:
            os.close(descriptor)
            output.unlink()
        raise
    if descriptor is not None:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(made.pop("secret") + "\n")
    cli.out.data(made)


@commands.command()
@click.argument("key_id", type=KEY)
@pass_cli
@gives(None)
def revoke(cli: Cli, key_id: int) -> None:
    """End a key at once."""
    cli.client.call("DELETE", f"/v1/api-keys/{quoted(key_id)}")
    cli.out.say(f"key {key_id} is revoked")
