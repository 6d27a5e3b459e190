"""`tidegate role`: own roles."""

from __future__ import annotations

import click

from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.commands import Noun, gives
from tidegate.cli.names import ROLE
from tidegate.wire.operator.roles import RoleDetail, Roles

_PERMISSIONS = click.option(
    "--permission", "permissions", multiple=True, required=True, help="Such as rollouts.read; several times."
)
_DESCRIPTION = click.option("--description", default="", help="One line: what it is for.")


@click.group("role", cls=Noun)
def commands() -> None:
    """Roles: the four fixed ones, and own ones made from permissions."""


@commands.command("list")
@pass_cli
@gives(Roles, "role list")
def list_(cli: Cli) -> None:
    """Roles, how much they hold and how many hold them; `role show` names the permissions."""
    columns = ("name", "fixed", "permissions", "operators", "api_keys", "description")
    cli.out.page(cli.client.roles.list(), columns, cells=lambda row: {"permissions": len(row["permissions"])})


@commands.command()
@click.argument("name", type=ROLE)
@pass_cli
@gives(RoleDetail, "role show operator")
def show(cli: Cli, name: str) -> None:
    """One role: its permissions, and who holds it."""
    _told(cli, cli.client.roles.get(name))


@commands.command()
@click.argument("name")
@_PERMISSIONS
@_DESCRIPTION
@pass_cli
@gives(RoleDetail, "role create watcher --permission rollouts.read --permission devices.read")
def create(cli: Cli, name: str, permissions: tuple[str, ...], description: str) -> None:
    """Make a role. You hold all of its permissions for all fleets yourself."""
    _told(cli, cli.client.roles.create(name=name, permissions=permissions, description=description))


@commands.command()
@click.argument("name", type=ROLE)
@_PERMISSIONS
@_DESCRIPTION
@pass_cli
@gives(RoleDetail, "role change watcher --permission rollouts.read")
def change(cli: Cli, name: str, permissions: tuple[str, ...], description: str) -> None:
    """Replace what a role holds; it counts from the next request of everybody who has it."""
    _told(cli, cli.client.roles.replace(name, permissions=permissions, description=description))


@commands.command()
@click.argument("name", type=ROLE)
@pass_cli
@gives(None, "role delete watcher")
def delete(cli: Cli, name: str) -> None:
    """Delete an own role that nobody holds."""
    cli.client.roles.delete(name)
    cli.out.say(f"role {name} is deleted")


def _told(cli: Cli, found: RoleDetail) -> None:
    def human() -> None:
        said = ("name", "description", "fixed", "operators", "api_keys", "created_at", "created_by", "changed_at")
        cli.out.fields({name: getattr(found, name) for name in said})
        cli.out.line("permissions:\n" + "\n".join(f"  {one}" for one in found.permissions))
        if found.holders:
            cli.out.table(found.holders, ("actor", "fleet"))

    cli.out.data(found, human)
