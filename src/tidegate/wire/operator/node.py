"""Whether the node is alive and ready, as it says itself."""

from __future__ import annotations

from msgspec import Struct


class Alive(Struct, frozen=True):
    alive: bool


class Ready(Struct, frozen=True):
    """`checks` are those that were made, all of them passed."""

    ready: bool
    checks: tuple[str, ...]
