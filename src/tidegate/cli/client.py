"""What every command works with: its output, and the client of the node that is meant."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli import contexts
from tidegate.cli.output import Output
from tidegate.clock import SystemClock
from tidegate.errors import Invalid, Unauthenticated

if TYPE_CHECKING:
    from tidegate.cli.names import Name
    from tidegate.client import Client

#: One repeat hides a node that just restarts; a person who waits sees longer trouble at once.
RETRIES = 1
DEFAULT_FLEET = "default"


@dataclass(slots=True)
class Cli:
    """The options of the program; `sought` is what the command's arguments name: kind, name and where."""

    out: Output
    url: str
    ca_file: str
    key_file: str
    asked_fleet: str
    context: str
    sought: list[tuple[Name, str, click.Context]] = field(default_factory=list)
    command: click.Context | None = None
    _client: Client | None = None

    @property
    def client(self) -> Client:
        """The node named by options, variables or `tidegate login`, in this order.

        Raises:
            Unauthenticated: no credential is known, or the session has ended.
            Invalid: a file cannot be read.
        """
        if self._client is None:
            self._client = self.connect(retries=RETRIES)
        return self._client

    @property
    def fleet(self) -> str:
        """The fleet that is meant: by option, variable or context; `default` without."""
        kept = None if self.asked_fleet else contexts.load().named(self.context)
        return self.asked_fleet or (kept.fleet if kept else "") or DEFAULT_FLEET

    def connect(self, *, retries: int, timeout_seconds: float = 300.0) -> Client:
        """A client of its own; raises as `client`."""
        from tidegate.client import Client  # where no node is asked for the program starts without it

        kept = contexts.load().named(self.context)
        url = self.url or (kept.url if kept else "")
        if not url:
            raise Unauthenticated("cannot tell which node: sign in with tidegate login, or give --url and --key-file")
        if kept is not None and kept.url != url.rstrip("/"):
            kept = None
        ca = read_text(self.ca_file, "CA") if self.ca_file else (kept.ca if kept else "")
        secret = self._secret(url, kept)
        return Client(url, ca=ca, key=secret, fleet=self.fleet, retries=retries, timeout_seconds=timeout_seconds)

    def _secret(self, url: str, kept: contexts.Context | None) -> str:
        if self.key_file:
            return read_text(self.key_file, "API key").strip()
        if kept is None or not kept.secret:
            raise Unauthenticated(f"cannot sign in at {url}: use tidegate login, or give --key-file")
        now = SystemClock().now()
        if kept.expires_at is not None and kept.expires_at <= now:
            ended = contexts.in_words(kept.expires_at, now)
            raise Unauthenticated(f"cannot use the session at {url}: it ended {ended}; sign in with tidegate login")
        return kept.secret


def read_text(path: str, what: str) -> str:
    """Raises `Invalid` when there is no such text."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(f"cannot use the {what} file {path}: it is not text") from error
    except OSError as error:
        raise Invalid(f"cannot read the {what} file {path}: {error.strerror}") from error


def pass_cli(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command its `Cli`, which then knows the command: refusals name its options."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        context = click.get_current_context()
        cli = context.ensure_object(Cli)
        cli.command = context
        return function(cli, *arguments, **options)

    return wrapped
