"""`tidegate totp`: one's own second factor."""

from __future__ import annotations

import sys

import click
import segno

from tidegate.cli.client import Cli, pass_cli, read_text
from tidegate.cli.commands import Noun, gives
from tidegate.wire.operator.second_factor import RecoveryCodes, SecondFactor

_PASSWORD = click.option("--password-file", default="", help="File with the password; else it is asked for.")
_CODE = click.option("--code", default="", help="Code of the authenticator; else it is asked for.")


@click.group("totp", cls=Noun)
def commands() -> None:
    """One's own second factor: codes by time from an authenticator."""


@commands.command()
@pass_cli
@gives(SecondFactor, "totp status")
def status(cli: Cli) -> None:
    """Whether there is one, and how many recovery codes are left."""
    cli.out.data(cli.client.me.get_second_factor())


@commands.command()
@_PASSWORD
@pass_cli
@gives(RecoveryCodes, "totp enroll")
def enroll(cli: Cli, password_file: str) -> None:
    """Set one up: shows a QR code and the secret, asks for the first code, then shows the recovery codes, once."""
    begun = cli.client.me.begin_second_factor(password=_password(password_file))
    if not cli.out.as_json:
        segno.make(begun.uri, error="m", micro=False).terminal(out=sys.stderr, compact=True)
    cli.out.say(f"secret: {begun.secret}")
    cli.out.say(f"address: {begun.uri}")
    done = cli.client.me.confirm_second_factor(code=_code(""))
    _tell(cli, done)


@commands.command("recovery-codes")
@_PASSWORD
@_CODE
@pass_cli
@gives(RecoveryCodes, "totp recovery-codes")
def recovery_codes(cli: Cli, password_file: str, code: str) -> None:
    """New recovery codes, shown this once; the old ones end."""
    _tell(cli, cli.client.me.renew_recovery_codes(password=_password(password_file), code=_code(code)))


@commands.command()
@_PASSWORD
@_CODE
@pass_cli
@gives(None, "totp remove")
def remove(cli: Cli, password_file: str, code: str) -> None:
    """Remove it; ends one's other sessions. A recovery code does in place of a code."""
    cli.client.me.remove_second_factor(password=_password(password_file), code=_code(code))
    cli.out.say("the second factor is removed")


def _tell(cli: Cli, done: RecoveryCodes) -> None:
    cli.out.say("Keep these recovery codes where the authenticator is not; each opens one sign-in. Shown this once.")
    cli.out.data(done, "\n".join(done.recovery_codes))


def _password(file: str) -> str:
    if file:
        return read_text(file, "password").rstrip("\n")
    return str(click.prompt("Password", hide_input=True, err=True))


def _code(given: str) -> str:
    return given or str(click.prompt("Code", err=True))
