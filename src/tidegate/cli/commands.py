"""What commands have in common: the JSON that they print, an example in their help, words for what was mistyped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


def gives(kind: Any, example: str) -> Callable[[Function], Function]:
    """Declare what a command prints with `--json`, and a line of use that its help shows.

    Args:
        kind: a struct or a list type, which `Output.data` keeps to; None: nothing.
        example: the words behind `tidegate`.
    """

    def mark(function: Function) -> Function:
        function.gives = kind  # type: ignore[attr-defined]
        function.example = example  # type: ignore[attr-defined]
        return function

    return mark


class Leaf(click.Command):
    """A command that does something: its help ends with its example."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        example = getattr(self.callback, "example", "")
        if example:
            with formatter.section("Example"):
                formatter.write(f"  tidegate {example}\n")


class Noun(click.Group):
    """A group of commands about one thing."""

    command_class = Leaf
    group_class = type

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise click.exceptions.NoSuchCommand(args[0], possibilities=self.list_commands(ctx), ctx=ctx)
        return super().resolve_command(ctx, args)
