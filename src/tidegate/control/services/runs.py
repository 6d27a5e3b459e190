"""What runs where: counts for a look, rows for a list, and everything for an export (SPEC section 15)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection

from tidegate.control.domain.access import Scope
from tidegate.control.domain.paging import decode_cursor, encode_cursor
from tidegate.control.services.groups import require_group
from tidegate.control.services.node import Node
from tidegate.control.store import groups, selectors
from tidegate.control.store import runs as store
from tidegate.control.store.runs import Filter, RunRow, Show, Totals, VersionCount
from tidegate.wire import selector

Format = Literal["csv", "jsonl"]
#: Rows of an export read at a time: what it holds in memory, whatever the fleet's size.
CHUNK_ROWS = 1_000
COLUMNS = (
    "device", "artifact", "running_version", "should_version", "withdrawn", "drift_since", "restore", "reported_at",
    "last_seen_at",
)  # fmt: skip
_RISKY = re.compile(r"[=+\-@\t\r\n]")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Empty leaves a question out; `group` and `selector` narrow the devices."""

    artifact: str = ""
    version: str = ""
    group: str = ""
    selector: str = ""
    show: Show = "all"


@dataclass(frozen=True, slots=True)
class CountPage:
    items: list[VersionCount]
    total: int
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class RowPage:
    items: list[RunRow]
    total: int
    next_cursor: str | None


def totals(scope: Scope, node: Node, wanted: Wanted) -> Totals:
    """How many devices there are, have reported, drifted, and run something withdrawn.

    Raises:
        NotFound: no such group. Invalid: the selector.
    """
    scope.require("devices.read")
    with node.db.read() as tx:
        return store.totals(tx, scope.fleet_id, _filter(tx, scope, wanted))


def versions(
    scope: Scope, node: Node, wanted: Wanted, *, limit: int = 50, offset: int = 0, cursor: str = ""
) -> CountPage:
    """How many devices run each version, by artifact name and version. Raises as `totals`."""
    scope.require("devices.read")
    position = decode_cursor(cursor, str, str)
    with node.db.read() as tx:
        found, total = store.counted(
            tx,
            scope.fleet_id,
            _filter(tx, scope, wanted),
            after=(str(position[0]), str(position[1])) if position else None,
            limit=limit + 1,
            offset=offset,
        )
    items = found[:limit]
    more = encode_cursor(items[-1].artifact, items[-1].version) if len(found) > limit else None
    return CountPage(items, total, more)


def listed(scope: Scope, node: Node, wanted: Wanted, *, limit: int = 50, offset: int = 0, cursor: str = "") -> RowPage:
    """Device by device, by its name and then the artifact's. Raises as `totals`."""
    scope.require("devices.read")
    position = decode_cursor(cursor, str, int, str)
    after = (str(position[0]), int(position[1]), str(position[2])) if position else None
    with node.db.read() as tx:
        asked = _filter(tx, scope, wanted)
        found = store.rows(tx, scope.fleet_id, asked, after=after, limit=limit + 1, offset=offset)
        total = store.count(tx, scope.fleet_id, asked)
    items = found[:limit]
    return RowPage(items, total, encode_cursor(*items[-1].place) if len(found) > limit else None)


def export(scope: Scope, node: Node, wanted: Wanted, format_: Format) -> Iterator[bytes]:
    """Every row, in the order of `listed`; each piece is read when it is asked for, in a transaction of its own, so
    that a slow receiver holds up nobody.

    Raises:
        NotFound, Invalid: as `totals`, before the first piece.
    """
    scope.require("devices.read")
    with node.db.read() as tx:
        _filter(tx, scope, wanted)
    write = _csv if format_ == "csv" else _jsonl
    return _pieces(scope, node, wanted, write, _csv_line(COLUMNS) if format_ == "csv" else b"")


def _pieces(
    scope: Scope, node: Node, wanted: Wanted, write: Callable[[Sequence[RunRow]], bytes], head: bytes
) -> Iterator[bytes]:
    after: tuple[str, int, str] | None = None
    piece = head
    while True:
        with node.db.read() as tx:
            asked = _filter(tx, scope, wanted)
            found = store.rows(tx, scope.fleet_id, asked, after=after, limit=CHUNK_ROWS, offset=0)
        yield piece + write(found)
        piece = b""
        if len(found) < CHUNK_ROWS:
            return
        after = found[-1].place


def _filter(tx: Connection, scope: Scope, wanted: Wanted) -> Filter:
    among = []
    if wanted.group:
        among.append(groups.members(require_group(tx, scope, wanted.group)))
    if wanted.selector:
        among.append(selectors.matching(scope.fleet_id, selector.parse(wanted.selector, "/selector")))
    return Filter(wanted.artifact, wanted.version, wanted.show, tuple(among))


# -- lines ------------------------------------------------------------------------------------------------------------


def _values(row: RunRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in COLUMNS}


def _jsonl(rows: Sequence[RunRow]) -> bytes:
    return b"".join(msgspec.json.encode(_values(row)) + b"\n" for row in rows)


def _csv(rows: Sequence[RunRow]) -> bytes:
    return b"".join(_csv_line([_text(value) for value in _values(row).values()]) for row in rows)


def _csv_line(cells: Sequence[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow([unformulated(cell) for cell in cells])
    return out.getvalue().encode()


def unformulated(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: what begins like one gets an apostrophe before it (OWASP)."""
    return f"'{cell}" if _RISKY.match(cell) else cell


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return str(value)
