"""Who may do what: permissions, the four fixed roles, the scope of one request (SPEC section 12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tidegate.errors import Forbidden
from tidegate.ids import FleetId

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

    def allows(self, permission: str) -> bool:
        return permission in self.permissions

    def require(self, permission: str) -> None:
        """Raises `Forbidden`, naming the permission and who can help, when it is missing."""
        if permission not in self.permissions:
            raise Forbidden(
                f"cannot do this without the permission {permission}; an admin of fleet {self.fleet} can grant it",
                permission=permission,
            )


def system_scope(name: str, fleet_id: FleetId, fleet: str) -> Scope:
    """What a worker acts as."""
    return Scope(Actor("system", name), fleet_id, fleet, PERMISSIONS)
