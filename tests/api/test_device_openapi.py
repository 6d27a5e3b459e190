"""The device channel's description: valid, whole, and of what is really spoken."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette

from tidegate.control.api import device_openapi, table
from tidegate.control.api.operations import routes
from tidegate.control.services.node import Node
from tidegate.testing.asgi import Client
from tidegate.testing.channel import Connection, SimulatedDevice, call, enroll, mint, new_key, running
from tidegate.testing.node import admin_scope
from tidegate.wire.device_calls import CALLS, LOGS, PREFIX

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_the_document_is_valid_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(json.loads(json.dumps(device_openapi.document("https://devices.example")))).validate()


@on_sqlite
def test_it_is_published_without_a_sign_in_and_names_the_channel(node: Node) -> None:
    served = Client(Starlette(routes=routes(node, table.calls()))).request("GET", "/v1/device/openapi.json")
    assert served.status == 200
    assert served.json()["servers"] == [{"url": node.settings.effective_channel_url}]
    assert served.json()["components"]["securitySchemes"]["certificate"]["type"] == "mutualTLS"


@on_sqlite
def test_every_call_of_the_channel_is_described_and_every_described_one_is_there(node: Node) -> None:
    document = device_openapi.document("https://devices.example")
    connection = Connection(enroll(node, mint(admin_scope(node), node), new_key(), "cam-1").certificate_pem)

    async def story() -> None:
        async with running(node) as app:
            posted = {path for path, methods in document["paths"].items() if "post" in methods}
            assert {PREFIX + name for name in app._calls} == {one.path for one in CALLS}
            assert posted == {one.path for one in CALLS} | {f"{PREFIX}{LOGS}{{id}}"}
            for one in CALLS:
                refused = await call(app, connection, one.path, b'{"colour": 1}')
                assert refused.status == 422, one.name
                larger = await call(app, connection, one.path, b" " * (one.most_bytes + 1))
                assert (larger.status, larger.headers["connection"]) == (413, "close"), one.name
            reply = await SimulatedDevice(app, connection).beat()
            schema = document["components"]["schemas"]["HeartbeatAnswer"]
            answered = msgspec.json.decode(reply.body)
            assert set(schema["required"]) <= set(answered) <= set(schema["properties"])

    asyncio.run(story())
