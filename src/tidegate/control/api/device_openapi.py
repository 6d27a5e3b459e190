"""OpenAPI 3.1 of the device channel, from the structs that it speaks (SPEC section 8).

It listens elsewhere and demands a client certificate; its description is published here, where it can be read without.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

import tidegate
from tidegate.control.api.operations import RawRoute
from tidegate.control.domain.access import Scope
from tidegate.control.services.node import Node
from tidegate.wire.device import LOG_BUNDLE_BYTES_MAX, LogRefusal, LogTaken
from tidegate.wire.device_calls import CALLS, LOGS, PREFIX, DeviceCall
from tidegate.wire.problem import PROBLEM_JSON, Problem

PATH = "/v1/device/openapi.json"
_PROBLEM = {"$ref": "#/components/responses/problem"}
_REPOSITORY = {
    "/repository/metadata/{file}": ("One signed metadata file of the device's fleet", "application/json"),
    "/repository/targets/{fleet}/{name}/{version}/{file}": (
        "One file of a published version, named by its SHA-256 and file name; ranges are served",
        "application/octet-stream",
    ),
}


def document(channel_url: str) -> dict[str, Any]:
    """The whole document; `channel_url` is where devices reach the channel."""
    types: list[Any] = [
        Problem,
        LogRefusal,
        LogTaken,
        *(kind for call in CALLS for kind in (call.request, call.answer)),
    ]
    found, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schemas = dict(zip(types, found, strict=True))
    paths: dict[str, Any] = {call.path: {"post": _call(call, schemas)} for call in CALLS}
    paths[f"{PREFIX}{LOGS}{{id}}"] = {"post": _log(schemas)}
    paths |= {path: {"get": _file(path, *described)} for path, described in _REPOSITORY.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate device channel",
            "version": tidegate.__version__,
            "summary": "What devices ask of the node, with their client certificate.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": channel_url}],
        "security": [{"certificate": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "certificate": {
                    "type": "mutualTLS",
                    "description": "The device certificate; nothing else says which device asks.",
                }
            },
            "responses": {
                "problem": {
                    "description": "Refused or not possible now (RFC 9457).",
                    "content": {PROBLEM_JSON: {"schema": schemas[Problem]}},
                }
            },
        },
    }


def _call(call: DeviceCall, schemas: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    return {
        "operationId": call.name,
        "summary": call.summary,
        "tags": ["channel"],
        "requestBody": {
            "required": True,
            "description": f"At most {call.most_bytes} bytes.",
            "content": {"application/json": {"schema": schemas[call.request]}},
        },
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": schemas[call.answer]}}},
            "default": _PROBLEM,
        },
    }


def _log(schemas: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    return {
        "operationId": "log",
        "summary": "A log that was asked for in a heartbeat's answer, or why it is not sent",
        "tags": ["channel"],
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
        "requestBody": {
            "required": True,
            "description": f"At most {LOG_BUNDLE_BYTES_MAX} bytes of gzip, or a refusal.",
            "content": {"application/gzip": {}, "application/json": {"schema": schemas[LogRefusal]}},
        },
        "responses": {
            "200": {"description": "Taken.", "content": {"application/json": {"schema": schemas[LogTaken]}}},
            "default": _PROBLEM,
        },
    }


def _file(path: str, summary: str, media_type: str) -> dict[str, Any]:
    names = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    return {
        "operationId": "get_" + path.split("/")[2],
        "summary": summary,
        "tags": ["repository"],
        "parameters": [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names],
        "responses": {
            "200": {"description": "The file.", "content": {media_type: {}}},
            "206": {"description": "The part asked for.", "content": {media_type: {}}},
            "304": {"description": "Not changed since the ETag sent."},
            "default": _PROBLEM,
        },
    }


async def _endpoint(_request: Request, _scope: Scope, node: Node) -> Response:
    made = msgspec.json.encode(document(node.settings.effective_channel_url))
    return Response(made, media_type="application/json")


ROUTES = (
    RawRoute(
        method="GET", path=PATH, permission="", public=True, tag="node", endpoint=_endpoint,
        name="node.device_openapi",
        summary="The description of the device channel", media_type="application/json",
    ),
)  # fmt: skip
