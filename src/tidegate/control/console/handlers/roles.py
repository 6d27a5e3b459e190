"""Roles: the fixed ones, and those that people make from permissions."""

from __future__ import annotations

from tidegate.control.console.people_words import PERMISSION_WORDS, where
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit
from tidegate.control.console.visit import typed as as_struct
from tidegate.control.domain.access import NOT_FOR_API_KEYS
from tidegate.control.services import roles
from tidegate.control.services.roles import RoleDetail
from tidegate.errors import Refused, TidegateError
from tidegate.wire.operator.roles import NewRole


def listed(visit: Visit) -> Outcome:
    found = roles.list_roles(visit.scope, visit.node)
    return Show("roles.html", "Roles", {"items": found, "everywhere": _everywhere(visit)})


def _everywhere(visit: Visit) -> bool:
    return "users.manage" in visit.scope.everywhere


def _form(visit: Visit, typed: dict[str, object]) -> dict[str, object]:
    return {
        "typed": typed,
        "groups": PERMISSION_WORDS,
        "mine": visit.scope.everywhere,
        "not_keys": NOT_FOR_API_KEYS,
        "everywhere": _everywhere(visit),
        "where": where,
    }


def new(visit: Visit) -> Outcome:
    return _new(visit, {"name": "", "description": "", "permissions": frozenset()})


def _new(visit: Visit, typed: dict[str, object], problem: TidegateError | None = None) -> Show:
    return Show("role_new.html", "New role", _form(visit, typed), problem=problem)


def _typed(visit: Visit) -> dict[str, object]:
    return {
        "name": visit.text("name"),
        "description": visit.text("description"),
        "permissions": frozenset(visit.texts("permission")),
    }


def create(visit: Visit) -> Outcome:
    typed = _typed(visit)
    try:
        values = {
            "name": visit.text("name"),
            "description": visit.text("description"),
            "permissions": visit.texts("permission"),
        }
        body = as_struct(values, NewRole)
        made = roles.create_role(
            visit.scope, visit.node, name=body.name, description=body.description, permissions=body.permissions
        )
    except Refused as error:
        return _new(visit, typed, error)
    return Go(f"/roles/{made.role.name}", "role-created")


def shown(visit: Visit) -> Outcome:
    return _page(visit, roles.get_role(visit.scope, visit.node, visit.params["name"]))


def _page(
    visit: Visit, detail: RoleDetail, typed: dict[str, object] | None = None, problem: TidegateError | None = None
) -> Show:
    role = detail.role
    now = typed or {"name": role.name, "description": role.description, "permissions": role.permissions}
    return Show("role.html", role.name, {"detail": detail, **_form(visit, now)}, problem=problem)


def change(visit: Visit) -> Outcome:
    name = visit.params["name"]
    try:
        roles.change_role(
            visit.scope, visit.node, name, description=visit.text("description"),
            permissions=visit.texts("permission"),
        )  # fmt: skip
    except Refused as error:
        return _page(visit, roles.get_role(visit.scope, visit.node, name), _typed(visit) | {"name": name}, error)
    return Go(f"/roles/{name}", "role-changed")


def delete(visit: Visit) -> Outcome:
    name = visit.params["name"]
    try:
        roles.delete_role(visit.scope, visit.node, name)
    except Refused as error:
        return _page(visit, roles.get_role(visit.scope, visit.node, name), problem=error)
    return Go("/roles", "role-deleted")


PAGES = (
    Page("GET", "/roles", "users.manage", listed, nav="roles"),
    Page("GET", "/new-role", "users.manage", new, nav="roles"),
    Page("POST", "/new-role", "users.manage", create, nav="roles"),
    Page("GET", "/roles/{name}", "users.manage", shown, nav="roles"),
    Page("POST", "/roles/{name}", "users.manage", change, nav="roles"),
    Page("POST", "/roles/{name}/delete", "users.manage", delete, nav="roles"),
)
