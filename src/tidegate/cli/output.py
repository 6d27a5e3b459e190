"""What the command line prints: data on standard output, talk on standard error, and how a command ends.

Exit codes (also in docs/reference/cli.md): 0 done; 1 refused as asked; 2 wrong usage; 3 not found; 4 not signed in or
lacking a permission; 5 unavailable for now, trying again may help; 6 not to be trusted (a certificate, a signature, a
broken chain); 70 an error of Tidegate itself; 130 interrupted; 141 nobody reads standard output any more.

With `--json` standard output is one JSON value of the type that the command declares with `commands.gives`, or nothing
where it declares nothing; a refusal is a `Refusal` on standard error.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import click
import msgspec
import rich.box
from msgspec import Struct
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from tidegate.errors import (
    Defect,
    Forbidden,
    Invalid,
    NotFound,
    TidegateError,
    TooMany,
    Unauthenticated,
    Unavailable,
    Untrusted,
)
from tidegate.problems import problem_of
from tidegate.wire.operator.common import MAX_TOTAL, Page
from tidegate.wire.operator.devices import HoldInfo
from tidegate.wire.problem import ProblemField

OK, REFUSED, USAGE, NOT_FOUND, PERMISSION, UNAVAILABLE, UNTRUSTED, DEFECT = 0, 1, 2, 3, 4, 5, 6, 70
INTERRUPTED, UNREAD = 130, 141

# All but tab and line feed: an escape sequence would move the cursor, name the window, or worse.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
#: A time as the API writes it.
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)")
_TRAILING = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$", re.MULTILINE)
#: Into a file or a pipe there is no width to keep to: a row stays one line.
_UNBOUNDED = 10_000
#: Columns of bytes, and of numbers to compare.
_SIZES = ("size_bytes", "length", "max_bytes", "ram_bytes")
_NUMBERS = (*_SIZES, "id", "size", "devices", "components", "changed", "target_size", "sequence", "threshold")
#: Below this a table is harder to read than the fields of each row.
_NARROW = 72

#: Of a row, what people read in place of some of its values.
Cells = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Refusal(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a command that fails says on standard error with `--json`: the problem, and the exit code with it."""

    type: str
    title: str
    detail: str
    exit_code: int
    permission: str = ""
    errors: tuple[ProblemField, ...] = ()
    retry_after_seconds: int = 0
    suggestions: tuple[str, ...] = ()


def exit_code(error: TidegateError) -> int:
    for kinds, code in (
        ((NotFound,), NOT_FOUND),
        ((Unauthenticated, Forbidden), PERMISSION),
        ((Unavailable, TooMany), UNAVAILABLE),
        ((Untrusted,), UNTRUSTED),
        ((Defect,), DEFECT),
    ):
        if isinstance(error, kinds):
            return code
    return REFUSED


