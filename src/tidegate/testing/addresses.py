"""An address for every page of the console that can be looked at, from what the node has to show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from tidegate.control.console.pages import PAGES
from tidegate.control.domain.access import Scope
from tidegate.control.services.node import Node
from tidegate.control.store import schema

#: Whose parameter is what: the longest pattern that a page's path begins with, and a query for an example of it. A page
#: with a parameter of its own adds its line here, and is walked from then on.
EXAMPLES: Mapping[str, Callable[[int], sa.Select[Any]]] = {
    "/rollouts/{id:int}": lambda fleet: _first(schema.rollouts.c.id, schema.rollouts.c.fleet_id == fleet),
    "/devices/{name}/logs/{request}": lambda fleet: (
        sa.select(schema.devices.c.name, schema.log_requests.c.id)
        .join(schema.devices, schema.devices.c.id == schema.log_requests.c.device_id)
        .where(schema.log_requests.c.fleet_id == fleet, schema.log_requests.c.state == "received")
        .order_by(schema.log_requests.c.id)
        .limit(1)
    ),
    "/devices/{name}": lambda fleet: _first(
        schema.devices.c.name, schema.devices.c.fleet_id == fleet, schema.devices.c.state == "active"
    ),
    "/artifacts/{name}/{version}": lambda fleet: (
        sa.select(schema.artifacts.c.name, schema.artifacts.c.version)
        .where(schema.artifacts.c.fleet_id == fleet)
        .order_by(schema.artifacts.c.id)
        .limit(1)
    ),
    "/artifacts/{name}": lambda fleet: _first(schema.artifacts.c.name, schema.artifacts.c.fleet_id == fleet),
    "/compare/{name}": lambda fleet: _first(schema.artifacts.c.name, schema.artifacts.c.fleet_id == fleet),
    "/channels/{artifact}/{channel}": lambda fleet: (
        sa.select(schema.channels.c.artifact_name, schema.channels.c.name)
        .where(schema.channels.c.fleet_id == fleet)
        .order_by(schema.channels.c.id)
        .limit(1)
    ),
    "/artifacts/{name}/{version}/sbom/{sha256}": lambda fleet: (
        sa.select(schema.artifacts.c.name, schema.artifacts.c.version, schema.sboms.c.sha256)
        .join(schema.sboms, schema.sboms.c.artifact_id == schema.artifacts.c.id)
        .where(schema.artifacts.c.fleet_id == fleet)
        .limit(1)
    ),
    "/groups/{name}": lambda fleet: _first(schema.groups.c.name, schema.groups.c.fleet_id == fleet),
    "/users/{name}": lambda fleet: _first(schema.operators.c.name),
    "/roles/{name}": lambda fleet: sa.select(sa.func.coalesce(_first(schema.roles.c.name).scalar_subquery(), "viewer")),
}


def _first(column: sa.Column[Any], *where: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(column).where(*where).order_by(column).limit(1)


def addresses(node: Node, scope: Scope) -> dict[str, str]:
    """By the path in the table; a page whose example is not there (an empty fleet) is left out.

    Raises:
        LookupError: a page with a parameter has no line in `EXAMPLES`.
    """
    return dict(_found(node, scope))


def _found(node: Node, scope: Scope) -> Iterator[tuple[str, str]]:
    with node.db.read() as tx:
        for page in PAGES:
            if page.method != "GET":
                continue
            if "{" not in page.path:
                yield page.path, page.path
                continue
            pattern = max((one for one in EXAMPLES if page.path.startswith(one)), key=len, default=None)
            if pattern is None or "{" in page.path[len(pattern) :]:
                raise LookupError(f"cannot walk {page.path}: it has no line in EXAMPLES of {__name__}")
            row = tx.execute(EXAMPLES[pattern](int(scope.fleet_id))).first()
            if row is not None:
                yield page.path, _filled(pattern, row) + page.path[len(pattern) :]


def _filled(pattern: str, row: sa.Row[Any]) -> str:
    parts = iter(row)
    return "/".join(quote(str(next(parts)), safe="") if part.startswith("{") else part for part in pattern.split("/"))
