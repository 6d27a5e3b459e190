"""`tidegate session`: who is signed in."""

from __future__ import annotations

import click

from tidegate.cli.answers import SessionListed
from tidegate.cli.client import Cli, pass_cli, quoted
from tidegate.cli.names import OPERATOR
from tidegate.cli.output import gives
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.people import SessionsEnded


@click.group("session")
def commands() -> None:
    """Sessions: one's own and, for who administers people, everybody's."""


@commands.command("list")
@click.option("--everybody", is_flag=True, help="Of all operators; needs users.manage for all fleets.")
@click.option("--operator", default="", help="Only of this one; as --everybody.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--cursor", default="")
@pass_cli
@gives(Page[SessionListed])
def list_(cli: Cli, everybody: bool, operator: str, limit: int, cursor: str) -> None:
    """Living sessions, the newest first."""
    if everybody or operator:
        query = {"operator": operator, "limit": limit, "cursor": cursor}
        answer = cli.client.call("GET", "/v1/operator-sessions", query=query)
        cli.out.page(answer, ("id", "operator", "address", "created_at", "last_used_at", "user_agent"))
        return
    answer = cli.client.call("GET", "/v1/sessions")
    cli.out.page(answer, ("id", "current", "address", "created_at", "last_used_at", "user_agent"))


@commands.command()
@click.argument("session_id")
@click.option("--of-another", is_flag=True, help="Somebody else's session; needs users.manage for all fleets.")
@pass_cli
@gives(None)
def end(cli: Cli, session_id: str, of_another: bool) -> None:
    """End one session at once."""
    below = "operator-sessions" if of_another else "sessions"
    cli.client.call("DELETE", f"/v1/{below}/{quoted(session_id)}")
    cli.out.say(f"session {session_id} has ended")


@commands.command("end-others")
@pass_cli
@gives(SessionsEnded)
def end_others(cli: Cli) -> None:
    """End all of one's own sessions but this one."""
    cli.out.data(cli.client.call("DELETE", "/v1/sessions"))


@commands.command("end-all")
@click.argument("operator", type=OPERATOR)
@pass_cli
@gives(SessionsEnded)
def end_all(cli: Cli, operator: str) -> None:
    """End every session of an operator; needs users.manage for all fleets."""
    cli.out.data(cli.client.call("DELETE", f"/v1/operators/{quoted(operator)}/sessions"))
