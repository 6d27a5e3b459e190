"""What ARCHITECTURE.md promises of the code's shape and import-linter cannot see."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SOURCE = PROJECT / "src" / "tidegate"
FILES = sorted(path for path in SOURCE.rglob("*.py"))
#: Longer than 400 lines; the reasons stand in ARCHITECTURE.md.
LONG = {"control/store/schema.py", "control/store/migrations/versions/m0001_initial.py", "client/calls.py"}
WRITTEN_BY_PROGRAMS = LONG - {"control/store/schema.py"}
DATES = {"now", "utcnow", "today"}


def _named(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_files_are_read_in_one_sitting() -> None:
    long = {_named(path) for path in FILES if len(path.read_text().splitlines()) > 400}
    assert long == LONG
    said = (PROJECT / "ARCHITECTURE.md").read_text()
    assert all(
        name.split("control/")[-1] in said for name in ("store/schema.py", "m0001_initial.py", "client/calls.py")
    )


def test_functions_fit_a_screen_and_constructors_take_few_things() -> None:
    unlike = []
    for path in FILES:
        if _named(path) in WRITTEN_BY_PROGRAMS:
            continue
        for found in _functions(path):
            lines = (found.end_lineno or 0) - found.lineno + 1
            taken = len(found.args.posonlyargs) + len(found.args.args) + len(found.args.kwonlyargs) - 1
            if lines > 60 or (found.name == "__init__" and taken > 6):
                unlike.append(f"{_named(path)}:{found.lineno} {found.name}: {lines} lines, {taken} arguments")
    assert unlike == []


@pytest.mark.parametrize("module", ["datetime", "time"])
def test_only_the_clock_reads_the_date(module: str) -> None:
    """A deadline of one's own waiting may be counted; what day it is comes from `clock.py` or the database."""
    forbidden = {"time": {"time", "time_ns", "gmtime", "localtime"}, "datetime": DATES}[module]
    readers = []
    for path in FILES:
        if _named(path) == "clock.py" or _named(path).startswith("testing/"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = node.func.value
            name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
            if name in (module, "date") and node.func.attr in forbidden:
                readers.append(f"{_named(path)}:{node.lineno}")
    assert readers == []
