"""Roles in the operator API."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from tidegate.wire.operator.common import OperatorRequest, Time
from tidegate.wire.operator.people import RoleName

Permissions = Annotated[
    tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=64, description="Such as `rollouts.read`.")
]
Description = Annotated[str, Meta(max_length=256)]


class NewRole(OperatorRequest, frozen=True, kw_only=True):
    """An own role; who makes it holds every one of the permissions for all fleets."""

    name: RoleName
    permissions: Permissions
    description: Description = ""


class ChangeRole(OperatorRequest, frozen=True, kw_only=True):
    """What the role holds from now on, instead of what it held."""

    permissions: Permissions
    description: Description = ""


class RoleInfo(Struct, frozen=True):
    """`operators` and `api_keys` count who holds it. The fixed roles are nobody's to change and have no times."""

    name: str
    description: str
    permissions: tuple[str, ...]
    fixed: bool
    operators: int
    api_keys: int
    created_at: Time | None = None
    created_by: str = ""
    changed_at: Time | None = None


class Holder(Struct, frozen=True):
    """`actor` such as ``user:ada`` or ``apikey:ci``; `fleet` is `*` for every fleet."""

    actor: str
    fleet: str


class RoleDetail(RoleInfo, frozen=True):
    """`holders` names the first 100 of each kind."""

    holders: tuple[Holder, ...] = ()


class Roles(Struct, frozen=True):
    items: tuple[RoleInfo, ...]
    total: int
    next_cursor: str | None = None
