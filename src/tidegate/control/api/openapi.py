"""OpenAPI 3.1 from the table of operations (SPEC section 13).

Every status that an operation can answer is listed: a client made from the document handles all of them, and what is
answered beyond them is a mistake here (tests/api/test_schemathesis.py asks for it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

import tidegate
from tidegate.control.api import names, parameters
from tidegate.control.api.examples import BODIES
from tidegate.control.api.operations import IDEMPOTENCY_KEY, Operation, RawRoute
from tidegate.control.domain.access import Scope
from tidegate.control.services.node import Node
from tidegate.wire.problem import PROBLEM_JSON, Problem

PATH = "/v1/openapi.json"
_REF = "#/components/schemas/{name}"
_JSON = "application/json"

Call = Operation | RawRoute

#: What each refusal means, wherever it is answered; the body is a problem.
_PROBLEMS = {
    400: ("malformed", "Not the syntax that was promised: broken JSON, a missing Content-Type, U+0000 in the address."),
    401: ("unauthenticated", "No credential, or one that is not accepted."),
    403: ("forbidden", "A permission is missing; `permission` names it."),
    404: ("absent", "Absent, or not visible to the one who asks: both answer alike."),
    409: ("conflict", "Not in a state that allows this, a name is taken, or an Idempotency-Key is in use."),
    413: ("too-large", "More than the limit that `detail` names."),
    422: ("invalid", "An input breaks a rule; `errors` names each field as a JSON pointer, and its rule."),
    429: ("too-many", "Too many attempts; try again after Retry-After."),
    503: ("unavailable", "Not possible for now; the same request may succeed after Retry-After."),
}
_HEADERS = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "`Bearer`"}},
    429: {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
    503: {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
}
_ABOUT = """\
Errors are problems (RFC 9457) with `application/problem+json`: compare the last part of `type`; `detail` is for people.

Lists take `limit` (50, at most 200), `offset` (at most 10,000) for pages that people turn, or `cursor` (the
`next_cursor` of the slice before) for a walk that stays stable while others write. `total` is exact up to 10,000.

A POST that creates takes an `Idempotency-Key`. Every call takes `fleet`. Times are RFC 3339 in UTC, durations whole
seconds. Fields may be added to answers; unknown fields in requests are refused by name.
"""
_TAGS = {
    "artifacts": "Published, immutable versions, and the uploads that become one.",
    "audit": "Who did what: one chain per fleet and one of the node.",
    "devices": "Devices: who they are, what holds them, what they run.",
    "enrollment": "How a machine becomes a device.",
    "groups": "Sets of devices.",
    "node": "The node itself.",
    "people": "Operators, sessions, roles and API keys.",
    "rollouts": "One version to many devices, in widening waves.",
    "trust": "The trust domain: keys, thresholds, expiries.",
}


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
    named = names.names(calls)
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        name = named[call.method, call.path]
        paths.setdefault(parameters.plain(call.path), {})[call.method.lower()] = _operation(call, name, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate operator API",
            "version": tidegate.__version__,
            "summary": "Signed software delivery to fleets of edge devices.",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": tag, "description": _TAGS[tag]} if tag in _TAGS else {"name": tag}
            for tag in sorted({call.tag for call in calls})
        ],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key (`tg_…`), or the secret of a session (`POST /v1/sessions`).",
                }
            },
            "responses": {
                name: {
                    "description": said,
                    "headers": _HEADERS.get(status, {}),
                    "content": {PROBLEM_JSON: {"schema": schemas.of(Problem)}},
                }
                for status, (name, said) in _PROBLEMS.items()
            },
        },
    }


class _Schemas:
    """msgspec's schemas of every type that a call names."""

    def __init__(self, calls: Sequence[Call]) -> None:
        types: list[Any] = [Problem, parameters.FLEET]
        for call in calls:
            body = call.body if isinstance(call, Operation) else None
            types += [kind for kind in (call.query, body, call.answer) if kind is not None]
            types += parameters.of_path(call.path).values()
        self._types = list(dict.fromkeys(types))
        found, self.components = msgspec.json.schema_components(self._types, ref_template=_REF)
        _name_width(self.components)
        self._found: dict[Any, dict[str, Any]] = dict(zip(self._types, found, strict=True))

    def of(self, kind: Any) -> dict[str, Any]:
        return self._found[kind]

    def properties(self, kind: type) -> dict[str, Any]:
        name = self.of(kind)["$ref"].rsplit("/", 1)[-1]
        schema: dict[str, Any] = self.components[name]
        return schema


def _name_width(schema: Any) -> None:
    """Numbers that nothing else bounds fit into 64 bits: clients in typed languages then take no smaller type."""
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        _name_width(inner)
    if isinstance(schema, dict) and schema.get("type") == "integer" and "maximum" not in schema:
        schema["format"] = "int64"


def _operation(call: Call, name: names.Name, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": name.operation_id,
        "summary": call.summary,
        "tags": [call.tag],
        "parameters": _parameters(call, schemas),
        "responses": {str(call.status if call.answer or isinstance(call, RawRoute) else 204): _answer(call, schemas)},
        "security": [] if call.public else [{"bearer": []}],
        "x-permission": call.permission,
    }
    for status in _refusals(call):
        described["responses"][str(status)] = {"$ref": f"#/components/responses/{_PROBLEMS[status][0]}"}
    if isinstance(call, RawRoute) and call.bounded_by:
        content: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        described["requestBody"] = {
            "required": True,
            "description": f"Bounded by {call.bounded_by}.",
            "content": content,
        }
    if isinstance(call, Operation) and call.body is not None:
        content = {"schema": schemas.of(call.body)}
        if str(name) in BODIES:
            content["examples"] = {label: {"value": value} for label, value in BODIES[str(name)].items()}
        described["requestBody"] = {
            "required": True,
            "description": f"At most {call.body_bytes} bytes.",
            "content": {_JSON: content},
        }
    return described


def _answer(call: Call, schemas: _Schemas) -> dict[str, Any]:
    if call.answer is not None:
        return {"description": "Done.", "content": {_JSON: {"schema": schemas.of(call.answer)}}}
    if isinstance(call, RawRoute):
        binary = {"schema": {"type": "string", "format": "binary"}}
        content = {kind: {} if kind == _JSON else binary for kind in call.media_type.split(", ")}
        return {"description": "The bytes.", "content": content}
    return {"description": "Done; there is nothing to say."}


def _refusals(call: Call) -> list[int]:
    """Every status that refuses this call; a defect of ours (500) is not among them."""
    body = call.body is not None if isinstance(call, Operation) else bool(call.bounded_by)
    found = {400, 422, 429, 503}
    if not call.public:
        found |= {401, 403, 404}
    elif body:
        found |= {401, 403}
    if "{" in call.path or isinstance(call, RawRoute):
        found.add(404)
    if call.method != "GET":
        found.add(409)
    if body:
        found.add(413)
    return sorted(found)


def _parameters(call: Call, schemas: _Schemas) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": schemas.of(kind)}
        for name, kind in parameters.of_path(call.path).items()
    ]
    if not call.public:
        found.append({
            "name": "fleet", "in": "query", "schema": {**schemas.of(parameters.FLEET), "default": "default"},
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
            "description": "Creates at most once; asked again within 48 hours it gives the same answer, or 409 with the"
            " id where the answer bore a secret.",
        })  # fmt: skip
    return found
