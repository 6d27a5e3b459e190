"""`tidegate session`: who is signed in."""

from __future__ import annotations

import click

from tidegate.cli.answers import SessionListed
from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.commands import Noun, gives
from tidegate.cli.names import OPERATOR
from tidegate.cli.options import Slice, paged
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.people import SessionsEnded


@click.group("session", cls=Noun)
def commands() -> None:
    """Sessions: one's own and, for who administers people, everybody's."""


@commands.command("list")
@click.option("--everybody", is_flag=True, help="Of all operators; needs users.manage for all fleets.")
@click.option("--operator", default="", type=OPERATOR, help="Only of this one; as --everybody.")
@paged
@pass_cli
@gives(Page[SessionListed], "session list --operator ann")
def list_(cli: Cli, everybody: bool, operator: str, part: Slice) -> None:
    """Living sessions, the newest first."""
    if everybody or operator:
        answer = part.of(cli.client.operator_sessions.list(operator=operator))
        cli.out.page(answer, ("id", "operator", "address", "created_at", "last_used_at", "user_agent"))
        return
    own = cli.client.sessions.list()
    cli.out.page(own, ("id", "current", "address", "created_at", "last_used_at", "user_agent"))


@commands.command()
@click.argument("session_id")
@click.option("--of-another", is_flag=True, help="Somebody else's session; needs users.manage for all fleets.")
@pass_cli
@gives(None, "session end 6f1c")
def end(cli: Cli, session_id: str, of_another: bool) -> None:
    """End one session at once."""
    if of_another:
        cli.client.operator_sessions.delete(session_id)
    else:
        cli.client.sessions.end(session_id)
    cli.out.say(f"session {session_id} has ended")


@commands.command("end-others")
@pass_cli
@gives(SessionsEnded, "session end-others")
def end_others(cli: Cli) -> None:
    """End all of one's own sessions but this one."""
    cli.out.data(cli.client.sessions.end_others())


@commands.command("end-all")
@click.argument("operator", type=OPERATOR)
@pass_cli
@gives(SessionsEnded, "session end-all ann")
def end_all(cli: Cli, operator: str) -> None:
    """End every session of an operator; needs users.manage for all fleets."""
    cli.out.data(cli.client.operators.end_sessions(operator))
