"""The node itself: `tidegate init`, `serve`, `check-config`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from tidegate.cli.answers import Initialised, Listening
from tidegate.cli.client import Cli, pass_cli, read_text
from tidegate.cli.commands import Leaf, gives
from tidegate.clock import SystemClock
from tidegate.control import settings
from tidegate.control.settings import SETTINGS_FILE, Settings

#: Settings that `init` takes as options and writes into the settings file.
_GIVEN = ("database_url", "database_password_file", "blob_url", "console_bind", "device_bind", "metrics_bind",
          "enroll_bind", "console_url", "enroll_url", "channel_url", "trust_domain", "interval_seconds",
          "log_format")  # fmt: skip


def default_data_dir() -> str:
    if os.getuid() == 0:
        return "/var/lib/tidegate"
    return str(Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "tidegate")


def _with_settings(command: click.Command) -> click.Command:
    for name in reversed(_GIVEN):
        kind = click.INT if name == "interval_seconds" else click.STRING
        command.params.append(
            click.Option([f"--{name.replace('_', '-')}"], type=kind, help=f"Setting {name}, see the reference.")
        )
    return command


@click.command(cls=Leaf)
@click.option("--data-dir", default=default_data_dir, show_default="/var/lib/tidegate, or below the home folder",
              help="Where all of the node lives; made when it is not there.")  # fmt: skip
@click.option("--admin", default="admin", show_default=True, help="Name of the first operator.")
@click.option("--admin-password-file", default="", help="File with their password; else one is made and shown once.")
@pass_cli
@gives(Initialised, "init --data-dir /var/lib/tidegate --console-url https://node.example:8443")
def init(cli: Cli, /, data_dir: str, admin: str, admin_password_file: str, **given: str | int | None) -> None:
    """Make a node: database, keys, certificates, the fleet `default`, the first admin. All of it, or nothing."""
    from tidegate.control import logs
    from tidegate.control.services import setup

    os.umask(0o077)
    logs.configure("console", "warning")
    values = {name: value for name, value in given.items() if value is not None}
    password = read_text(admin_password_file, "password").rstrip("\n") if admin_password_file else None
    folder = Path(data_dir).absolute()
    made = setup.initialise(folder, values, SystemClock(), admin=admin, password=password)
    told = {
        "settings": str(made.settings_file),
        "server_ca": str(made.server_ca),
        "server_ca_sha256": _fingerprint(made.server_ca),
        "admin": made.admin,
        "password": made.password if password is None else None,
    }
    shown = {name: value for name, value in told.items() if value is not None}
    cli.out.data(told, lambda: cli.out.fields(shown))
    if password is None:
        cli.out.say("The password is shown this once. Change it after signing in.")
    cli.out.say(
        "This is a convenience trust domain: every key lies in the data folder. Move keys/offline away in production."
    )
    cli.out.say(f"Start it with: tidegate serve --config {made.settings_file}")


def _fingerprint(ca: Path) -> str:
    """As the Trust Center shows it, and as `tidegate login --fingerprint` takes it."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    return x509.load_pem_x509_certificate(ca.read_bytes()).fingerprint(SHA256()).hex()


def _default_config() -> str:
    return str(Path(default_data_dir()) / SETTINGS_FILE)


CONFIG = click.option(
    "--config",
    default=_default_config,
    show_default="tidegate.toml in the data folder",
    help="The settings file.",
)


@click.command(cls=Leaf)
@CONFIG
@pass_cli
@gives(Listening, "serve --config /var/lib/tidegate/tidegate.toml")
def serve(cli: Cli, /, config: str) -> None:
    """Run the node until SIGTERM or SIGINT: console and API, device channel, workers."""
    from tidegate.control import app, logs

    os.umask(0o077)
    chosen = settings.load(Path(config))
    logs.configure(chosen.log_format, chosen.log_level)

    def ready(addresses: app.Addresses) -> None:
        told = {"console": addresses.console, "channel": addresses.channel, "metrics": addresses.metrics}
        cli.out.data(told)
        sys.stdout.flush()  # whoever started the node waits for this line

    app.run(chosen, ready)


@click.command("check-config", cls=Leaf)
@CONFIG
@pass_cli
@gives(dict[str, Any], "check-config --config /var/lib/tidegate/tidegate.toml")
def check_config(cli: Cli, /, config: str) -> None:
    """Read the settings file as `serve` would and print every setting, defaults filled in."""
    chosen = settings.load(Path(config))
    _ = chosen.effective_database_url  # reads the password's file, which `serve` would miss
    cli.out.data(effective(chosen))


def effective(chosen: Settings) -> dict[str, Any]:
    """Every setting as plain values; there is no secret among them."""
    found: dict[str, Any] = msgspec.to_builtins(chosen, enc_hook=str)  # paths
    return found


COMMANDS: dict[str, click.Command] = {"init": _with_settings(init), "serve": serve, "check-config": check_config}
