"""Operators, sessions and API keys in the operator API."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from tidegate.wire.operator.common import ListQuery, OperatorRequest, Time

OperatorName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]{0,62}$", description="How the audit log names them.")]
Password = Annotated[str, Meta(max_length=256)]
RoleName = Annotated[
    str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$", description="viewer, operator, approver, admin, or an own role.")
]
FleetName = Annotated[
    str, Meta(pattern=r"^(\*|[a-z0-9][a-z0-9-]{0,62})$", description="A fleet's name; `*`: every fleet.")
]


class RoleGrant(OperatorRequest, frozen=True, kw_only=True):
    role: RoleName
    fleet: FleetName = "*"


Roles = Annotated[tuple[RoleGrant, ...], Meta(max_length=256)]


class NewSession(OperatorRequest, frozen=True, kw_only=True):
    """`code` is asked for of who has a second factor (problem `second-factor-required`)."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    password: Password
    code: Annotated[str, Meta(max_length=64)] = ""


class SessionStarted(Struct, frozen=True):
    """`secret` is shown this once; send it as `Authorization: Bearer`."""

    id: str
    secret: str
    expires_at: Time
    operator: str


class SessionInfo(Struct, frozen=True):
    id: str
    created_at: Time
    expires_at: Time
    last_used_at: Time
    user_agent: str
    address: str
    current: bool


class Sessions(Struct, frozen=True):
    items: tuple[SessionInfo, ...]
    total: int
    next_cursor: str | None = None


class SessionsEnded(Struct, frozen=True):
    ended: int


class ListSessions(ListQuery, frozen=True, kw_only=True):
    """`operator`: of that one only."""

    operator: Annotated[str, Meta(max_length=64)] = ""


class OperatorSessionInfo(Struct, frozen=True):
    id: str
    operator: str
    created_at: Time
    expires_at: Time
    last_used_at: Time
    user_agent: str
    address: str


class ListOperators(ListQuery, frozen=True, kw_only=True):
    """`q`: a part of the name."""

    q: Annotated[str, Meta(max_length=64)] = ""


class NewOperator(OperatorRequest, frozen=True, kw_only=True):
    """Without `password` one is generated and shown in the answer, once."""

    name: OperatorName
    roles: Roles = ()
    password: Password | None = None


class OperatorInfo(Struct, frozen=True):
    id: int
    name: str
    roles: tuple[RoleGrant, ...]
    created_at: Time
    disabled: bool
    #: Signs on through the OpenID provider, and has no password here.
    signs_on: bool
    #: Until when their roles, and the API keys they made, count without another sign-on; null: for good.
    grants_until: Time | None


class OperatorCreated(Struct, frozen=True):
    """`password` is null where the request chose it."""

    id: int
    name: str
    roles: tuple[RoleGrant, ...]
    password: str | None


class PasswordReset(Struct, frozen=True):
    password: str


class SetRoles(OperatorRequest, frozen=True, kw_only=True):
    roles: Roles


class ChangePassword(OperatorRequest, frozen=True, kw_only=True):
    current: Password
    password: Password


class WhoAmI(Struct, frozen=True):
    """Who asks, and what they may in the fleet asked for."""

    actor: str
    fleet: str
    roles: tuple[RoleGrant, ...]
    permissions: tuple[str, ...]


class NewApiKey(OperatorRequest, frozen=True, kw_only=True):
    """A key for the fleet asked for or, with `every_fleet`, for all; without `expires_days` it does not expire.

    It never does more than its maker may at that moment, and nothing while they are disabled or have to sign on again.
    """

    name: OperatorName
    role: RoleName
    every_fleet: bool = False
    expires_days: Annotated[int, Meta(ge=1, le=3650)] | None = None


class ApiKeyInfo(Struct, frozen=True):
    id: int
    name: str
    role: RoleName
    fleet: str
    created_at: Time
    created_by: str
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Time | None
    #: suspended: its maker is disabled; lapsed: they have not signed on for too long.
    state: Literal["valid", "suspended", "lapsed", "expired", "revoked"]
    #: When it lapses unless its maker signs on before; null: they sign in with a password, or nothing lapses.
    lapses_at: Time | None


class ApiKeyCreated(Struct, frozen=True):
    """`secret` is shown this once."""

    id: int
    name: str
    secret: str
    expires_at: Time | None
