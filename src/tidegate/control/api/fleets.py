"""Fleets over HTTP."""

from __future__ import annotations

from tidegate.control.api.operations import Call, Operation
from tidegate.control.services import fleets
from tidegate.errors import Defect
from tidegate.wire.operator import fleets as wire


def _list(call: Call) -> wire.Fleets:
    if call.identity is None:
        raise Defect("an operation that is not public was called by nobody")
    items = tuple(_fleet(view) for view in fleets.list_fleets(call.node, call.identity))
    return wire.Fleets(items, len(items))


def _create(call: Call) -> wire.FleetInfo:
    body: wire.NewFleet = call.body
    return _fleet(fleets.create_fleet(call.scope, call.node, name=body.name, interval_seconds=body.interval_seconds))


def _fleet(view: fleets.FleetView) -> wire.FleetInfo:
    fleet = view.fleet
    return wire.FleetInfo(
        id=fleet.id,
        name=fleet.name,
        interval_seconds=fleet.interval_seconds,
        frozen=fleet.frozen_reason is not None,
        devices=view.devices,
        permissions=tuple(sorted(view.permissions)),
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/v1/fleets", permission="", tag="fleets", handler=_list,
        summary="The fleets that one has a role in", answer=wire.Fleets,
    ),
    Operation(
        method="POST", path="/v1/fleets", permission="settings.manage", tag="fleets", handler=_create,
        summary="Create a fleet with keys of its own (settings.manage for all fleets)", body=wire.NewFleet,
        answer=wire.FleetInfo, status=201,
    ),
)  # fmt: skip