class Output:
    """`as_json`: every answer as one JSON value on standard output, for programs."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._out = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _UNBOUNDED, highlight=False)
        self._err = Console(file=sys.stderr, soft_wrap=True, highlight=False)

    def say(self, text: str) -> None:
        """Talk."""
        self._err.print(escape(plain(text)))

    def data(self, value: Any, human: Callable[[], None] | str | None = None) -> None:
        """One answer: JSON when asked for, else what `human` prints or says, else names and values."""
        plainly = msgspec.to_builtins(value)
        if self.as_json:
            _keep_to_declared(plainly)
            sys.stdout.write(json.dumps(plainly, ensure_ascii=False, indent=2) + "\n")
        elif callable(human):
            human()
        elif human is not None:
            self._print(escape(plain(human)))
        elif isinstance(plainly, Mapping):
            self.fields(plainly)
        else:
            self._print(escape(plain(str(plainly))))

    def line(self, text: str) -> None:
        """A line of data for people; JSON is given whole with `data`."""
        self._print(escape(plain(text)))

    def fields(self, value: Mapping[str, Any] | Struct) -> None:
        """Names and values, one a line."""
        table = Table(box=None, show_header=False, pad_edge=False)
        for name, inner in msgspec.to_builtins(value).items():
            table.add_row(f"{_title(name)}:", escape(cell(name, inner)))
        self._print(table)

    def table(self, rows: Sequence[Mapping[str, Any] | Struct], columns: Sequence[str]) -> None:
        """A table for people; where the terminal is narrow, the fields of each row."""
        found = msgspec.to_builtins(rows)
        if self._out.width < _NARROW:
            for number, row in enumerate(found):
                self._print("" if number else None)
                self.fields({_title(column): cell(column, row.get(column)) for column in columns})
            return
        table = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(_title(column), overflow="fold", justify="right" if column in _NUMBERS else "left")
        for row in found:
            table.add_row(*[escape(cell(column, row.get(column))) for column in columns])
        self._print(table)

    def page(
        self, answer: Page[Any] | Struct, columns: Sequence[str], *, first: str = "", cells: Cells | None = None
    ) -> None:
        """A list's slice: the table, and on standard error how much there is; in JSON mode the answer whole.

        Args:
            first: the command that puts something there.
            cells: makes of a row what people read instead of it.
        """
        if self.as_json:
            self.data(answer)
            return
        found = msgspec.to_builtins(answer)
        if not found["items"]:
            nothing = f"nothing is there; begin with: {first}" if first else "nothing is there"
            self.say("nothing more" if found["total"] else nothing)
            return
        self.table([{**row, **cells(row)} for row in found["items"]] if cells else found["items"], columns)
        if found.get("next_cursor"):
            total = f"{found['total']:,}" if found["total"] < MAX_TOTAL else f"{MAX_TOTAL:,} or more"
            self.say(f"{len(found['items'])} of {total}; go on with --cursor {found['next_cursor']}, or give --every")

    @contextlib.contextmanager
    def progress(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar of bytes on standard error; call what is given with each further number of bytes."""
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
                   TimeRemainingColumn())  # fmt: skip
        with Progress(*columns, console=self._err, transient=True, disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task(escape(title), total=total)
            yield lambda count: bar.advance(task, count)

    def problem(self, error: TidegateError, suggestions: Sequence[str] = ()) -> int:
        """Say what was refused and why; gives the exit code."""
        if self.as_json:
            sys.stderr.write(msgspec.json.encode(_refusal(error, suggestions)).decode() + "\n")
            return exit_code(error)
        self.say(error.detail)
        for field in error.errors if isinstance(error, Invalid) else ():
            if f"{field.pointer} {field.detail}" not in error.detail:
                self.say(f"  {field.pointer}: {field.detail}" if field.pointer else f"  {field.detail}")
        if suggestions:
            self.say(f"did you mean {' or '.join(suggestions)}?")
        return exit_code(error)

    def _print(self, what: RenderableType | None) -> None:
        """Without the spaces at the ends of lines that tables are filled up with."""
        if what is None:
            return
        with self._out.capture() as captured:
            self._out.print(what)
        self._out.file.write(_TRAILING.sub(r"\1", captured.get()))


def _refusal(error: TidegateError, suggestions: Sequence[str]) -> Refusal:
    problem = problem_of(error)
    return Refusal(
        type=problem.type,
        title=problem.title,
        detail=problem.detail,
        exit_code=exit_code(error),
        permission=problem.permission,
        errors=problem.errors,
        retry_after_seconds=problem.retry_after_seconds,
        suggestions=tuple(suggestions),
    )


def _keep_to_declared(value: Any) -> None:
    """What programs read is what the reference says: a command that prints something else has a defect."""
    context = click.get_current_context(silent=True)
    command = context.command if context is not None else None
    kind = getattr(getattr(command, "callback", None), "gives", Any)
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        name = context.command_path if context is not None else "this command"
        raise Defect(f"{name} gives something else than it declares: {error}") from error


def plain(text: str) -> str:
    """`text` without what works on a terminal: devices and other operators write what is shown here."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def counted(number: int, noun: str = "device") -> str:
    """``1 device``, ``1,040 devices``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def hold_words(hold: HoldInfo | Mapping[str, Any] | None) -> str | None:
    """Why, and until when."""
    if hold is None:
        return None
    found = msgspec.to_builtins(hold)
    return str(found["reason"]) if found["until"] is None else f"{found['reason']}, until {text(found['until'])}"


def size(count: int) -> str:
    """Bytes as a person reads them: ``512 B``, ``3.4 MiB``."""
    scaled, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if scaled < 1024 or unit == "TiB":
            break
        scaled /= 1024
    return f"{count} B" if unit == "B" else f"{scaled:.1f} {unit}"


def _title(column: str) -> str:
    return column.removesuffix("_bytes").replace("_", " ")


def cell(column: str, value: Any) -> str:
    """A value of this name as a person reads it."""
    return size(value) if column in _SIZES and isinstance(value, int) else text(value)


def text(value: Any) -> str:
    """A value as a person reads it."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={text(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(text(inner) for inner in value)
    return plain(_TIME.sub(r"\1 \2 UTC", str(value)) if _TIME.fullmatch(str(value)) else str(value))
