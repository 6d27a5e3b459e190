"""Groups over HTTP."""

from __future__ import annotations

from typing import cast

from tidegate.control.api.devices import hold_info
from tidegate.control.api.operations import Call, Operation
from tidegate.control.domain.groups import Group
from tidegate.control.domain.paging import decode_cursor, encode_cursor
from tidegate.control.services import groups, holds
from tidegate.control.services.holds import HeldGroup
from tidegate.wire.operator import groups as wire
from tidegate.wire.operator.common import MAX_TOTAL, Page
from tidegate.wire.operator.devices import HoldInfo, NewHold


def _list(call: Call) -> Page[wire.GroupInfo]:
    query: wire.GroupQuery = call.query
    position = decode_cursor(query.cursor, str)
    found = groups.listed(
        call.scope,
        call.node,
        search=query.search,
        after=cast("str", position[0]) if position else None,
        limit=query.limit,
        offset=query.offset,
    )
    cursor = encode_cursor(found.next_after) if found.next_after is not None else None
    return Page(tuple(_info(one) for one in found.items), min(found.total, MAX_TOTAL), cursor)


def _create(call: Call) -> wire.Membership:
    body: wire.NewGroup = call.body
    return _membership(groups.create(call.scope, call.node, body.name, body.devices, body.selector))


def _get(call: Call) -> wire.GroupInfo:
    return _info(groups.get(call.scope, call.node, call.path["group"]))


def _change(call: Call) -> wire.GroupInfo:
    body: wire.ChangeGroup = call.body
    name = call.path["group"]
    return _info(groups.change(call.scope, call.node, name, new_name=body.name, selector=body.selector))


def _delete(call: Call) -> None:
    groups.delete(call.scope, call.node, call.path["group"])


def _add(call: Call) -> wire.Membership:
    body: wire.ChangeMembers = call.body
    return _membership(groups.add(call.scope, call.node, call.path["group"], body.devices))


def _remove(call: Call) -> wire.Membership:
    body: wire.ChangeMembers = call.body
    return _membership(groups.remove(call.scope, call.node, call.path["group"], body.devices))


def _hold(call: Call) -> HoldInfo:
    body: NewHold = call.body
    name = call.path["group"]
    return hold_info(f"group {name}", holds.hold(call.scope, call.node, HeldGroup(name), body.reason, body.until))


def _release(call: Call) -> None:
    holds.release(call.scope, call.node, HeldGroup(call.path["group"]))


def _info(group: Group) -> wire.GroupInfo:
    hold = hold_info(f"group {group.name}", group.hold) if group.hold else None
    return wire.GroupInfo(
        id=group.id,
        name=group.name,
        selector=group.selector,
        size=group.size,
        created_at=group.created_at,
        hold=hold,
    )


def _membership(change: groups.Membership) -> wire.Membership:
    return wire.Membership(
        id=change.group.id, group=_info(change.group), changed=change.changed, unknown=change.unknown
    )  # fmt: skip


OPERATIONS = (
    Operation(
        method="GET", path="/v1/groups", permission="groups.read", tag="groups", handler=_list,
        summary="List groups", query=wire.GroupQuery, answer=Page[wire.GroupInfo],
    ),
    Operation(
        method="POST", path="/v1/groups", permission="groups.write", tag="groups", handler=_create,
        summary="Create a group from device names or a selector", body=wire.NewGroup, answer=wire.Membership,
        status=201,
    ),
    Operation(
        method="GET", path="/v1/groups/{group}", permission="groups.read", tag="groups", handler=_get,
        summary="One group", answer=wire.GroupInfo,
    ),
    Operation(
        method="PATCH", path="/v1/groups/{group}", permission="groups.write", tag="groups", handler=_change,
        summary="Rename a group, or change its selector", body=wire.ChangeGroup, answer=wire.GroupInfo,
    ),
    Operation(
        method="DELETE", path="/v1/groups/{group}", permission="groups.write", tag="groups", handler=_delete,
        summary="Forget a group; its devices stay", status=204,
    ),
    Operation(
        method="POST", path="/v1/groups/{group}/add", permission="groups.write", tag="groups", handler=_add,
        summary="Put devices into a group", body=wire.ChangeMembers, answer=wire.Membership,
    ),
    Operation(
        method="POST", path="/v1/groups/{group}/remove", permission="groups.write", tag="groups", handler=_remove,
        summary="Take devices out of a group", body=wire.ChangeMembers, answer=wire.Membership,
    ),
    Operation(
        name="groups.hold",
        method="PUT", path="/v1/groups/{group}/hold", permission="groups.write", tag="groups", handler=_hold,
        summary="Hold a group", body=NewHold, answer=HoldInfo,
    ),
    Operation(
        name="groups.release",
        method="DELETE", path="/v1/groups/{group}/hold", permission="groups.write", tag="groups", handler=_release,
        summary="Release a group", status=204,
    ),
)  # fmt: skip
