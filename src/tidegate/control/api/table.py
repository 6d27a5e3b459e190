"""The whole operator API in one table: routes, OpenAPI, reference and the permission walk are made from it."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from tidegate.control.api import artifacts, audit, devices, enrollment, groups, health, openapi, people, trust
from tidegate.control.api.operations import Operation, RawRoute, operations_of


def _landing() -> list[ModuleType]:
    name = "tidegate.control.api.rollouts"
    return [importlib.import_module(name)] if importlib.util.find_spec(name) else []


MODULES = (health, people, audit, trust, artifacts, devices, enrollment, groups, *_landing())


def calls() -> list[Operation | RawRoute]:
    """Every call, the description of the others included."""
    found = operations_of(MODULES)
    return [*found, openapi.route(found)]
