"""Channels in the operator API: movable labels of the node, never signed and never told to a device."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from tidegate.wire.device import ArtifactName, Version
from tidegate.wire.operator.common import ListQuery, OperatorRequest, Time

ChannelName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]
Why = Annotated[str, Meta(min_length=1, max_length=1024)]


class MoveChannel(OperatorRequest, frozen=True, kw_only=True):
    """`seen`: the version that you last saw it at (empty: no channel yet); when it has moved since, 409."""

    version: Version
    reason: Why
    seen: Annotated[str, Meta(max_length=128)] | None = None


class DeleteChannel(OperatorRequest, frozen=True, kw_only=True):
    reason: Why


class ChannelQuery(ListQuery, frozen=True, kw_only=True):
    artifact: ArtifactName | None = None


class ChannelInfo(Struct, frozen=True, kw_only=True):
    """`withdrawn_at`: the version was withdrawn since; the channel stays there, unusable, until it is moved. `reason`:
    why it was moved there."""

    artifact: str
    channel: str
    version: str
    withdrawn_at: Time | None
    withdrawn_reason: str | None
    created_at: Time
    moved_at: Time
    moved_by: str
    reason: str


class ChannelMove(Struct, frozen=True, kw_only=True):
    """`from_version` null: made here; `to_version` null: deleted here."""

    id: int
    from_version: str | None
    to_version: str | None
    at: Time
    by: str
    reason: str
