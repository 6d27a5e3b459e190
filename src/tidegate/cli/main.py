"""The command `tidegate`: options that all commands share, and how errors end it."""

from __future__ import annotations

import importlib
import sys
import traceback
from typing import Any

import click

from tidegate import __version__
from tidegate.cli.client import Cli, Client, Login, load_login, pass_cli, quoted, read_text, save_login
from tidegate.cli.output import DEFECT, REFUSED, Output
from tidegate.errors import TidegateError, Unauthenticated

#: Commands by the module that has them; a module is loaded when one of its commands runs.
_GROUPS = {
    "artifact": "artifact", "channel": "channel", "audit": "audit", "device": "device", "group": "group", "key": "key",
    "rollout": "rollout", "token": "token", "trust": "trust", "user": "user",
}  # fmt: skip
_NODE = ("init", "serve", "check-config")


class _Commands(click.Group):
    """Loads a noun's module only when it is asked for: the program starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_GROUPS, *_NODE})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _GROUPS:
            found: Any = importlib.import_module(f"tidegate.cli.{_GROUPS[cmd_name]}").commands
            return found if isinstance(found, click.Command) else None
        if cmd_name in _NODE:
            return importlib.import_module("tidegate.cli.node").COMMANDS.get(cmd_name)  # type: ignore[no-any-return]
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "TIDEGATE"})
@click.version_option(__version__, prog_name="tidegate")
@click.option("--url", default="", envvar="TIDEGATE_URL", help="The node's console address, https://host:port.")
@click.option(
    "--ca", "ca_file", default="", envvar="TIDEGATE_CA", help="PEM file with the CA that the node is pinned to."
)
@click.option("--key-file", default="", envvar="TIDEGATE_KEY_FILE", help="File with an API key; else the last login.")
@click.option("--fleet", default="default", envvar="TIDEGATE_FLEET", show_default=True, help="The fleet that is meant.")
@click.option("--json", "as_json", is_flag=True, help="Answers as JSON on standard output.")
@click.pass_context
def program(ctx: click.Context, url: str, ca_file: str, key_file: str, fleet: str, as_json: bool) -> None:
    """Signed software for fleets of edge devices, in widening waves.

    Exit codes: 0 done, 1 refused, 2 usage, 3 not found, 4 permission, 5 unavailable, 6 untrusted, 70 our own error.
    """
    ctx.obj = Cli(Output(as_json=as_json), url, ca_file, key_file, fleet)


@program.command()
@click.option("--name", prompt=True, help="The operator's name.")
@click.option("--password-file", default="", help="File with the password; else it is asked for.")
@pass_cli
def login(cli: Cli, name: str, password_file: str) -> None:
    """Sign in to a node (--url, and --ca to pin it) and keep the session for the commands after this one."""
    kept = load_login()
    url = cli.url or (kept.url if kept else "")
    if not url:
        raise Unauthenticated("cannot tell which node: give --url")
    ca = read_text(cli.ca_file, "CA") if cli.ca_file else (kept.ca if kept else "")
    password = (
        read_text(password_file, "password").rstrip("\n")
        if password_file
        else click.prompt("Password", hide_input=True, err=True)
    )
    answer = Client(url, ca, "", "").call("POST", "/v1/sessions", body={"name": name, "password": password})
    save_login(Login(url, ca, answer["secret"]))
    shown = {key: answer[key] for key in ("operator", "expires_at")}
    cli.out.data(shown, f"signed in as {answer['operator']} until {answer['expires_at']}")


@program.command()
@pass_cli
def logout(cli: Cli) -> None:
    """End the session that `tidegate login` began."""
    kept = load_login()
    if kept is None:
        cli.out.say("not signed in")
        return
    try:
        Client(kept.url, kept.ca, kept.secret, "").call("DELETE", f"/v1/sessions/{quoted('current')}")
    except Unauthenticated:
        cli.out.say("the session had ended already")
    save_login(None)


@program.command()
@pass_cli
def whoami(cli: Cli) -> None:
    """Who these commands act as, and what they may."""
    cli.out.data(cli.client.call("GET", "/v1/me"))


def main(arguments: list[str] | None = None) -> None:
    """The program's entry point; ends the process."""
    as_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    try:
        result = program.main(arguments, prog_name="tidegate", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("aborted", err=True)
        sys.exit(REFUSED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except TidegateError as error:
        sys.exit(Output(as_json=as_json).problem(error))
    except BrokenPipeError:
        sys.exit(REFUSED)
    except Exception:  # noqa: BLE001 - told whole, and the exit code says whose fault it is
        traceback.print_exc()
        sys.exit(DEFECT)
    sys.exit(result if isinstance(result, int) else 0)


if __name__ == "__main__":
    main()
