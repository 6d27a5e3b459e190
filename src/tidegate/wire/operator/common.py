"""What every list shares (SPEC section 13)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Generic, TypeVar

from msgspec import Meta, Struct

MAX_LIMIT = 200
MAX_OFFSET = 10_000
#: A list's `total` is exact up to this; more is told as this.
MAX_TOTAL = 10_000

T = TypeVar("T")

#: An instant (RFC 3339), never without its offset from UTC.
Time = Annotated[datetime, Meta(tz=True)]
#: Which devices, such as ``arch == "arm64" and ram_bytes >= 8GiB``.
SelectorText = Annotated[str, Meta(min_length=1, max_length=4096)]


class OperatorRequest(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Base of every body and query of the operator API: unknown fields are refused by name."""


class ListQuery(OperatorRequest, frozen=True, kw_only=True):
    """Which slice of a list: `offset` for pages that people turn, `cursor` for walking that stays stable meanwhile."""

    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT)] = 50
    offset: Annotated[int, Meta(ge=0, le=MAX_OFFSET)] = 0
    cursor: Annotated[str, Meta(max_length=512)] = ""


class Page(Struct, Generic[T], frozen=True):
    """One slice: `next_cursor` is null at the end."""

    items: tuple[T, ...]
    total: int
    next_cursor: str | None = None
