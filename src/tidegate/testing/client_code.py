"""Writes src/tidegate/client/calls.py from the table of operations (`make client`); a test says when it is old."""

from __future__ import annotations

import keyword
import re
import subprocess
import sys
import types
import typing
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from tidegate.control.api import names, parameters, table
from tidegate.control.api.names import Name
from tidegate.control.api.operations import Operation, RawRoute
from tidegate.wire.operator.common import ListQuery, Page

FILE = Path(__file__).parents[1] / "client" / "calls.py"
#: What people do not call: what devices ask before they have a certificate, and the installer's files.
_NOT_FOR_PEOPLE = re.compile(r"/v1/enroll|/install/.*")
_SLICE = ("limit", "offset", "cursor")
Call = Operation | RawRoute


def text() -> str:
    """What the file must hold, formatted."""
    made = _Source()
    calls = [call for call in table.calls() if not _NOT_FOR_PEOPLE.fullmatch(call.path)]
    named = names.names(calls)
    nouns: dict[str, list[tuple[Name, Call]]] = {}
    for call in calls:
        name = named[call.method, call.path]
        nouns.setdefault(name.noun, []).append((name, call))
    classes = [_noun(made, noun, nouns[noun]) for noun in sorted(nouns)]
    whole = "\n\n\n".join([_HEAD + made.imports(), *classes, _calls(sorted(nouns))]) + "\n"
    return _formatted(whole)


_HEAD = '''"""Every call of the operator API, by noun. Written by `make client` from the operations; do not edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from msgspec import UNSET, UnsetType

from tidegate.client.answers import Download, Listing, Noun
from tidegate.client.connection import Connection, at
from tidegate.wire.operator.common import Page
'''


class _Source:
    """Types as source text; remembers the modules that they come from."""

    def __init__(self) -> None:
        self._modules: set[str] = set()

    def imports(self) -> str:
        return "".join(
            f"from {module.rpartition('.')[0]} import {module.rpartition('.')[2]} as {_alias(module)}\n"
            for module in sorted(self._modules)
        )

    def named(self, kind: type) -> str:
        """A struct of the wire."""
        if not kind.__module__.startswith("tidegate.wire."):
            raise ValueError(f"{kind} is spoken over the API and must live in tidegate.wire")
        self._modules.add(kind.__module__)
        return f"{_alias(kind.__module__)}.{kind.__name__}"

    def of(self, kind: Any, *, given: bool = False) -> str:
        """A type; `given`: as what callers may give for it, any sequence for a tuple."""
        origin, inner = typing.get_origin(kind), typing.get_args(kind)
        if origin is typing.Annotated:
            return self.of(inner[0], given=given)
        if origin in (typing.Union, types.UnionType):
            return " | ".join(dict.fromkeys(self.of(part, given=given) for part in inner))
        if origin is typing.Literal:
            return f"Literal[{', '.join(repr(part) for part in inner)}]"
        if origin is tuple:
            of = self.of(inner[0])
            return f"Sequence[{of}]" if given else f"tuple[{of}, ...]"
        if origin is list:
            return f"Sequence[{self.of(inner[0])}]" if given else f"list[{self.of(inner[0])}]"
        if origin is dict:
            said = "Mapping" if given else "dict"
            return f"{said}[{self.of(inner[0])}, {self.of(inner[1])}]"
        if origin is Page:
            return f"Page[{self.of(inner[0])}]"
        if kind is Any:
            return "Any"
        if kind is type(None):
            return "None"
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self.named(kind)
        if kind in (str, int, float, bool, bytes, datetime, msgspec.UnsetType):
            return str(kind.__name__)
        raise ValueError(f"cannot write the type {kind}")


def _alias(module: str) -> str:
    return module.rpartition(".")[2] + "_wire"


def _noun(made: _Source, noun: str, calls: Iterable[tuple[Name, Call]]) -> str:
    methods = [_method(made, name, call) for name, call in sorted(calls, key=lambda one: one[0].verb)]
    return f"class {_class(noun)}(Noun):\n" + "\n\n".join(methods)


def _class(noun: str) -> str:
    return "".join(part.capitalize() for part in noun.split("_"))


def _calls(nouns: Iterable[str]) -> str:
    lines = "".join(f"        self.{noun} = {_class(noun)}(node)\n" for noun in nouns)
    return f'class Calls:\n    """All nouns."""\n\n    def __init__(self, node: Connection) -> None:\n{lines}'


