"""The command `tidegate`: options that all commands share, and how errors end it."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from itertools import islice
from typing import Any

import click

from tidegate import __version__
from tidegate.cli.client import Cli
from tidegate.cli.commands import Noun
from tidegate.cli.fields import spoken
from tidegate.cli.names import suggestions
from tidegate.cli.output import DEFECT, INTERRUPTED, REFUSED, UNREAD, Output
from tidegate.errors import Invalid, NotFound, TidegateError

#: Modules by the command that they have; a module is loaded when its command is asked for: the program starts fast.
_MODULES = {
    "api": "api", "artifact": "artifact", "audit": "audit", "channel": "channel", "check-config": "node",
    "completion": "completion", "context": "login", "device": "device", "doctor": "doctor", "fleet": "fleet",
    "group": "group", "init": "node", "key": "key", "login": "login", "logout": "login", "node": "node_status",
    "role": "role", "rollout": "rollout", "running": "running", "serve": "node", "session": "session",
    "settings": "settings", "token": "token", "totp": "totp",
    "trust": "trust", "user": "user", "whoami": "login",
}  # fmt: skip

#: No command has an option of its own with one of these names.
_ANYWHERE = ("--url", "--ca", "--key-file", "--context", "--fleet", "--json")


class _Commands(Noun):
    """A module has one group `commands`, or several commands in `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        module: Any = importlib.import_module(f"tidegate.cli.{_MODULES[cmd_name]}")
        found = module.COMMANDS[cmd_name] if hasattr(module, "COMMANDS") else module.commands
        return found if isinstance(found, click.Command) else None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The options that all commands share may stand anywhere on the line."""
        own = args[: args.index("--")] if "--" in args else args
        shared = {option: isinstance(param, click.Option) and param.is_flag for param in self.params
                  for option in param.opts if option in _ANYWHERE}  # fmt: skip
        front, rest, given = [], [], iter(own)
        for one in given:
            option, equals, _ = one.partition("=")
            if option not in shared:
                rest.append(one)
            else:
                front += [one] if shared[option] or equals else [one, *islice(given, 1)]
        return super().parse_args(ctx, [*front, *rest, *args[len(own) :]])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            # What is still buffered has no reader: the interpreter must not try to write it when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(UNREAD)
        except TidegateError as error:
            cli = ctx.find_object(Cli)
            if cli is not None and cli.command is not None and not cli.out.as_json and isinstance(error, Invalid):
                error = spoken(error, cli.command)
            similar = suggestions(cli) if cli is not None and isinstance(error, NotFound) else []
            ctx.exit((cli.out if cli is not None else Output(as_json=False)).problem(error, similar))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "TIDEGATE"})
@click.version_option(__version__, prog_name="tidegate")
@click.option("--url", default="", envvar="TIDEGATE_URL", help="The node's console address, https://host:port.")
@click.option(
    "--ca", "ca_file", default="", envvar="TIDEGATE_CA", help="PEM file with the CA that the node is pinned to."
)
@click.option("--key-file", default="", envvar="TIDEGATE_KEY_FILE", help="File with an API key; else the last login.")
@click.option("--context", default="", envvar="TIDEGATE_CONTEXT", help="A node signed in to; else the last one.")
@click.option("--fleet", default="", envvar="TIDEGATE_FLEET", help="The fleet that is meant; else default.")
@click.option("--json", "as_json", is_flag=True, help="Answers as JSON on standard output.")
@click.pass_context
def program(ctx: click.Context, url: str, ca_file: str, key_file: str, context: str, fleet: str, as_json: bool) -> None:
    """Signed software for fleets of edge devices, in widening waves.

    The options below may stand anywhere on the line.

    Exit codes: 0 done, 1 refused, 2 usage, 3 not found, 4 permission, 5 unavailable, 6 untrusted, 70 our own error,
    130 interrupted.
    """
    ctx.obj = Cli(Output(as_json=as_json), url, ca_file, key_file, fleet, context)


def main(arguments: list[str] | None = None) -> None:
    """The program's entry point; ends the process."""
    as_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    try:
        result = program.main(arguments, prog_name="tidegate", standalone_mode=False)
    except click.exceptions.Abort as error:
        interrupted = isinstance(error.__cause__, KeyboardInterrupt)
        unasked = (
            "aborted"
            if sys.stdin is not None and sys.stdin.isatty()
            else "aborted: no answer, or a no; --help shows the option to give"
        )
        click.echo("interrupted" if interrupted else unasked, err=True)
        sys.exit(INTERRUPTED if interrupted else REFUSED)
    except click.ClickException as error:
        if as_json:
            Output(as_json=True).problem(Invalid(error.format_message(), type="usage"))
        else:
            error.show()
        sys.exit(error.exit_code)
    except Exception:  # noqa: BLE001 - told whole, and the exit code says whose fault it is
        traceback.print_exc()
        sys.exit(DEFECT)
    sys.exit(result if isinstance(result, int) else 0)


if __name__ == "__main__":
    main()
