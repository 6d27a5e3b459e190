"""Which operations each command calls, read from the code: a command's function and all of ours that it uses."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

import click

from tidegate.cli.main import program
from tidegate.client import Client
from tidegate.client.answers import Noun
from tidegate.client.calls import Calls

_OURS = ("tidegate.cli.", "tidegate.client.client", "tidegate.client.upload")
#: ``rollouts`` to the class of its calls.
_NOUNS: Mapping[str, type[Noun]] = {
    name: type(noun) for name, noun in vars(Calls(None)).items() if isinstance(noun, Noun)  # type: ignore[arg-type]
}  # fmt: skip


def leaves(command: click.Command = program, name: str = "tidegate") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its whole name."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for inner in command.list_commands(context):
        found = command.get_command(context, inner)
        if found is None:
            raise LookupError(f"{name} {inner} is listed and not there")
        yield from leaves(found, f"{name} {inner}")


def calls(command: click.Command) -> frozenset[str]:
    """Names of the operations that a command may call, such as ``rollouts.halt``."""
    left: list[FunctionType] = [_function(command.callback)]
    seen: set[FunctionType] = set()
    found: set[str] = set()
    while left:
        function = left.pop()
        if function not in seen:
            seen.add(function)
            called, used = _uses(function)
            found |= called
            left += used
    return frozenset(found)


def _function(callback: Callable[..., Any] | None) -> FunctionType:
    function = inspect.unwrap(callback) if callback is not None else None
    if not isinstance(function, FunctionType):
        raise TypeError(f"cannot read {callback!r}: it is no function")
    return function


@cache
def _uses(function: FunctionType) -> tuple[frozenset[str], tuple[FunctionType, ...]]:
    """The operations that stand in a function, and our functions that it names."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    body = tree.body if isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef) else []
    called: set[str] = set()
    used: list[FunctionType] = []
    for node in (inner for statement in body for inner in ast.walk(statement)):
        if isinstance(node, ast.Name):
            used += _ours(function.__globals__.get(node.id))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            kind = _NOUNS.get(node.value.attr)
            if kind is not None and node.attr in vars(kind):
                called.add(f"{node.value.attr}.{node.attr}")
            elif node.value.attr == "client":
                used += _ours(getattr(Client, node.attr, None))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            of = function.__globals__.get(node.value.id)
            used += _ours(getattr(of, node.attr, None)) if isinstance(of, ModuleType) else []
    return frozenset(called), tuple(used)


def _ours(value: Any) -> list[FunctionType]:
    return [value] if isinstance(value, FunctionType) and value.__module__.startswith(_OURS) else []
