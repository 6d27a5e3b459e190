"""`tidegate api`: any call of the operator API, as it is: for scripts, and for what is newer than this program."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from tidegate.cli.client import Cli, pass_cli, read_text
from tidegate.cli.commands import Leaf, gives
from tidegate.errors import Invalid

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@click.command("api", cls=Leaf)
@click.argument("method", type=click.Choice(_METHODS, case_sensitive=False))
@click.argument("path")
@click.option("--query", "-q", "query", multiple=True, metavar="NAME=VALUE", help="Part of the query; may be repeated.")
@click.option("--body", default="", metavar="FILE", help="File with the body as JSON; - reads standard input.")
@click.option("--raw", is_flag=True, help="The answer's bytes as they are, such as an export; GET only.")
@pass_cli
@gives(Any, "api GET /v1/rollouts -q state=open")
def commands(cli: Cli, method: str, path: str, query: Sequence[str], body: str, raw: bool) -> None:
    """Make one call of the API, whatever it is; every operation has a command of its own besides."""
    if not path.startswith("/"):
        raise Invalid(f"cannot ask for {path}: a path begins with /, such as /v1/devices")
    asked = {}
    for part in query:
        name, separator, value = part.partition("=")
        if not separator:
            raise Invalid(f"cannot read the query {part}: it must be NAME=VALUE")
        asked[name] = value
    if raw:
        if method != "GET" or body:
            raise click.UsageError("--raw goes with GET and no body")
        for piece in cli.client.download(path, asked):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    answer = cli.client.call(method, path, query=asked, body=_read(body) if body else None, creates=method == "POST")
    if answer is not None:
        sys.stdout.write(json.dumps(answer, ensure_ascii=False, indent=2) + "\n")


def _read(file: str) -> Any:
    text = sys.stdin.read() if file == "-" else read_text(file, "body")
    try:
        return json.loads(text)
    except ValueError as error:
        raise Invalid(f"cannot read the body: it is not JSON: {error}") from error
