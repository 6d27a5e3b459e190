"""Options that many commands share, read into the types that the client takes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from tidegate.client.answers import Listing
from tidegate.wire.operator.common import MAX_LIMIT, Page

T = TypeVar("T")


class _Time(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            read = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time; write it as 2026-12-01T08:00:00Z", param, ctx)
        if read.tzinfo is None:
            self.fail(f"{value!r} does not say of which zone; end it with Z for UTC, or with +02:00", param, ctx)
        return read.astimezone(UTC)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "TIME"


#: RFC 3339, never without a zone.
TIME = _Time()
#: The end of a hold.
UNTIL = click.option("--until", type=TIME, help="Such as 2026-12-01T08:00:00Z; left out: until released.")


@dataclass(frozen=True, slots=True)
class Slice:
    """Which part of a list: one page, or `every` one of them."""

    limit: int
    cursor: str
    every: bool

    def of(self, listing: Listing[T]) -> Page[T]:
        if not self.every:
            return listing.page(limit=self.limit, cursor=self.cursor)
        found = tuple(listing)
        return Page(found, len(found), None)


def paged(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--limit`, `--cursor` and `--every`, given to the command as `part`."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, limit: int, cursor: str, every: bool, **options: Any) -> Any:
        if every and cursor:
            raise click.UsageError("give --every or --cursor, not both")
        return function(*arguments, part=Slice(limit, cursor, every), **options)

    for option in (
        click.option("--every", is_flag=True, help="The whole list instead of one page."),
        click.option("--cursor", default="", help="Where the page before said to go on."),
        click.option("--limit", default=50, show_default=True, type=click.IntRange(1, MAX_LIMIT), help="On a page."),
    ):
        wrapped = option(wrapped)
    return wrapped
