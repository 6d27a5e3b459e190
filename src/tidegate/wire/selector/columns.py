"""What a selector may ask for, and what each column may be compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

#: text: a word. version: a word that also orders. number: whole, with units. set: many words.
Kind = Literal["text", "version", "number", "set"]

#: What a device tells of its machine: all that `target_hardware` may ask for, since the device judges it alone.
HARDWARE: Mapping[str, Kind] = {
    "arch": "text",
    "os": "text",
    "os_version": "version",
    "kernel": "version",
    "board": "text",
    "cpu_count": "number",
    "ram_bytes": "number",
    "disk_bytes": "number",
    "accelerators": "set",
    "runtimes": "set",
}
#: What a target may ask for. `tags.KEY` are the operators' own; `declared.KEY` is what a device says of itself.
DEVICE: Mapping[str, Kind] = {
    "name": "text",
    **HARDWARE,
    "agent_version": "version",
    "tags.": "text",
    "declared.": "text",
}

Operator = Literal["==", "!=", "<", "<=", ">", ">=", "startswith"]
EQUALITY: tuple[Operator, ...] = ("==", "!=")
ORDER: tuple[Operator, ...] = ("<", "<=", ">", ">=")
OPERATORS: Mapping[Kind, tuple[Operator, ...]] = {
    "text": (*EQUALITY, "startswith"),
    "version": (*EQUALITY, *ORDER, "startswith"),
    "number": (*EQUALITY, *ORDER),
    "set": (),
}
UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
         "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}  # fmt: skip

#: What people write for a column that has another name.
OTHER_NAMES = {
    "architecture": "arch",
    "cores": "cpu_count",
    "cpus": "cpu_count",
    "memory": "ram_bytes",
    "mem_bytes": "ram_bytes",
    "ram": "ram_bytes",
    "disk": "disk_bytes",
    "store_bytes": "disk_bytes",
    "storage": "disk_bytes",
    "model": "board",
    "gpu": "accelerators",
    "accelerator": "accelerators",
    "runtime": "runtimes",
    "version": "agent_version",
    "device": "name",
    "hostname": "name",
    "tag": "tags.KEY",
    "label": "tags.KEY",
    "labels": "tags.KEY",
}


def kind_of(name: str, columns: Mapping[str, Kind]) -> Kind | None:
    """The column's kind; None where `columns` has none of that name."""
    prefix, dot, key = name.partition(".")
    if dot:
        return columns.get(f"{prefix}.") if key else None
    return columns.get(name)


def listed(columns: Mapping[str, Kind]) -> str:
    """The names for people."""
    return ", ".join(f"{name}KEY" if name.endswith(".") else name for name in columns)
