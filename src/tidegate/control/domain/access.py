"""Who may do what: permissions, the four fixed roles, the scope of one request (SPEC section 12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tidegate.errors import Forbidden
from tidegate.ids import FleetId, OperatorId

PERMISSIONS: frozenset[str] = frozenset(
    {
        "devices.read", "devices.write",
        "artifacts.read", "artifacts.publish",
        "rollouts.read", "rollouts.write", "rollouts.approve",
        "groups.read", "groups.write",
        "tokens.write",
        "integrations.read", "integrations.manage",
        "audit.read", "audit.export",
        "trust.read", "trust.manage",
        "users.manage", "keys.manage", "settings.manage",
        "compliance.read", "compliance.write",
    }
)  # fmt: skip

_READ = frozenset(name for name in PERMISSIONS if name.endswith(".read"))
_OPERATE = _READ | {"devices.write", "artifacts.publish", "rollouts.write", "groups.write", "tokens.write"}

ROLES: dict[str, frozenset[str]] = {
    "viewer": _READ,
    "operator": _OPERATE,
    "approver": _OPERATE | {"rollouts.approve", "audit.export", "compliance.write"},
    "admin": PERMISSIONS,
}

#: API keys never administer users or keys, whatever their role.
NOT_FOR_API_KEYS: frozenset[str] = frozenset({"users.manage", "keys.manage"})

ActorKind = Literal["user", "apikey", "device", "system"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, as the audit log writes it: ``user:ada``, ``apikey:ci``, ``device:cam-7``, ``system:planner``."""

    kind: ActorKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Scope:
    """One request's authority: who, in which fleet, with which permissions. Every service function takes it first."""

    actor: Actor
    fleet_id: FleetId
    fleet: str
    permissions: frozenset[str]
    #: What the same actor may do in every fleet, those to come included: what administers the node itself needs it.
    everywhere: frozenset[str] = frozenset()
    #: The operator behind the actor: an API key counts as its maker where another person is asked for.
    person: str = ""

    def allows(self, permission: str) -> bool:
        return permission in self.permissions

    def require(self, permission: str) -> None:
        """Raises `Forbidden`, naming the permission and who can help, when it is missing."""
        if permission not in self.permissions:
            raise Forbidden(
                f"cannot do this without the permission {permission}; an admin of fleet {self.fleet} can grant it",
                permission=permission,
            )

    def require_everywhere(self, permission: str) -> None:
        """As `require`, for what concerns the whole node: the permission must be held for all fleets."""
        if permission not in self.everywhere:
            raise Forbidden(
                f"cannot do this without the permission {permission} for all fleets;"
                " an admin of all fleets can grant it",
                permission=permission,
            )


#: Nobody signed in: may do nothing.
NOBODY = Scope(Actor("system", "nobody"), FleetId(0), "", frozenset())

#: In a grant: every fleet.
EVERY_FLEET = FleetId(0)


@dataclass(frozen=True, slots=True)
class Grant:
    """A role in one fleet, or in every one (`EVERY_FLEET`)."""

    role: str
    fleet_id: FleetId


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a credential belongs to and what was granted to them; `session` is the id of the session used, if one was."""

    actor: Actor
    grants: tuple[Grant, ...]
    person: str
    operator_id: OperatorId | None = None
    session: str | None = None

    def sees(self, fleet_id: FleetId) -> bool:
        """Whether the fleet exists for them at all."""
        return any(grant.fleet_id in (fleet_id, EVERY_FLEET) for grant in self.grants)

    def scope(self, fleet_id: FleetId, fleet: str) -> Scope:
        """Their authority in one fleet."""
        return Scope(
            actor=self.actor,
            fleet_id=fleet_id,
            fleet=fleet,
            permissions=self._permissions((fleet_id, EVERY_FLEET)),
            everywhere=self._permissions((EVERY_FLEET,)),
            person=self.person,
        )

    def _permissions(self, fleets: tuple[FleetId, ...]) -> frozenset[str]:
        roles = (ROLES[grant.role] for grant in self.grants if grant.fleet_id in fleets)
        held = frozenset().union(*roles)
        return held - NOT_FOR_API_KEYS if self.actor.kind == "apikey" else held


def system_scope(name: str, fleet_id: FleetId, fleet: str) -> Scope:
    """What a worker acts as."""
    return Scope(Actor("system", name), fleet_id, fleet, PERMISSIONS, PERMISSIONS)
