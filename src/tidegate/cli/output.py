"""What the command line prints: data on standard output, talk on standard error, and how a command ends.

Exit codes (also in docs/reference/cli.md): 0 done; 1 refused as asked; 2 wrong usage; 3 not found; 4 not signed in or
lacking a permission; 5 unavailable for now, trying again may help; 6 not to be trusted (a certificate, a signature, a
broken chain); 70 an error of Tidegate itself.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import rich.box
from rich.console import Console
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

OK, REFUSED, USAGE, NOT_FOUND, PERMISSION, UNAVAILABLE, UNTRUSTED, DEFECT = 0, 1, 2, 3, 4, 5, 6, 70

# All but tab and line feed: an escape sequence would move the cursor, name the window, or worse.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


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
        # Into a file or a pipe there is no width to keep to.
        width = None if sys.stdout.isatty() else 240
        self._out = Console(file=sys.stdout, width=width, highlight=False)
        self._err = Console(file=sys.stderr, soft_wrap=True, highlight=False)

    def say(self, text: str) -> None:
        """Talk."""
        self._err.print(escape(plain(text)))

    def data(self, value: Any, human: Callable[[], None] | str | None = None) -> None:
        """One answer: JSON when asked for, else what `human` prints or says, else names and values."""
        if self.as_json:
            sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
        elif callable(human):
            human()
        elif human is not None:
            self._out.print(escape(plain(human)))
        elif isinstance(value, Mapping):
            self.fields(value)
        else:
            self._out.print(escape(plain(str(value))))

    def fields(self, value: Mapping[str, Any]) -> None:
        """Names and values, one a line."""
        table = Table(box=None, show_header=False, pad_edge=False)
        for name, cell in value.items():
            table.add_row(f"{name}:", escape(text(cell)))
        self._out.print(table)

    def table(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """A table for people; in JSON mode the rows whole."""
        if self.as_json:
            self.data(list(rows))
            return
        table = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column.replace("_", " "), overflow="fold")
        for row in rows:
            table.add_row(*[escape(text(row.get(column))) for column in columns])
        self._out.print(table)

    def page(self, answer: Mapping[str, Any], columns: Sequence[str]) -> None:
        """A list's slice: the table, and on standard error how much there is; in JSON mode the answer whole."""
        if self.as_json:
            self.data(answer)
            return
        self.table(answer["items"], columns)
        if answer.get("next_cursor"):
            self.say(f"{len(answer['items'])} of {answer['total']}; go on with --cursor {answer['next_cursor']}")

    @contextlib.contextmanager
    def progress(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar of bytes on standard error; call what is given with each further number of bytes."""
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
                   TimeRemainingColumn())  # fmt: skip
        with Progress(*columns, console=self._err, transient=True, disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task(escape(title), total=total)
            yield lambda count: bar.advance(task, count)

    def problem(self, error: TidegateError) -> int:
        """Say what was refused and why; gives the exit code."""
        self.say(error.detail)
        for field in error.errors if isinstance(error, Invalid) else ():
            self.say(f"  {field.pointer or '/'}: {field.detail}")
        return exit_code(error)


def plain(text: str) -> str:
    """`text` without what works on a terminal: devices and other operators write what is shown here."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def text(value: Any) -> str:
    """A value as a person reads it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={text(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(text(inner) for inner in value)
    return plain(str(value))
