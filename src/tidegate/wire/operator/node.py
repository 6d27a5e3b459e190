"""Whether the node is alive and ready, as it says itself."""

from __future__ import annotations

from msgspec import Struct

from tidegate.wire.operator.trust import WarningInfo


class Alive(Struct, frozen=True):
    alive: bool


class Ready(Struct, frozen=True):
    """`checks` are those that were made, all of them passed. `warnings` name what needs a person soon: disk-high."""

    ready: bool
    checks: tuple[str, ...]
    warnings: tuple[str, ...] = ()


class Warnings(Struct, frozen=True):
    """What needs a person; `kind` is stable, `text` says what is the matter and what to do."""

    items: tuple[WarningInfo, ...]
