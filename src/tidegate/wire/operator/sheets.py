"""Devices as a sheet in the operator API: CSV with the columns `name`, `groups` and `tag:KEY`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from tidegate.wire.device import DeviceName, Sha256
from tidegate.wire.operator.common import OperatorRequest, SelectorText, Time
from tidegate.wire.problem import ProblemField

Unknown = Literal["refuse", "skip", "enroll"]


class ImportQuery(OperatorRequest, frozen=True, kw_only=True):
    """`dry_run` changes nothing. `unknown`: names that no active device bears refuse the whole, are left out, or are
    each given an enrollment token of `expires_in_seconds` (a week without it), which needs `tokens.write`."""

    dry_run: bool = False
    unknown: Unknown = "refuse"
    expires_in_seconds: Annotated[int, Meta(ge=60, le=2_592_000)] | None = None


class ExportQuery(OperatorRequest, frozen=True, kw_only=True):
    selector: SelectorText | Literal[""] = ""
    group: DeviceName | Literal[""] = ""


class NamedToken(Struct, frozen=True):
    """An enrollment token bound to `name`, shown this once."""

    name: str
    secret: str
    expires_at: Time


class NamedChange(Struct, frozen=True):
    name: str
    change: str


class ImportInfo(Struct, frozen=True, kw_only=True):
    """What the import did, or with `dry_run` would do. `shown` are the first changes, `unknown` the first names that
    nobody bears; `errors` the first of `wrong` mistakes, because of which nothing can be done."""

    done: bool
    sha256: Sha256
    rows: int
    changed: int
    unchanged: int
    tags_put: int
    tags_removed: int
    groups_joined: int
    groups_left: int
    unknown: tuple[str, ...]
    unknown_count: int
    shown: tuple[NamedChange, ...]
    errors: tuple[ProblemField, ...]
    wrong: int
    tokens: tuple[NamedToken, ...]
