"""Roles: the fixed ones, and those that people make from permissions (SPEC section 12)."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from tidegate.control.domain.access import PERMISSIONS, ROLES
from tidegate.errors import Conflict, FieldError, Invalid
from tidegate.ids import checked

ROLE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
DESCRIPTION_MAX = 256
MOST_ROLES = 200

#: What the fixed roles are for, in the words of lists.
FIXED = {
    "viewer": "Sees everything, changes nothing.",
    "operator": "Publishes, rolls out and halts; does not approve.",
    "approver": "An operator who also approves, resumes and overrides.",
    "admin": "Everything, people and trust included.",
}


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of permissions; `made_at` is None for the fixed roles, which nobody changes."""

    name: str
    description: str
    permissions: frozenset[str]
    made_at: datetime | None = None
    made_by: str = ""
    changed_at: datetime | None = None

    @property
    def fixed(self) -> bool:
        return self.made_at is None


def fixed_roles() -> tuple[Role, ...]:
    return tuple(Role(name, FIXED[name], permissions) for name, permissions in ROLES.items())


def check_name(name: str) -> str:
    """Raises `Invalid` or `Conflict` for a name that no own role can have."""
    checked(ROLE_NAME, name, "/name")
    if name in ROLES:
        raise Conflict(f"cannot make the role {name}: it is one of the fixed roles")
    return name


def check_not_fixed(name: str, what: str) -> None:
    if name in ROLES:
        raise Conflict(f"cannot {what} the role {name}: it is fixed; make one of your own from its permissions")


def check_description(description: str) -> str:
    if len(description) > DESCRIPTION_MAX or not (description.isprintable() or not description):
        rule = f"must be one line of at most {DESCRIPTION_MAX} characters"
        raise Invalid(f"cannot accept the description: it {rule}", (FieldError("/description", rule),))
    return description


def check_permissions(names: Collection[str]) -> frozenset[str]:
    """Raises `Invalid` for none at all, and for one that does not exist."""
    if not names:
        rule = "must name at least one permission"
        raise Invalid(f"cannot make this role: it {rule}", (FieldError("/permissions", rule),))
    for number, name in enumerate(names):
        if name not in PERMISSIONS:
            rule = f"there is no permission {name[:64]}; there are {', '.join(sorted(PERMISSIONS))}"
            raise Invalid(
                f"cannot make this role: there is no permission {name[:64]}",
                (FieldError(f"/permissions/{number}", rule),),
            )
    return frozenset(names)
