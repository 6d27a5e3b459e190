"""Settings over HTTP: a fleet's own, and those of the node as they are in force."""

from __future__ import annotations

import json

from tidegate.control.api.operations import Call, Operation
from tidegate.control.domain.fleets import FleetSettings
from tidegate.control.services import fleet_settings
from tidegate.wire.operator import settings as wire


def _get(call: Call) -> wire.FleetSettings:
    return _told(fleet_settings.get(call.scope, call.node))


def _set(call: Call) -> wire.FleetSettings:
    body: wire.FleetSettings = call.body
    chosen = fleet_settings.change(
        call.scope, call.node, interval_seconds=body.interval_seconds, four_eyes=body.four_eyes,
        default_strategy=body.default_strategy, device_events_days=body.device_events_days,
    )  # fmt: skip
    return _told(chosen)


def _node(call: Call) -> wire.NodeSettings:
    items = fleet_settings.of_node(call.scope, call.node)
    return wire.NodeSettings(
        tuple(wire.NodeSetting(one.name, one.value, one.given, one.meaning) for one in items), len(items)
    )


def _told(found: FleetSettings) -> wire.FleetSettings:
    strategy = found.default_strategy
    return wire.FleetSettings(
        interval_seconds=found.interval_seconds,
        four_eyes=found.four_eyes,
        default_strategy=json.loads(strategy) if strategy is not None else None,
        device_events_days=found.device_events_days,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/v1/settings", permission="settings.manage", tag="settings", handler=_get,
        summary="What the fleet sets for itself", answer=wire.FleetSettings, name="settings.get",
    ),
    Operation(
        method="PUT", path="/v1/settings", permission="settings.manage", tag="settings", handler=_set,
        summary="Replace what the fleet sets for itself", body=wire.FleetSettings, answer=wire.FleetSettings,
        name="settings.replace",
    ),
    Operation(
        method="GET", path="/v1/settings/node", permission="settings.manage", tag="settings", handler=_node,
        summary="The node's settings in force (settings.manage for all fleets)", answer=wire.NodeSettings,
        name="settings.node",
    ),
)  # fmt: skip
