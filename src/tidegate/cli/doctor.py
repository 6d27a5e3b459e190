"""`tidegate doctor`: what is wrong with a node, and what to do about it; on its machine, whether it runs or not."""

from __future__ import annotations

import resource
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import click
from msgspec import Struct

from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.commands import Leaf, gives
from tidegate.cli.node import CONFIG
from tidegate.cli.output import OK, REFUSED
from tidegate.client.words import in_words
from tidegate.clock import SystemClock
from tidegate.control import settings
from tidegate.control.settings import Settings
from tidegate.errors import Invalid, TidegateError

#: What one node needs for its devices' connections; the system's default is far below it.
FILES_WANTED, FILES_LEAST = 20_000, 4_096
_SECONDS = 10
_SETTINGS_NEXT = "make a node, name its file with --config, or mend the file until tidegate check-config reads it"


class Finding(Struct, frozen=True):
    """`check` is stable; `next` is empty where all is well."""

    check: str
    level: Literal["ok", "warning", "error"]
    said: str
    next: str = ""


class Report(Struct, frozen=True):
    """`healthy`: no finding is an error."""

    healthy: bool
    findings: tuple[Finding, ...]


@click.command("doctor", cls=Leaf)
@CONFIG
@pass_cli
@gives(Report, "doctor --config /var/lib/tidegate/tidegate.toml")
def commands(cli: Cli, config: str) -> None:
    """Examine the node of this machine; exit 1 when something is wrong that stops it or its devices."""
    found = tuple(_findings(Path(config)))
    report = Report(not any(one.level == "error" for one in found), found)
    cli.out.data(report, lambda: _show(cli, report))
    click.get_current_context().exit(OK if report.healthy else REFUSED)


def _show(cli: Cli, report: Report) -> None:
    for one in report.findings:
        cli.out.line(f"{one.level:<8} {one.check}: {one.said}")
        if one.next:
            cli.out.line(f"{'':<8} → {one.next}")
    wrong = sum(one.level == "error" for one in report.findings)
    errors = "1 error" if wrong == 1 else f"{wrong} errors"
    cli.out.say("nothing is wrong that stops the node" if report.healthy else f"{errors} in what was examined")


def _findings(config: Path) -> Iterator[Finding]:
    try:
        chosen = settings.load(config)
    except Invalid as error:
        yield Finding("settings", "error", error.detail, _SETTINGS_NEXT)
        return
    yield Finding("settings", "ok", f"{config} is valid")
    yield _open_files()
    from tidegate.control.services.examination import examine  # half of the program's start, needed here only

    for one in examine(chosen, SystemClock()):
        yield Finding(one.check, one.level, one.said, one.next)
    yield from _reachable(chosen)


def _open_files() -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    said = "any number of files may be open" if hard == resource.RLIM_INFINITY else f"{hard:,} files may be open"
    remedy = f"raise it: LimitNOFILE={FILES_WANTED} in the unit, or ulimit -Hn {FILES_WANTED}"
    if hard == resource.RLIM_INFINITY or hard >= FILES_WANTED:
        return Finding("open-files", "ok", said)
    level: Literal["warning", "error"] = "warning" if hard >= FILES_LEAST else "error"
    return Finding("open-files", level, f"{said}, which bounds how many devices can be connected", remedy)


def _reachable(chosen: Settings) -> Iterator[Finding]:
    """Both listeners under the addresses that operators and devices are told, verified as they verify them."""
    ca = chosen.data_dir / "pki" / "server-ca.pem"
    urls = {"console": chosen.effective_console_url, "enroll": chosen.effective_enroll_url}
    if urls["enroll"] == urls["console"]:
        del urls["enroll"]
    for check, url in (urls | {"channel": chosen.effective_channel_url}).items():
        try:
            yield Finding(check, "ok", f"{url} answers, its certificate verifies{_asked(url, ca)}")
        except (OSError, TidegateError) as error:
            why = error.detail if isinstance(error, TidegateError) else in_words(error)
            remedy = f"start the node with tidegate serve, and see that {check}_url and the firewall lead to it"
            yield Finding(check, "error", f"cannot reach {url}: {why}", remedy)


def _asked(url: str, ca: Path) -> str:
    parts = urlsplit(url)
    context = ssl.create_default_context(cafile=str(ca))
    address = (parts.hostname or "", parts.port or 443)
    with (
        socket.create_connection(address, timeout=_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=parts.hostname) as secured,
    ):
        return f" ({secured.version()})"
