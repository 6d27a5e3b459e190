"""`tidegate device logs` and `log-requests`: the end of a device's log, asked for, waited for, read."""

from __future__ import annotations

import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.commands import Leaf, gives
from tidegate.cli.names import DEVICE, SOURCE
from tidegate.cli.options import Slice, paged
from tidegate.errors import Conflict, Unavailable
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.logs import LogRequestInfo

_POLL_SECONDS = 1.0
_COLUMNS = ("id", "source", "state", "size_bytes", "requested_at", "requested_by", "reason")


@click.command("logs", cls=Leaf)
@click.argument("name", type=DEVICE)
@click.argument("source", type=SOURCE, required=False)
@click.option("--max-bytes", default=1 << 20, show_default=True, type=click.IntRange(1024, 16 << 20),
              help="From its end.")  # fmt: skip
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Save it packed (gzip) here.")
@click.option("--timeout", default=300, show_default=True, type=click.IntRange(0), help="Seconds to wait for it.")
@pass_cli
@gives(LogRequestInfo, "device logs cam-1 journal --max-bytes 65536")
def logs(cli: Cli, name: str, source: str | None, max_bytes: int, output: Path | None, timeout: int) -> None:
    """Print the end of the log SOURCE of device NAME: one that its owner allows. Without SOURCE, name those.

    The device sends it when it next calls. The request goes on after the timeout, for a day.
    """
    if source is None:
        raise click.UsageError(_sources(cli, name))
    request = cli.client.devices.ask_log(name, source=source, max_bytes=max_bytes)
    request = _wait(cli, request, time.monotonic() + timeout)
    if request.state != "received":
        why = f": {request.reason}" if request.reason else ""
        raise Conflict(f"cannot print the log {source} of {name}: request {request.id} is {request.state}{why}")
    packed = cli.client.devices.log_bundle(name, request.id)
    if output is not None:
        packed.save(output)
        cli.out.say(f"saved in {output}")
    if cli.out.as_json or output is not None:
        cli.out.data(request, lambda: None)
        return
    for piece in _unpacked(packed):
        sys.stdout.buffer.write(piece)
    sys.stdout.flush()


@click.command("log-requests", cls=Leaf)
@click.argument("name", type=DEVICE)
@paged
@pass_cli
@gives(Page[LogRequestInfo], "device log-requests cam-1")
def log_requests(cli: Cli, name: str, part: Slice) -> None:
    """What was asked of the logs of device NAME, the newest first."""
    cli.out.page(part.of(cli.client.devices.logs(name)), _COLUMNS)


@click.command("log-cancel", cls=Leaf)
@click.argument("name", type=DEVICE)
@click.argument("request", type=click.IntRange(1))
@pass_cli
@gives(None, "device log-cancel cam-1 12")
def log_cancel(cli: Cli, name: str, request: int) -> None:
    """Ask device NAME no more for REQUEST."""
    cli.client.devices.cancel_log(name, request)
    cli.out.say(f"request {request} is cancelled")


def _sources(cli: Cli, name: str) -> str:
    allowed = cli.client.devices.get(name).log_sources
    if not allowed:
        return f"cannot print a log of {name}: its owner allows none; see log_sources in its agent.toml"
    return f"cannot tell which log of {name} is meant: give SOURCE, one of {', '.join(allowed)}"


def _wait(cli: Cli, request: LogRequestInfo, ends: float) -> LogRequestInfo:
    """Until the device has answered. Raises `Unavailable` when it has not in time."""
    with cli.out.progress(f"waiting for {request.device}", None):
        while request.state == "waiting":
            if time.monotonic() >= ends:
                raise Unavailable(
                    f"cannot print the log {request.source} of {request.device} yet: it has not called; request"
                    f" {request.id} waits until {request.expires_at:%Y-%m-%d %H:%M} UTC, see tidegate device"
                    f" log-requests {request.device}"
                )
            cli.client.pause(_POLL_SECONDS)
            request = cli.client.devices.get_log(request.device, request.id)
    return request


def _unpacked(packed: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(wbits=31)
    for piece in packed:
        yield unpacker.decompress(piece)
