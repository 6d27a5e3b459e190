"""Writes docs/reference from the program itself: `make docs`; a test says when it is out of date."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tidegate.control.api import table
from tidegate.control.console.pages import PAGES
from tidegate.control.domain.access import NOT_FOR_API_KEYS, PERMISSIONS, ROLES
from tidegate.control.log_events import EVENTS
from tidegate.control.metrics import Metrics
from tidegate.control.settings import Settings
from tidegate.control.settings_oidc import Oidc, OidcRole
from tidegate.testing import command_reference

FOLDER = Path(__file__).parents[3] / "docs" / "reference"
_MADE = "<!-- Written by `make docs` from the program; do not edit. -->\n\n"


def pages() -> dict[str, str]:
    """File names and what must stand in them."""
    return {
        "settings.md": _settings(),
        "api.md": _api(),
        "permissions.md": _permissions(),
        "cli.md": _cli() + command_reference.text(),
        "metrics.md": _metrics(),
        "logs.md": _logs(),
    }


def _settings() -> str:
    head = "# Settings\n\nOne TOML file, `tidegate.toml`; unknown keys are refused.\n\n"
    tables = [_MADE + head + _settings_table(Settings)]
    for title, kind in (("[oidc]", Oidc), ("[[oidc.roles]]", OidcRole)):
        tables.append(f"\n## {title}\n\n" + _settings_table(kind))
    return "".join(tables)


def _settings_table(kind: type[msgspec.Struct]) -> str:
    hints = typing.get_type_hints(kind, include_extras=True)
    rows = []
    for field in msgspec.structs.fields(kind):
        of, meta = typing.get_args(hints[field.name])
        default = "(the file's folder)" if field.name == "data_dir" else _shown(field.default)
        default = "(must be given)" if field.required else default
        rows.append((f"`{field.name}`", _kind(of), _limits(meta), default, meta.description or ""))
    return _table(("key", "type", "limits", "default", "meaning"), rows)


def _kind(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Annotated:
        return _kind(typing.get_args(kind)[0])
    if typing.get_origin(kind) is tuple:
        return f"list of {_kind(typing.get_args(kind)[0])}"
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(kind))
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return " or ".join("nothing" if part is type(None) else _kind(part) for part in typing.get_args(kind))
    if issubclass(kind, msgspec.Struct):
        return "table"
    return {"str": "text", "int": "integer", "bool": "true or false", "Path": "path"}[kind.__name__]


def _limits(meta: msgspec.Meta) -> str:
    return f"{meta.ge} to {meta.le}" if meta.ge is not None else ""


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value)
    return "" if value in ("", None) else f"`{value}`"


def _api() -> str:
    rows = [
        (
            f"`{call.method} {call.path}`",
            call.summary,
            f"`{call.permission}`" if call.permission else _open(call.public),
        )
        for call in sorted(table.calls(), key=lambda call: (call.path, call.method))
    ]
    head = (
        "# Operator API\n\nThe whole of it with every field: `GET /v1/openapi.json` (OpenAPI 3.1).\n"
        "`fleet` in the query names the fleet (`default` without it).\n\n"
    )
    return _MADE + head + _table(("call", "what it does", "permission"), rows)


def _open(public: bool) -> str:
    return "nobody need sign in" if public else "anybody signed in"


def _permissions() -> str:
    names = sorted(PERMISSIONS)
    rows = [
        (
            f"`{name}`",
            *["yes" if name in ROLES[role] else "" for role in ROLES],
            "" if name in NOT_FOR_API_KEYS else "yes",
        )
        for name in names
    ]
    head = "# Roles and permissions\n\nA role is held in one fleet or in all. Who may what:\n\n"
    text = _table(("permission", *ROLES, "API keys may hold it"), rows)
    console = [
        (f"`{page.method} {page.path}`", f"`{page.permission}`" if page.permission else _open(False)) for page in PAGES
    ]
    return _MADE + head + text + "\n## Console pages\n\n" + _table(("page", "permission"), console)


def _cli() -> str:
    codes = (
        (0, "done"), (1, "refused as asked"), (2, "wrong usage"), (3, "not found"),
        (4, "not signed in, or a permission is missing"), (5, "unavailable for now; trying again may help"),
        (6, "not to be trusted: a certificate, a signature, a broken chain"), (70, "an error of Tidegate itself"),
        (130, "interrupted (Ctrl-C)"), (141, "nobody reads standard output any more"),
    )  # fmt: skip
    rows = [(str(code), meaning) for code, meaning in codes]
    head = (
        "# Command line\n\n`tidegate --help` and `tidegate COMMAND --help` tell every option.\n"
        "Data goes to standard output (`--json` for programs), talk to standard error.\n\n## Exit codes\n\n"
    )
    return _MADE + head + _table(("code", "meaning"), rows)


def _metrics() -> str:
    rows = []
    metrics = Metrics()
    for family in sorted(metrics.registry.collect(), key=lambda family: family.name):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(f"`{label}`" for label in metrics.labels.get(family.name, ()))
        rows.append((f"`{name}`", family.type, labels, family.documentation))
    head = (
        "# Metrics\n\n`/metrics` on `metrics_bind`, in Prometheus's text format. A histogram also has `_bucket`,"
        " `_sum` and `_count`.\nNames beginning with `process_` and `python_` are of the node's process.\n\n"
    )
    return _MADE + head + _table(("metric", "type", "labels", "meaning"), rows)


def _logs() -> str:
    rows = [
        (f"`{one.event}`", one.level, ", ".join(f"`{name}`" for name in one.fields), one.meaning)
        for one in sorted(EVENTS, key=lambda one: one.event)
    ]
    head = (
        "# Log events\n\nOne line an event on standard error; `log_format` chooses words or JSON. Every line has"
        " `event`, `level` and `timestamp`,\nand inside a request `request_id`, which the answer bears too.\n\n"
    )
    return _MADE + head + _table(("event", "level", "fields", "meaning"), rows)


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