def _method(made: _Source, name: Name, call: Call) -> str:
    parts = parameters.of_path(call.path)
    fields = _fields(call.query) + (_fields(call.body) if isinstance(call, Operation) else [])
    listing = isinstance(call, Operation) and _lists(call)
    if listing:
        fields = [field for field in fields if field.name not in _SLICE]
    twice = {_safe(part) for part in parts} & {field.name for field in fields}
    if twice or len({field.name for field in fields}) != len(fields):
        raise ValueError(f"{name}: {sorted(twice)} is named both in the path and in query or body")
    given = [f"{_safe(part)}: {made.of(kind)}" for part, kind in parts.items()]
    takes_bytes = isinstance(call, RawRoute) and bool(call.bounded_by)
    given += ["data: bytes"] if takes_bytes else []
    options = [_option(made, field) for field in sorted(fields, key=lambda one: not one.required)]
    creates = isinstance(call, Operation) and call.creates and not call.public
    options += ['idempotency_key: str = ""'] if creates else []
    signature = ", ".join(["self", *given, *(["*", *options] if options else [])])
    gives = _gives(made, call, listing)
    said = f"{call.summary}.\n\n        {call.method} {call.path}{_needs(call)}\n        "
    return f'    def {_safe(name.verb)}({signature}) -> {gives}:\n        """{said}"""\n        ' + _body(
        made, call, listing=listing, creates=creates, takes_bytes=takes_bytes
    )


def _needs(call: Call) -> str:
    return f"; needs `{call.permission}`" if call.permission else ""


def _fields(kind: type | None) -> list[msgspec.structs.FieldInfo]:
    return [] if kind is None else list(msgspec.structs.fields(kind))


def _lists(call: Operation) -> bool:
    return typing.get_origin(call.answer) is Page and isinstance(call.query, type) and issubclass(call.query, ListQuery)


def _gives(made: _Source, call: Call, listing: bool) -> str:
    if listing:
        return f"Listing[{made.of(typing.get_args(call.answer)[0])}]"
    if call.answer is not None:
        return made.of(call.answer)
    return "None" if isinstance(call, Operation) or call.method != "GET" else "Download"


def _safe(word: str) -> str:
    return f"{word}_" if keyword.iskeyword(word) else word


def _option(made: _Source, field: msgspec.structs.FieldInfo) -> str:
    kind = made.of(field.type, given=True)
    if field.required:
        return f"{_safe(field.name)}: {kind}"
    if field.default_factory is not msgspec.NODEFAULT:
        empty = "()" if kind.startswith("Sequence") else "None"
        return f"{_safe(field.name)}: {kind}{' | None' if empty == 'None' else ''} = {empty}"
    default = "UNSET" if field.default is msgspec.UNSET else repr(field.default)
    return f"{_safe(field.name)}: {kind} = {default}"


def _passed(made: _Source, kind: type, skip: tuple[str, ...] = ()) -> str:
    """The struct made of the arguments."""
    given = [f"{one.name}={_value(one)}" for one in _fields(kind) if one.name not in skip]
    return f"{made.named(kind)}({', '.join(given)})"


def _value(field: msgspec.structs.FieldInfo) -> str:
    name, kind = _safe(field.name), field.type
    while typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    parts = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    bare = [_origin(part) for part in parts]
    make = "tuple" if tuple in bare else "list" if list in bare else "dict" if dict in bare else ""
    if not make:
        return name
    if field.default_factory is not msgspec.NODEFAULT:
        return f"{make}({name} or ())"
    if field.default is msgspec.UNSET:
        return f"UNSET if {name} is UNSET else {make}({name})"
    return f"None if {name} is None else {make}({name})" if type(None) in parts else f"{make}({name})"


def _origin(kind: Any) -> Any:
    while typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    return typing.get_origin(kind) or kind


def _body(made: _Source, call: Call, *, listing: bool, creates: bool, takes_bytes: bool) -> str:
    parts = list(parameters.of_path(call.path))
    path = f'"{call.path}"'
    if parts:
        bare = re.sub(r"\{[^}]+\}", "{}", call.path)
        path = f'at("{bare}", {", ".join(_safe(part) for part in parts)})'
    query = _passed(made, call.query, _SLICE if listing else ()) if call.query is not None else ""
    if listing:
        return f"return self._listing({made.of(call.answer)}, {path}, {query})"
    if call.answer is None and isinstance(call, RawRoute) and call.method == "GET":
        return f"return self._download({', '.join(filter(None, [path, query]))})"
    kind = "type(None)" if call.answer is None else made.of(call.answer)
    arguments = [kind, f'"{call.method}"', path]
    arguments += [f"query={query}"] if query else []
    if isinstance(call, Operation) and call.body is not None:
        arguments.append(f"body={_passed(made, call.body)}")
    arguments += ["body=data"] if takes_bytes else []
    arguments += ["idempotency_key=idempotency_key"] if creates else []
    return f"{'return ' if call.answer is not None else ''}self._connection.call({', '.join(arguments)})"


def _formatted(source: str) -> str:
    ruff = [str(Path(sys.executable).with_name("ruff"))]
    name = ["--stdin-filename", str(FILE), "-"]
    for step in (["check", "--quiet", "--fix-only", "--select", "F401,I", *name], ["format", "--quiet", *name]):
        source = subprocess.run(
            [*ruff, *step], input=source, capture_output=True, text=True, check=True, timeout=60
        ).stdout
    return source


def main() -> None:
    FILE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
