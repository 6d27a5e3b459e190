"""Channels over HTTP."""

from __future__ import annotations

import functools

from tidegate.control.api.operations import Call, Operation
from tidegate.control.domain.channels import Channel, Move
from tidegate.control.services import channels
from tidegate.wire.operator import channels as wire
from tidegate.wire.operator.common import ListQuery, Page


def channel_info(channel: Channel) -> wire.ChannelInfo:
    return wire.ChannelInfo(
        artifact=channel.artifact,
        channel=channel.name,
        version=channel.version,
        withdrawn_at=channel.withdrawn_at,
        withdrawn_reason=channel.withdrawn_reason,
        created_at=channel.created_at,
        moved_at=channel.moved_at,
        moved_by=channel.moved_by,
        reason=channel.reason,
    )


def _move_info(move: Move) -> wire.ChannelMove:
    return wire.ChannelMove(
        id=move.id, from_version=move.from_version, to_version=move.to_version, at=move.at, by=move.by,
        reason=move.reason,
    )  # fmt: skip


def _list(call: Call) -> Page[wire.ChannelInfo]:
    query: wire.ChannelQuery = call.query
    found = channels.listed(
        call.scope, call.node, artifact=query.artifact or "", limit=query.limit, offset=query.offset,
        cursor=query.cursor,
    )  # fmt: skip
    return Page(tuple(channel_info(one) for one in found.items), found.total, found.next_cursor)


def _get(call: Call) -> wire.ChannelInfo:
    return channel_info(channels.get(call.scope, call.node, call.path["artifact"], call.path["channel"]))


def _move(call: Call) -> wire.ChannelInfo:
    body: wire.MoveChannel = call.body
    artifact, name = call.path["artifact"], call.path["channel"]
    moved = channels.move(call.scope, call.node, artifact, name, body.version, body.reason, seen=body.seen)
    return channel_info(moved)


def _delete(call: Call) -> None:
    query: wire.DeleteChannel = call.query
    channels.delete(call.scope, call.node, call.path["artifact"], call.path["channel"], query.reason)


def _history(call: Call) -> Page[wire.ChannelMove]:
    query: ListQuery = call.query
    found = channels.history(
        call.scope, call.node, call.path["artifact"], call.path["channel"], limit=query.limit, offset=query.offset,
        cursor=query.cursor,
    )  # fmt: skip
    return Page(tuple(_move_info(one) for one in found.items), found.total, found.next_cursor)


_call = functools.partial(Operation, tag="channels")
_ONE = "/v1/channels/{artifact}/{channel}"

OPERATIONS = (
    _call(
        method="GET", path="/v1/channels", permission="artifacts.read", handler=_list,
        summary="Channels by artifact name", query=wire.ChannelQuery, answer=Page[wire.ChannelInfo],
    ),
    _call(
        method="GET", path=_ONE, permission="artifacts.read", handler=_get,
        summary="One channel: the version it points at", answer=wire.ChannelInfo,
    ),
    _call(
        name="channels.move",
        method="PUT", path=_ONE, permission="artifacts.publish", handler=_move,
        summary="Make a channel point at a version, never a withdrawn one", body=wire.MoveChannel,
        answer=wire.ChannelInfo,
    ),
    _call(
        method="DELETE", path=_ONE, permission="artifacts.publish", handler=_delete,
        summary="Forget a channel; its history stays", query=wire.DeleteChannel, status=204,
    ),
    _call(
        method="GET", path=f"{_ONE}/history", permission="artifacts.read", handler=_history,
        summary="Who moved it when, from where to where and why", query=ListQuery, answer=Page[wire.ChannelMove],
    ),
)  # fmt: skip
