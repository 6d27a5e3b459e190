"""Fleets in the operator API."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from tidegate.wire.operator.common import OperatorRequest


class NewFleet(OperatorRequest, frozen=True, kw_only=True):
    """A tenant and trust domain of its own; without `interval_seconds` devices report as the node says."""

    name: Annotated[
        str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$", description="It never changes: devices' names carry it.")
    ]
    interval_seconds: Annotated[int, Meta(ge=1, le=3600)] | None = None


class FleetInfo(Struct, frozen=True):
    """`devices` is null where the asker may not see them; `permissions` are the asker's own there."""

    id: int
    name: str
    interval_seconds: int
    frozen: bool
    devices: int | None
    permissions: tuple[str, ...]


class Fleets(Struct, frozen=True):
    items: tuple[FleetInfo, ...]
    total: int
    next_cursor: str | None = None
