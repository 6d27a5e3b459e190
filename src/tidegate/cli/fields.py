"""What a refusal's JSON pointers are on the command line: the option or the argument that was given."""

from __future__ import annotations

import re
from collections.abc import Mapping

import click
from click.core import ParameterSource

from tidegate.errors import FieldError, Invalid

#: Fields of the API whose option is called otherwise.
_OPTIONS = {
    "expires_in_seconds": "--expires-seconds", "device_name": "--device", "roles": "--role",
    "permissions": "--permission", "tags": "--tag", "put": "KEY=VALUE", "remove": "KEY-", "devices": "--device",
    "groups": "--group", "files": "FILE", "exec": "--exec-probe", "license": "--license", "config": "--destination",
    "default_strategy": "--strategy-file", "probes": "--probes", "seen": "--seen", "code": "--code",
    "password": "--password-file", "current": "--current-file", "framework": "--framework", "unit": "--reload-unit",
    "argv": "--reload-program",
}  # fmt: skip


def spoken(error: Invalid, command: click.Context) -> Invalid:
    """`error` with each pointer that this command has a name for said by it; what is left stays a pointer."""
    names = {one.pointer: _name(one.pointer, command) for one in error.errors if one.pointer}
    known = {pointer: name for pointer, name in names.items() if name}
    detail = error.detail
    for pointer, name in known.items():
        detail = name.join(re.split(rf"(?<!\S){re.escape(pointer)}(?![\w/])", detail))
    if known:
        detail = re.sub(r"^cannot accept the (?:body|query): ", "cannot accept this: ", detail)
    fields = tuple(FieldError(known.get(one.pointer, one.pointer), one.detail) for one in error.errors)
    return Invalid(detail, fields, type=error.type)


def _name(pointer: str, command: click.Context) -> str:
    """The deepest part of `pointer` that was given as an option, else that is one; behind it what lies within."""
    parts = pointer.strip("/").split("/")
    names = _names(command)
    for only_given in (True, False):
        for at in range(len(parts) - 1, -1, -1):
            found = names.get(parts[at])
            if found is not None and (found[1] or not only_given):
                within = ", ".join(f"number {int(one) + 1}" if one.isdecimal() else one for one in parts[at + 1 :])
                return f"{found[0]} ({within})" if within else found[0]
    return ""


def _names(command: click.Context) -> Mapping[str, tuple[str, bool]]:
    """By field: how it is called here, and whether it was given."""
    found: dict[str, tuple[str, bool]] = {}
    by_flag: dict[str, tuple[str, bool]] = {}
    for param in command.command.params:
        shown = param.opts[0] if isinstance(param, click.Option) else param.make_metavar(command).strip("[]. ")
        given = command.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
        by_flag[shown.split("|")[0]] = (shown, given)
        for name in (param.name or "", shown.lstrip("-").replace("-", "_").lower()):
            found[name] = (shown, given)
    for field, flag in _OPTIONS.items():
        if flag in by_flag:
            found.setdefault(field, by_flag[flag])
    return found
