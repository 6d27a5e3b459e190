"""`tidegate key`: API keys."""

from __future__ import annotations

import os
from pathlib import Path

import click
import msgspec

from tidegate.cli.answers import KeyCreated
from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.commands import Noun, gives
from tidegate.cli.names import KEY, ROLE
from tidegate.cli.options import Slice, paged
from tidegate.errors import Unavailable
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.people import ApiKeyInfo

_COLUMNS = ("id", "name", "role", "fleet", "created_by", "state", "expires_at", "lapses_at", "last_used_at")


@click.group("key", cls=Noun)
def commands() -> None:
    """API keys: machines that act with one role."""


@commands.command("list")
@paged
@pass_cli
@gives(Page[ApiKeyInfo], "key list")
def list_(cli: Cli, part: Slice) -> None:
    """The keys that reach the fleet, the oldest first."""
    first = "" if part.cursor else "tidegate key create NAME --role ROLE --output FILE"
    cli.out.page(part.of(cli.client.api_keys.list()), _COLUMNS, first=first)


@commands.command()
@click.argument("name")
@click.option("--role", required=True, type=ROLE, help="viewer, operator, approver, admin, or an own role.")
@click.option("--every-fleet", is_flag=True, help="For all fleets instead of the one that is meant.")
@click.option("--expires-days", type=click.IntRange(1, 3650), help="Left out: it does not expire.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path),
              help="New file for the secret, mode 0600.")  # fmt: skip
@pass_cli
@gives(KeyCreated, "key create ci --role operator --expires-days 90 --output ci.key")
def create(cli: Cli, name: str, role: str, every_fleet: bool, expires_days: int | None, output: Path | None) -> None:
    """Create a key; its secret is shown this once, or written to --output and not shown."""
    descriptor = None
    try:
        if output is not None:  # before the key is made: a secret that cannot be kept is not asked for
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Unavailable(f"cannot write {output}: {error.strerror}") from error
    try:
        made = cli.client.api_keys.create(name=name, role=role, every_fleet=every_fleet, expires_days=expires_days)
    except BaseException:
        if output is not None and descriptor is not None:
            os.close(descriptor)
            output.unlink()
        raise
    shown = KeyCreated(made.id, made.name, made.expires_at, made.secret)
    if descriptor is not None:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(made.secret + "\n")
        shown = msgspec.structs.replace(shown, secret=None)
    cli.out.data(shown, lambda: cli.out.fields({k: v for k, v in msgspec.structs.asdict(shown).items() if v}))
    cli.out.say(f"its secret is in {output}" if output else "the secret is shown this once")


@commands.command()
@click.argument("key_id", type=KEY)
@pass_cli
@gives(None, "key revoke 3")
def revoke(cli: Cli, key_id: int) -> None:
    """End a key at once."""
    cli.client.api_keys.revoke(key_id)
    cli.out.say(f"key {key_id} is revoked")
