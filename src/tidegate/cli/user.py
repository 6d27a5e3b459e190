"""`tidegate user`: operators."""

from __future__ import annotations

import click

from tidegate.cli.client import Cli, pass_cli, quoted, read_text
from tidegate.cli.names import OPERATOR
from tidegate.cli.output import gives
from tidegate.errors import Invalid
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.people import OperatorCreated, OperatorInfo, PasswordReset

_ROLES = click.option(
    "--role",
    "roles",
    multiple=True,
    help="ROLE for all fleets, or ROLE@FLEET; several times. viewer, operator, approver, admin, or an own role.",
)


def _grants(roles: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"role": role, "fleet": fleet or "*"} for role, _, fleet in (given.partition("@") for given in roles)]


@click.group("user")
def commands() -> None:
    """Operators: the people who sign in."""


@commands.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--cursor", default="")
@pass_cli
@gives(Page[OperatorInfo])
def list_(cli: Cli, limit: int, cursor: str) -> None:
    """Operators by name."""
    answer = cli.client.call("GET", "/v1/operators", query={"limit": limit, "cursor": cursor})
    rows = [
        {**item, "roles": [f"{r['role']}@{r.get('fleet', '*')}" for r in item["roles"]]} for item in answer["items"]
    ]
    cli.out.page(
        answer if cli.out.as_json else {**answer, "items": rows},
        ("name", "roles", "disabled", "grants_until", "created_at"),
    )


@commands.command()
@click.argument("name")
@_ROLES
@click.option("--password-file", default="", help="File with the password; else one is made and shown once.")
@pass_cli
@gives(OperatorCreated)
def create(cli: Cli, name: str, roles: tuple[str, ...], password_file: str) -> None:
    """Create an operator."""
    body = {"name": name, "roles": _grants(roles)}
    if password_file:
        body["password"] = read_text(password_file, "password").rstrip("\n")
    cli.out.data(cli.client.call("POST", "/v1/operators", body=body, creates=True))
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
@gives(OperatorInfo)
def set_roles(cli: Cli, name: str, roles: tuple[str, ...]) -> None:
    """Replace an operator's roles; without --role take all of them."""
    cli.out.data(cli.client.call("PUT", f"/v1/operators/{quoted(name)}/roles", body={"roles": _grants(roles)}))


@commands.command()
@click.argument("name", type=OPERATOR)
@pass_cli
@gives(None)
def disable(cli: Cli, name: str) -> None:
    """Refuse every sign-in of an operator, end their sessions, suspend the API keys they made."""
    cli.client.call("POST", f"/v1/operators/{quoted(name)}/disable")
    cli.out.say(f"{name} is disabled")


@commands.command()
@click.argument("name", type=OPERATOR)
@pass_cli
@gives(None)
def enable(cli: Cli, name: str) -> None:
    """Let a disabled operator sign in again; the API keys they made work again."""
    cli.client.call("POST", f"/v1/operators/{quoted(name)}/enable")
    cli.out.say(f"{name} is enabled")


@commands.command("reset-password")
@click.argument("name", type=OPERATOR)
@pass_cli
@gives(PasswordReset)
def reset_password(cli: Cli, name: str) -> None:
    """Give an operator a new password, shown this once."""
    cli.out.data(cli.client.call("POST", f"/v1/operators/{quoted(name)}/password"))


@commands.command("remove-totp")
@click.argument("name", type=OPERATOR)
@pass_cli
@gives(None)
def remove_totp(cli: Cli, name: str) -> None:
    """Remove the second factor of an operator who lost it; ends their sessions."""
    cli.client.operators.remove_second_factor(name)
    cli.out.say(f"{name} has no second factor any more")


@commands.command("change-password")
@click.option("--current-file", default="", help="File with the present password; else it is asked for.")
@click.option("--password-file", default="", help="File with the new password; else it is asked for.")
@pass_cli
@gives(None)
def change_password(cli: Cli, current_file: str, password_file: str) -> None:
    """Change one's own password; ends one's other sessions."""
    current = _asked(current_file, "Present password", confirm=False)
    password = _asked(password_file, "New password", confirm=True)
    cli.client.call("POST", "/v1/me/password", body={"current": current, "password": password})
    cli.out.say("the password is changed")


def _asked(file: str, what: str, *, confirm: bool) -> str:
    if file:
        return read_text(file, "password").rstrip("\n")
    value = click.prompt(what, hide_input=True, confirmation_prompt=confirm, err=True)
    if not isinstance(value, str):
        raise Invalid("cannot read the password")
    return value
