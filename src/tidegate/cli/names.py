"""Arguments that name a thing on the node: completed by the shell, and answered with similar names when not found."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from tidegate.cli.client import Cli
from tidegate.cli.output import Output
from tidegate.errors import TidegateError

if TYPE_CHECKING:
    from tidegate.client import Client

#: A shell that waits longer for a completion feels broken.
COMPLETION_SECONDS = 1.0
MOST = 200
_OPTIONS = ("url", "ca_file", "key_file", "fleet", "context")

Found = Iterator[tuple[str, str]]


class Name(click.ParamType[Any]):
    """An argument that names one `noun`; `find` gives names that begin like a text, each with a word of help."""

    def __init__(self, noun: str, find: Callable[[Client, str, click.Context], Found], number: bool = False) -> None:
        self.name = noun
        self._find = find
        self._number = number

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if self._number:
            value = click.IntRange(0, 2**53 - 1).convert(value, param, ctx)
        cli = ctx.find_object(Cli) if ctx is not None else None
        if ctx is not None and cli is not None:
            cli.sought.append((self, str(value), ctx))
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Nothing when the node is away, slow or refuses: the shell says nothing then either."""
        try:
            client = _quick(ctx)
            found = [
                CompletionItem(name, help=said) for name, said in islice(self._find(client, incomplete, ctx), MOST)
            ]
        except (TidegateError, OSError):
            return []
        return [item for item in found if str(item.value).startswith(incomplete)]

    def similar(self, client: Client, wanted: str, ctx: click.Context) -> list[str]:
        """Names of the same noun that look like `wanted`; none when it exists, and something else was not found."""
        if self._number:
            return []
        known = [name for name, _ in islice(self._find(client, wanted[:1], ctx), MOST)]
        known += [name for name, _ in islice(self._find(client, "", ctx), MOST)]
        if wanted in known:
            return []
        return difflib.get_close_matches(wanted, dict.fromkeys(known), n=3)


def _quick(ctx: click.Context) -> Client:
    """While completing no command runs: the options that stand on the line so far say which node."""
    given = ctx.find_root().params
    url, ca, key, fleet, context = (str(given.get(name) or "") for name in _OPTIONS)
    return Cli(Output(as_json=False), url, ca, key, fleet, context).connect(
        retries=0, timeout_seconds=COMPLETION_SECONDS
    )


def _devices(client: Client, begin: str, _ctx: click.Context) -> Found:
    return ((one.name, one.presence) for one in client.devices.list(search=begin).page(limit=MOST).items)


def _groups(client: Client, begin: str, _ctx: click.Context) -> Found:
    return ((one.name, "group") for one in client.groups.list(search=begin).page(limit=MOST).items)


def _artifacts(client: Client, begin: str, _ctx: click.Context) -> Found:
    found = client.artifacts.list(search=begin).page(limit=MOST).items
    return ((name, "artifact") for name in dict.fromkeys(one.name for one in found))


def _versions(client: Client, _begin: str, ctx: click.Context) -> Found:
    name = ctx.params.get("artifact") or ctx.params.get("name") or ""
    found = client.artifacts.list(name=name).page(limit=MOST).items if name else ()
    return ((one.version, "withdrawn" if one.withdrawn_at else one.kind) for one in found)


def _rollouts(client: Client, _begin: str, _ctx: click.Context) -> Found:
    found = client.rollouts.list().page(limit=50).items
    return ((str(one.id), f"{one.artifact} {one.version}, {one.state}") for one in found)


def _tokens(client: Client, _begin: str, _ctx: click.Context) -> Found:
    return ((str(one.id), one.device_name or one.state) for one in client.tokens.list(live=True).page(limit=50).items)


def _operators(client: Client, _begin: str, _ctx: click.Context) -> Found:
    return ((one.name, "operator") for one in client.operators.list().page(limit=MOST).items)


def _keys(client: Client, _begin: str, _ctx: click.Context) -> Found:
    return ((str(one.id), one.name) for one in client.api_keys.list().page(limit=MOST).items)


def _roles(client: Client, _begin: str, _ctx: click.Context) -> Found:
    return ((one.name, one.description) for one in client.roles.list().items)


def _channels(client: Client, _begin: str, ctx: click.Context) -> Found:
    found = client.channels.list(artifact=ctx.params.get("artifact") or None).page(limit=MOST).items
    return ((one.channel, one.version) for one in found)


def _sources(client: Client, _begin: str, ctx: click.Context) -> Found:
    name = ctx.params.get("name") or ""
    return ((one, "log") for one in (client.devices.get(name).log_sources if name else ()))


DEVICE = Name("device", _devices)
GROUP = Name("group", _groups)
ARTIFACT = Name("artifact", _artifacts)
VERSION = Name("version", _versions)
CHANNEL = Name("channel", _channels)
ROLE = Name("role", _roles)
SOURCE = Name("source", _sources)
ROLLOUT = Name("rollout", _rollouts, number=True)
TOKEN = Name("token", _tokens, number=True)
OPERATOR = Name("operator", _operators)
KEY = Name("key", _keys, number=True)


def suggestions(cli: Cli) -> list[str]:
    """Names like those that were sought and not found; none when they cannot be had."""
    try:
        return [name for kind, wanted, ctx in cli.sought for name in kind.similar(cli.client, wanted, ctx)]
    except TidegateError:
        return []
