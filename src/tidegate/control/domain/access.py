"""Who may do what: permissions, the four fixed roles, the scope of one request (SPEC section 12)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
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
    #: What they may do in each other fleet that gave them a role; in the rest, what they may do everywhere.
    elsewhere: tuple[tuple[FleetId, frozenset[str]], ...] = ()

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

    def held_in(self, fleet_id: FleetId) -> frozenset[str]:
        """What they may do in that fleet; `EVERY_FLEET`: in all of them."""
        if fleet_id == EVERY_FLEET:
            return self.everywhere
        return self.permissions if fleet_id == self.fleet_id else dict(self.elsewhere).get(fleet_id, self.everywhere)

    def require_held(self, grants: Iterable[Grant], what: str) -> None:
        """Nobody gives, takes or overrules a role whose permissions they do not all hold themselves, where it counts.

        Raises:
            Forbidden: one is missing; `what` says what cannot be done because of it.
        """
        for grant in grants:
            missing = sorted(grant.permissions - self.held_in(grant.fleet_id))
            if missing:
                where = "for all fleets" if grant.fleet_id == EVERY_FLEET else "in that fleet"
                raise Forbidden(
                    f"cannot {what}: the role {grant.role} holds {missing[0]}, which you do not hold {where};"
                    " somebody who does can",
                    permission=missing[0],
                )


#: Nobody signed in: may do nothing.
NOBODY = Scope(Actor("system", "nobody"), FleetId(0), "", frozenset())

#: In a grant: every fleet.
EVERY_FLEET = FleetId(0)


@dataclass(frozen=True, slots=True)
class Grant:
    """A role in one fleet, or in every one (`EVERY_FLEET`).

    `own`: what the role holds when it is none of the fixed ones; a role that is no more holds nothing.
    """

    role: str
    fleet_id: FleetId
    own: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def permissions(self) -> frozenset[str]:
        return ROLES.get(self.role, self.own & PERMISSIONS)


def held(grants: Iterable[Grant], fleets: Collection[FleetId]) -> frozenset[str]:
    """The permissions of those grants that count in these fleets."""
    return frozenset().union(*(grant.permissions for grant in grants if grant.fleet_id in fleets))


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a credential belongs to and what was granted to them; `session` is the id of the session used, if one was.

    `maker`: what the maker of an API key holds now. A key never does more than the one who made it.
    """

    actor: Actor
    grants: tuple[Grant, ...]
    person: str
    operator_id: OperatorId | None = None
    session: str | None = None
    maker: tuple[Grant, ...] | None = None

    def sees(self, fleet_id: FleetId) -> bool:
        """Whether the fleet exists for them at all."""
        return all(
            any(grant.fleet_id in (fleet_id, EVERY_FLEET) for grant in grants)
            for grants in (self.grants, self.maker)
            if grants is not None
        )

    def scope(self, fleet_id: FleetId, fleet: str) -> Scope:
        """Their authority in one fleet."""
        others = {grant.fleet_id for grant in self.grants} - {fleet_id, EVERY_FLEET}
        return Scope(
            actor=self.actor,
            fleet_id=fleet_id,
            fleet=fleet,
            permissions=self._permissions((fleet_id, EVERY_FLEET)),
            everywhere=self._permissions((EVERY_FLEET,)),
            person=self.person,
            elsewhere=tuple((other, self._permissions((other, EVERY_FLEET))) for other in sorted(others)),
        )

    def _permissions(self, fleets: tuple[FleetId, ...]) -> frozenset[str]:
        found = held(self.grants, fleets)
        if self.maker is not None:
            found &= held(self.maker, fleets)
        return found - NOT_FOR_API_KEYS if self.actor.kind == "apikey" else found


def system_scope(name: str, fleet_id: FleetId, fleet: str) -> Scope:
    """What a worker acts as."""
    return Scope(Actor("system", name), fleet_id, fleet, PERMISSIONS, PERMISSIONS)
