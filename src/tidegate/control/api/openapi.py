"""OpenAPI 3.1 from the table of operations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

import tidegate
from tidegate.control.api.operations import IDEMPOTENCY_KEY, Operation, RawRoute
from tidegate.control.domain.access import Scope
from tidegate.control.services.node import Node
from tidegate.wire.problem import PROBLEM_JSON, Problem

PATH = "/v1/openapi.json"
_REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{([a-z_]+)(?::[a-z]+)?\}")

Call = Operation | RawRoute


def route(calls: Sequence[Call]) -> RawRoute:
    """The call that gives the document of `calls` and of itself."""
    rendered: list[bytes] = []

    async def endpoint(_request: Request, _scope: Scope, _node: Node) -> Response:
        return Response(rendered[0], media_type="application/json")

    own = RawRoute(
        method="GET", path=PATH, permission="", public=True, tag="node", endpoint=endpoint, name="node.openapi",
        summary="This document", media_type="application/json",
    )  # fmt: skip
    rendered.append(msgspec.json.encode(document([*calls, own])))
    return own


def document(calls: Sequence[Call]) -> dict[str, Any]:
    """The whole document."""
    schemas = _Schemas(calls)
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        path = _PARAMETER.sub(r"{\1}", call.path)
        paths.setdefault(path, {})[call.method.lower()] = _operation(call, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate operator API",
            "version": tidegate.__version__,
            "summary": "Signed software delivery to fleets of edge devices.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key (`tg_…`) or a session."}
            },
            "responses": {
                "problem": {
                    "description": "Refused or not possible now (RFC 9457).",
                    "content": {PROBLEM_JSON: {"schema": schemas.of(Problem)}},
                }
            },
        },
    }


class _Schemas:
    """msgspec's schemas of every type that a call names."""

    def __init__(self, calls: Sequence[Call]) -> None:
        types: list[Any] = [Problem]
        for call in calls:
            wanted = (call.query, call.body, call.answer) if isinstance(call, Operation) else (call.query,)
            types += [kind for kind in wanted if kind is not None]
        self._types = list(dict.fromkeys(types))
        found, self.components = msgspec.json.schema_components(self._types, ref_template=_REF)
        self._found: dict[Any, dict[str, Any]] = dict(zip(self._types, found, strict=True))

    def of(self, kind: Any) -> dict[str, Any]:
        return self._found[kind]

    def properties(self, kind: type) -> dict[str, Any]:
        name = self.of(kind)["$ref"].rsplit("/", 1)[-1]
        schema: dict[str, Any] = self.components[name]
        return schema


def _operation(call: Call, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _name(call),
        "summary": call.summary,
        "tags": [call.tag],
        "parameters": _parameters(call, schemas),
        "responses": {"default": {"$ref": "#/components/responses/problem"}},
        "security": [] if call.public else [{"bearer": []}],
        "x-permission": call.permission,
    }
    if isinstance(call, RawRoute):
        described["responses"][str(call.status)] = {
            "description": "Done.",
            "content": {call.media_type: {}},
        }
        return described
    if call.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas.of(call.body)}},
        }
    if call.answer is None:
        described["responses"]["204"] = {"description": "Done."}
    else:
        described["responses"][str(call.status)] = {
            "description": "Done.",
            "content": {"application/json": {"schema": schemas.of(call.answer)}},
        }
    return described


def _name(call: Call) -> str:
    """A unique name that reads: ``post_operators_operator_disable``."""
    parts = [part.strip("{}").split(":")[0].replace("-", "_").replace(".", "_") for part in call.path.split("/")]
    return "_".join([call.method.lower(), *[part for part in parts if part and part != "v1"]])


def _parameters(call: Call, schemas: _Schemas) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(call.path)
    ]
    if not call.public:
        found.append({
            "name": "fleet", "in": "query", "schema": {"type": "string", "default": "default"},
            "description": "The fleet that is meant.",
        })  # fmt: skip
    if call.query is not None:
        schema = schemas.properties(call.query)
        required = schema.get("required", [])
        found += [
            {"name": name, "in": "query", "required": name in required, "schema": inner}
            for name, inner in schema["properties"].items()
        ]
    if isinstance(call, Operation) and call.creates and not call.public:
        found.append({
            "name": IDEMPOTENCY_KEY, "in": "header", "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
            "description": "Creates at most once; asked again it gives the same answer.",
        })  # fmt: skip
    return found
