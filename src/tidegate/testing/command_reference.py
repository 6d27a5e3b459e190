"""The part of docs/reference/cli.md that is made from the commands: what each does and calls, and its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from tidegate.testing import command_calls

_HEAD = """
## What each command prints with `--json`

`--json` may stand anywhere on the line. Standard output is then one JSON value of the shape named here, or nothing
where there is none; the program itself holds each command to it. Fields may be added; none is taken away or changes
its meaning. A refusal is one object on standard error: `type`, `title`, `detail`, `exit_code`, and where they apply
`permission`, `errors` (`pointer`, `detail`), `retry_after_seconds`, `suggestions`.

A call is an operation of the [API](api.md), and of the Python client by the same name; `--url`, `--ca`, `--key-file`,
`--context` and `--fleet` may stand anywhere too.

| command | what it does | calls | JSON |
| --- | --- | --- | --- |
"""


def text() -> str:
    """Every command with the shape of its JSON, and every shape with its fields."""
    walked = list(command_calls.leaves())
    declared = [getattr(command.callback, "gives", Any) for _, command in walked]
    kinds = [kind for kind in declared if kind not in (None, Any)]
    schemas, shapes = msgspec.json.schema_components(kinds, ref_template="#{name}")
    made = iter(schemas)
    lines = [_HEAD]
    for (name, command), kind in zip(walked, declared, strict=True):
        said = (command.help or "").partition("\n")[0].rstrip(".")
        called = ", ".join(f"`{one}`" for one in sorted(command_calls.calls(command)))
        shape = "" if kind is None else "any" if kind is Any else _shape(next(made))
        lines.append(f"| `{name}` | {_cell(said)} | {called} | {_cell(shape)} |\n")
    lines.append("\n## Shapes\n")
    for name, schema in sorted(shapes.items()):
        if "properties" in schema:
            lines.append(f"\n### {_title(name)}\n\n| field | type |\n| --- | --- |\n")
            lines += [f"| `{field}` | {_cell(_shape(inner))} |\n" for field, inner in schema["properties"].items()]
    return "".join(lines)


def _title(name: str) -> str:
    """``CertificateInfo``; where two modules have one of that name, ``CertificateInfo of trust``."""
    *module, own = name.split(".")
    return f"{own} of {module[-1]}" if module else own


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _shape(schema: Mapping[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "$ref" in schema:
        title = _title(schema["$ref"].removeprefix("#"))
        return f"[{title}](#{title.lower().replace(' ', '-')})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_shape(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    match schema.get("type"):
        case "array":
            return f"list of {_shape(schema['items'])}" if isinstance(schema.get("items"), dict) else "list"
        case "object":
            inner = schema.get("additionalProperties")
            return f"object of {_shape(inner)}" if isinstance(inner, dict) and inner else "object"
        case "string" if schema.get("format") == "date-time":
            return "time (RFC 3339)"
        case str(kind):
            return kind
    return "any"
