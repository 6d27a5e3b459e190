"""Devices as a sheet: CSV with the columns `name`, `groups` and `tag:KEY`, read strictly and written so that it reads
back to the same.

What a column says is what shall be: an empty cell takes the tag away, the cell of `groups` (names separated by blanks)
is every static group that lists the device. A column that is not there changes nothing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tidegate.errors import FieldError, Invalid, TooLarge
from tidegate.ids import DEVICE_NAME, TAG_KEY, TAG_VALUE

MAX_BYTES = 8 << 20
MAX_ROWS = 50_000
MAX_LINE_BYTES = 64 << 10
MAX_TAG_COLUMNS = 256
#: Tags and groups that all lines name together: what a sheet takes in memory, whatever its commas.
MAX_CELLS = 2_000_000
#: Mistakes that are told; how many there are is told as well.
MAX_TOLD = 100
_BOM = b"\xef\xbb\xbf"
_VALUE_RULE = "1 to 128 letters, digits, blanks and . _ : / @ + -, the first and last a letter or digit"
_NAME_RULE = "1 to 63 lower-case letters, digits, '.', '_' or '-', the first a letter or digit"
#: What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Line:
    """One device; `tags` by key, empty text takes away; `groups` None: the sheet has no such column."""

    number: int
    name: str
    tags: Mapping[str, str]
    groups: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Sheet:
    """`errors` name lines in their order, at most `MAX_TOLD`; `wrong` counts all of them."""

    lines: tuple[Line, ...]
    errors: tuple[FieldError, ...]
    wrong: int


def at_line(number: int, rule: str) -> FieldError:
    return FieldError(f"/lines/{number}", f"line {number}: {rule}")


@dataclass
class Mistakes:
    """The first are kept, all are counted."""

    told: list[FieldError] = field(default_factory=list)
    count: int = 0

    def add(self, number: int, rule: str) -> None:
        self.count += 1
        if len(self.told) < MAX_TOLD:
            self.told.append(at_line(number, rule))

    def in_order(self) -> list[FieldError]:
        """By line."""
        return sorted(self.told, key=lambda one: int(one.pointer.rpartition("/")[2]))


class Reader:
    """Takes a file as it arrives and holds no more of it than a line and what it says."""

    def __init__(self) -> None:
        self._rest = b""
        self._size = 0
        self._number = 0
        self._rows = 0
        self._cells_left = MAX_CELLS
        self._delimiter = ","
        self._columns: list[str] = []
        self._keys: list[tuple[str, str]] = []
        self._lines: list[Line] = []
        self._seen: dict[str, int] = {}
        self._mistakes = Mistakes()

    def feed(self, data: bytes) -> None:
        """More of the file.

        Raises:
            TooLarge: it has more bytes, rows, or tags and groups than a sheet may have.
            Invalid: it is no CSV in UTF-8 at all, or its first line does not name columns.
        """
        self._size += len(data)
        if self._size > MAX_BYTES:
            raise TooLarge(f"cannot import a file of more than {MAX_BYTES >> 20} MiB; split it")
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            self._line(line)
        if len(self._rest) > MAX_LINE_BYTES:
            raise _unreadable(self._number + 1, f"is longer than {MAX_LINE_BYTES:,} bytes")

    def end(self) -> Sheet:
        """What the whole file says. Raises as `feed`."""
        if self._rest:
            self._line(self._rest)
        if not self._columns:
            raise _unreadable(1, "is missing: the first line names the columns, such as name,groups,tag:site")
        return Sheet(tuple(self._lines), tuple(self._mistakes.told), self._mistakes.count)

    def _line(self, raw: bytes) -> None:
        self._number += 1
        if self._number == 1:
            if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise _unreadable(1, "is UTF-16; save the file as CSV in UTF-8")
            raw = raw.removeprefix(_BOM)
        if len(raw) > MAX_LINE_BYTES:
            raise _unreadable(self._number, f"is longer than {MAX_LINE_BYTES:,} bytes")
        try:
            text = raw.decode("utf-8").rstrip("\r")
        except UnicodeDecodeError:
            raise _unreadable(self._number, "is not UTF-8; save the file as CSV in UTF-8") from None
        if not text.strip():
            return
        if not self._columns:
            self._header(text)
            return
        self._rows += 1
        if self._rows > MAX_ROWS:  # wrong ones too: reading them costs as much
            raise TooLarge(f"cannot import more than {MAX_ROWS:,} rows; split the file")
        try:
            self._row(self._cells(text))
        except csv.Error as error:
            self._mistakes.add(
                self._number, f"cannot be read as CSV ({error}); a quote that opens must close on its line"
            )

    def _cells(self, text: str) -> list[str]:
        return [_bare(cell.strip()) for cell in next(csv.reader([text], delimiter=self._delimiter, strict=True))]

    def _header(self, text: str) -> None:
        """Columns are separated by commas, or by what spreadsheets elsewhere write: semicolons or tabs."""
        self._delimiter = max(",;\t", key=text.count)
        try:
            columns = self._cells(text)
        except csv.Error as error:
            raise _unreadable(self._number, f"cannot be read as CSV ({error})") from None
        if len(columns) > MAX_TAG_COLUMNS:
            raise _unreadable(self._number, f"has more than {MAX_TAG_COLUMNS} columns")
        for column in columns:
            key = column.removeprefix("tag:")
            if column not in ("name", "groups") and (key == column or TAG_KEY.fullmatch(key) is None):
                allowed = "allowed are name, groups and tag:KEY, the key in lower case"
                raise _unreadable(self._number, f"has an unknown column {column[:64]!r}; {allowed}")
            if columns.count(column) > 1:
                raise _unreadable(self._number, f"names the column {column} twice")
        if "name" not in columns:
            raise _unreadable(self._number, "has no column name")
        self._columns = columns
        # Made once: every line refers to the same keys.
        self._keys = [(one, one.removeprefix("tag:")) for one in columns if one not in ("name", "groups")]

    def _row(self, cells: Sequence[str]) -> None:
        number, wrong = self._number, self._mistakes.count
        if len(cells) != len(self._columns):
            self._mistakes.add(number, f"has {len(cells)} cells, the first line has {len(self._columns)}")
            return
        by_column = dict(zip(self._columns, cells, strict=True))
        name = by_column.pop("name")
        if DEVICE_NAME.fullmatch(name) is None:
            self._mistakes.add(number, f"{name[:64]!r} is no device name: {_NAME_RULE}")
        elif (before := self._seen.setdefault(name, number)) != number:
            self._mistakes.add(number, f"{name} stands on line {before} already")
        listed = by_column.pop("groups", None)
        groups = None if listed is None else tuple(dict.fromkeys(listed.split()))
        tags = {key: by_column[column] for column, key in self._keys}
        self._cells_left -= len(tags) + len(groups or ())
        if self._cells_left < 0:
            raise TooLarge(f"cannot import more than {MAX_CELLS:,} tags and groups at a time; split the file")
        for key, value in tags.items():
            if value and TAG_VALUE.fullmatch(value) is None:
                self._mistakes.add(number, f"tag:{key} {value[:64]!r} is no tag value: {_VALUE_RULE}")
        if self._mistakes.count == wrong:
            self._lines.append(Line(number, name, tags, groups))


def _unreadable(number: int, rule: str) -> Invalid:
    return Invalid(f"cannot import: line {number} {rule}", (at_line(number, rule),))


def rows(cells: Iterable[Sequence[str]]) -> str:
    """Lines of CSV in which no spreadsheet finds a formula; `Reader` reads them back."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([_harmless(cell) for cell in row] for row in cells)
    return text.getvalue()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _bare(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell
