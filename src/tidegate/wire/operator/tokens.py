"""Enrollment tokens in the operator API."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from tidegate.wire.device import DeviceName, Sha256
from tidegate.wire.operator.common import ListQuery, OperatorRequest, Time
from tidegate.wire.operator.devices import TagKey, TagValue

ExpiresIn = Annotated[int, Meta(ge=60, le=2_592_000, description="Default one hour, at most 30 days.")]


class TokenQuery(ListQuery, frozen=True, kw_only=True):
    live: Annotated[bool, Meta(description="Only tokens that can still be used.")] = False


class NewToken(OperatorRequest, frozen=True, kw_only=True):
    """`may_replace` left out: yes where `device_name` is given, no otherwise."""

    device_name: DeviceName | None = None
    expires_in_seconds: ExpiresIn | None = None
    uses: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    may_replace: bool | None = None
    tags: Annotated[dict[TagKey, TagValue], Meta(max_length=64)] = field(default_factory=dict)
    groups: Annotated[tuple[DeviceName, ...], Meta(max_length=32)] = ()


class Recover(OperatorRequest, frozen=True, kw_only=True):
    expires_in_seconds: ExpiresIn | None = None


class TokenInfo(Struct, frozen=True, kw_only=True):
    id: int
    state: Literal["live", "expired", "spent", "revoked"]
    device_name: str | None
    may_replace: bool
    uses_allowed: int
    uses_left: int
    tags: dict[str, str]
    groups: tuple[str, ...]
    created_at: Time
    created_by: str
    expires_at: Time
    revoked_at: Time | None
    enrolled: tuple[str, ...] = ()


class InstallerInfo(Struct, frozen=True, kw_only=True):
    """`command` installs the agent and enrolls it; it reads the token from standard input."""

    command: str
    installer_sha256: Sha256
    agent_sha256: Sha256
    server_ca_sha256: Sha256
    root_sha256: Sha256


class Minted(Struct, frozen=True, kw_only=True):
    """`secret` is shown this once. `recovers`: a living device bears the name and gets a new key."""

    id: int
    secret: str
    recovers: bool
    token: TokenInfo
    installer: InstallerInfo
