"""The whole operator API in one table: routes, OpenAPI, reference and the permission walk are made from it."""

from __future__ import annotations

from tidegate.control.api import (
    artifacts,
    audit,
    channels,
    device_openapi,
    devices,
    enrollment,
    fleets,
    groups,
    health,
    logs,
    openapi,
    people,
    roles,
    rollouts,
    runs,
    sboms,
    second_factor,
    settings,
    sheets,
    trust,
)
from tidegate.control.api.operations import Operation, RawRoute, operations_of

MODULES = (
    health,
    people,
    roles,
    audit,
    trust,
    artifacts,
    channels,
    sboms,
    devices,
    sheets,
    logs,
    enrollment,
    fleets,
    groups,
    rollouts,
    runs,
    second_factor,
    settings,
    device_openapi,
)


def calls() -> list[Operation | RawRoute]:
    """Every call, the description of the others included."""
    found = operations_of(MODULES)
    return [*found, openapi.route(found)]
