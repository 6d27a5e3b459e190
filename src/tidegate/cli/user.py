"""`tidegate user`: operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec

from tidegate.cli.client import Cli, pass_cli, read_text
from tidegate.cli.commands import Noun, gives
from tidegate.cli.names import OPERATOR
from tidegate.cli.options import Slice, paged
from tidegate.errors import Invalid
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.people import OperatorCreated, OperatorInfo, PasswordReset, RoleGrant

_ROLES = click.option(
    "--role",
    "roles",
    multiple=True,
    help="ROLE for all fleets, or ROLE@FLEET; several times. viewer, operator, approver, admin, or an own role.",
)


@click.group("user", cls=Noun)
def commands() -> None:
    """Operators: the people who sign in."""


@commands.command("list")
@click.option("--search", default="", help="Part of the name.")
@paged
@pass_cli
@gives(Page[OperatorInfo], "user list --search ann")
def list_(cli: Cli, search: str, part: Slice) -> None:
    """Operators by name."""
    columns = ("name", "roles", "disabled", "signs_on", "grants_until", "created_at")
    cli.out.page(part.of(cli.client.operators.list(q=search)), columns, cells=_cells)


@commands.command()
@click.argument("name", type=OPERATOR)
@pass_cli
@gives(OperatorInfo, "user show ann")
def show(cli: Cli, name: str) -> None:
    """One operator: roles, whether they may sign in."""
    _told(cli, cli.client.operators.get(name))


@commands.command()
@click.argument("name")
@_ROLES
@click.option("--password-file", default="", help="File with the password; else one is made and shown once.")
@pass_cli
@gives(OperatorCreated, "user create ann --role operator@default --role viewer")
def create(cli: Cli, name: str, roles: tuple[str, ...], password_file: str) -> None:
    """Create an operator."""
    password = read_text(password_file, "password").rstrip("\n") if password_file else None
    made = cli.client.operators.create(name=name, roles=_grants(roles), password=password)
    shown = {"id": made.id, "name": made.name, "roles": _words(made.roles), "password": made.password}
    cli.out.data(made, lambda: cli.out.fields({name: value for name, value in shown.items() if value is not None}))
    if not password_file:
        cli.out.say("the password is shown this once")
    if not roles:
        cli.out.say(
            f"{name} has no role and sees nothing yet; give one with: tidegate user set-roles {name} --role ROLE"
        )


@commands.command("set-roles")
@click.argument("name", type=OPERATOR)
@_ROLES
@pass_cli
@gives(OperatorInfo, "user set-roles ann --role approver")
def set_roles(cli: Cli, name: str, roles: tuple[str, ...]) -> None:
    """Replace an operator's roles; without --role take all of them."""
    _told(cli, cli.client.operators.set_roles(name, roles=_grants(roles)))


@commands.command()
@click.argument("name", type=OPERATOR)
@pass_cli
@gives(None, "user disable ann")
def disable(cli: Cli, name: str) -> None:
    """Refuse every sign-in of an operator, end their sessions, suspend the API keys they made."""
    cli.client.operators.disable(name)
    cli.out.say(f"{name} is disabled")


@commands.command()
@click.argument("name", type=OPERATOR)
@pass_cli
@gives(None, "user enable ann")
def enable(cli: Cli, name: str) -> None:
    """Let a disabled operator sign in again; the API keys they made work again."""
    cli.client.operators.enable(name)
    cli.out.say(f"{name} is enabled")


@commands.command("reset-password")
@click.argument("name", type=OPERATOR)
@pass_cli
@gives(PasswordReset, "user reset-password ann")
def reset_password(cli: Cli, name: str) -> None:
    """Give an operator a new password, shown this once."""
    cli.out.data(cli.client.operators.reset_password(name))


@commands.command("remove-totp")
@click.argument("name", type=OPERATOR)
@pass_cli
@gives(None, "user remove-totp ann")
def remove_totp(cli: Cli, name: str) -> None:
    """Remove the second factor of an operator who lost it; ends their sessions."""
    cli.client.operators.remove_second_factor(name)
    cli.out.say(f"{name} has no second factor any more")


@commands.command("change-password")
@click.option("--current-file", default="", help="File with the present password; else it is asked for.")
@click.option("--password-file", default="", help="File with the new password; else it is asked for.")
@pass_cli
@gives(None, "user change-password")
def change_password(cli: Cli, current_file: str, password_file: str) -> None:
    """Change one's own password; ends one's other sessions."""
    current = _asked(current_file, "Present password", confirm=False)
    password = _asked(password_file, "New password", confirm=True)
    cli.client.me.change_password(current=current, password=password)
    cli.out.say("the password is changed")


def _asked(file: str, what: str, *, confirm: bool) -> str:
    if file:
        return read_text(file, "password").rstrip("\n")
    value = click.prompt(what, hide_input=True, confirmation_prompt=confirm, err=True)
    if not isinstance(value, str):
        raise Invalid("cannot read the password")
    return value


def _grants(roles: tuple[str, ...]) -> list[RoleGrant]:
    return [RoleGrant(role=role, fleet=fleet or "*") for role, _, fleet in (given.partition("@") for given in roles)]


def _words(roles: Sequence[RoleGrant]) -> list[str]:
    return [f"{one.role}@{one.fleet}" for one in roles]


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"roles": [f"{one['role']}@{one.get('fleet', '*')}" for one in row["roles"]]}


def _told(cli: Cli, found: OperatorInfo) -> None:
    plain = msgspec.to_builtins(found)
    cli.out.data(found, lambda: cli.out.fields({**plain, **_cells(plain)}))
