"""Roles over HTTP."""

from __future__ import annotations

from typing import Any

from tidegate.control.api.operations import Call, Operation
from tidegate.control.services import roles
from tidegate.wire.operator import roles as wire


def _list(call: Call) -> wire.Roles:
    items = tuple(wire.RoleInfo(**_said(detail)) for detail in roles.list_roles(call.scope, call.node))
    return wire.Roles(items, len(items))


def _get(call: Call) -> wire.RoleDetail:
    return _detail(roles.get_role(call.scope, call.node, call.path["role"]))


def _create(call: Call) -> wire.RoleDetail:
    body: wire.NewRole = call.body
    return _detail(
        roles.create_role(
            call.scope, call.node, name=body.name, description=body.description, permissions=body.permissions
        )
    )


def _change(call: Call) -> wire.RoleDetail:
    body: wire.ChangeRole = call.body
    return _detail(
        roles.change_role(
            call.scope, call.node, call.path["role"], description=body.description, permissions=body.permissions
        )
    )


def _delete(call: Call) -> None:
    roles.delete_role(call.scope, call.node, call.path["role"])


def _detail(detail: roles.RoleDetail) -> wire.RoleDetail:
    holders = tuple(wire.Holder(holder.actor, holder.fleet) for holder in detail.holders)
    return wire.RoleDetail(**_said(detail), holders=holders)


def _said(detail: roles.RoleDetail) -> dict[str, Any]:
    role = detail.role
    return {
        "name": role.name,
        "description": role.description,
        "permissions": tuple(sorted(role.permissions)),
        "fixed": role.fixed,
        "operators": detail.operators,
        "api_keys": detail.keys,
        "created_at": role.made_at,
        "created_by": role.made_by,
        "changed_at": role.changed_at,
    }


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/v1/roles", permission="users.manage", tag="people", handler=_list,
        summary="Fixed and own roles", answer=wire.Roles,
    ),
    Operation(
        method="POST", path="/v1/roles", permission="users.manage", tag="people", handler=_create,
        summary="Make an own role from permissions", body=wire.NewRole, answer=wire.RoleDetail, status=201,
    ),
    Operation(
        method="GET", path="/v1/roles/{role}", permission="users.manage", tag="people", handler=_get,
        summary="One role and who holds it", answer=wire.RoleDetail,
    ),
    Operation(
        method="PUT", path="/v1/roles/{role}", permission="users.manage", tag="people", handler=_change,
        summary="Replace what an own role holds; counts from everybody's next request", body=wire.ChangeRole,
        answer=wire.RoleDetail,
    ),
    Operation(
        method="DELETE", path="/v1/roles/{role}", permission="users.manage", tag="people", handler=_delete,
        summary="Delete an own role that nobody holds",
    ),
)  # fmt: skip
