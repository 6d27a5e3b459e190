"""What a version of kind `config` says beside its one file: where it goes, with which mode, and who reads it anew."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta, Struct

CONFIG_MAX_BYTES = 1 << 20
PATH_MAX_BYTES = 1024
NAME_MAX_BYTES = 255

UNIT_PATTERN = "^[A-Za-z0-9:_.@\\\\][A-Za-z0-9:_.@\\\\-]{0,240}[.](service|socket|timer|path|target)$(?!\\n)"
UnitName = Annotated[str, Meta(pattern=UNIT_PATTERN, max_length=255)]
Argument = Annotated[str, Meta(pattern="^[^\\x00]*$(?!\\n)", max_length=4096)]
Argv = Annotated[tuple[Argument, ...], Meta(min_length=1, max_length=64)]

#: Files of the kernel, not of a disk: nothing can be kept there.
NOT_A_DISK = ("/dev", "/proc", "/sys")
_NOT_FOR_PEOPLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Strict(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class UnitReload(Strict, frozen=True, tag="unit", tag_field="kind"):
    """systemd reloads the unit, or restarts it where it cannot reload; one that is stopped stays so."""

    unit: UnitName


class ProgramReload(Strict, frozen=True, tag="program", tag_field="kind"):
    """Runs this argument vector, if the device's owner allowlisted exactly it."""

    argv: Argv


Reload = UnitReload | ProgramReload


class ConfigOptions(Strict, frozen=True):
    """`destination`: a clean absolute path; empty: workloads read it below `current`, as a model.

    `mode` is octal, at most 0777, and goes with a destination; empty: that of the file that was there, else 0644.
    """

    destination: Annotated[str, Meta(max_length=PATH_MAX_BYTES)] = ""
    mode: Annotated[str, Meta(pattern="^(0[0-7]{3})?$(?!\\n)")] = ""
    reload: Reload | None = None

    @property
    def mode_bits(self) -> int | None:
        return int(self.mode, 8) if self.mode else None


def path_fault(path: str) -> str:
    """The rule that an absolute path breaks; empty when it is clean: one spelling, of one file, on a disk."""
    try:
        data = path.encode("utf-8")
    except UnicodeEncodeError:
        return "must be UTF-8"
    if len(data) > PATH_MAX_BYTES:
        return f"must have at most {PATH_MAX_BYTES} bytes"
    if not path.startswith("/"):
        return "must start with /"
    if _NOT_FOR_PEOPLE.search(path):
        return "must have no control characters"
    parts = path[1:].split("/")
    if "" in parts:
        return "must not end with / or have // in it"
    if "." in parts or ".." in parts:
        return "must have no part . or .."
    if any(len(part.encode()) > NAME_MAX_BYTES for part in parts):
        return f"must have no part longer than {NAME_MAX_BYTES} bytes"
    if any(below(path, top) for top in NOT_A_DISK):
        return f"must not lie in {', '.join(NOT_A_DISK)}"
    return ""


def below(path: str, folder: str) -> bool:
    """Whether a clean path is `folder` or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def faults(options: ConfigOptions, lengths: tuple[int, ...]) -> tuple[tuple[str, str], ...]:
    """Where (a JSON pointer) and why a config with files of these lengths cannot be published or applied."""
    found = []
    if len(lengths) != 1:
        found.append(("/files", "must name exactly one file for a config"))
    elif lengths[0] > CONFIG_MAX_BYTES:
        found.append(("/files/0/upload", f"must be at most {CONFIG_MAX_BYTES} bytes for a config"))
    if options.destination and (rule := path_fault(options.destination)):
        found.append(("/config/destination", rule))
    if options.mode and not options.destination:
        found.append(("/config/mode", "needs a destination"))
    if isinstance(options.reload, ProgramReload) and not options.reload.argv[0].startswith("/"):
        found.append(("/config/reload/argv/0", "must be an absolute path"))
    return tuple(found)
