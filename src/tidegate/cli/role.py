"""`tidegate role`: own roles."""

from __future__ import annotations

import click

from tidegate.cli.client import Cli, pass_cli, quoted
from tidegate.cli.output import gives
from tidegate.wire.operator.roles import RoleDetail, Roles

_PERMISSIONS = click.option(
    "--permission", "permissions", multiple=True, required=True, help="Such as rollouts.read; several times."
)
_DESCRIPTION = click.option("--description", default="", help="One line: what it is for.")


@click.group("role")
def commands() -> None:
    """Roles: the four fixed ones, and own ones made from permissions."""


@commands.command("list")
@pass_cli
@gives(Roles)
def list_(cli: Cli) -> None:
    """Roles, what they hold and how many hold them."""
    cli.out.page(
        cli.client.call("GET", "/v1/roles"), ("name", "fixed", "operators", "api_keys", "permissions", "description")
    )


@commands.command()
@click.argument("name")
@pass_cli
@gives(RoleDetail)
def show(cli: Cli, name: str) -> None:
    """One role and who holds it."""
    cli.out.data(cli.client.call("GET", f"/v1/roles/{quoted(name)}"))


@commands.command()
@click.argument("name")
@_PERMISSIONS
@_DESCRIPTION
@pass_cli
@gives(RoleDetail)
def create(cli: Cli, name: str, permissions: tuple[str, ...], description: str) -> None:
    """Make a role. You hold all of its permissions for all fleets yourself."""
    body = {"name": name, "permissions": permissions, "description": description}
    cli.out.data(cli.client.call("POST", "/v1/roles", body=body, creates=True))


@commands.command()
@click.argument("name")
@_PERMISSIONS
@_DESCRIPTION
@pass_cli
@gives(RoleDetail)
def change(cli: Cli, name: str, permissions: tuple[str, ...], description: str) -> None:
    """Replace what a role holds; it counts from the next request of everybody who has it."""
    body = {"permissions": permissions, "description": description}
    cli.out.data(cli.client.call("PUT", f"/v1/roles/{quoted(name)}", body=body))


@commands.command()
@click.argument("name")
@pass_cli
@gives(None)
def delete(cli: Cli, name: str) -> None:
    """Delete an own role that nobody holds."""
    cli.client.call("DELETE", f"/v1/roles/{quoted(name)}")
    cli.out.say(f"role {name} is deleted")
