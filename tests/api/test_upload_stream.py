"""The streaming edge of uploads: what arrived before a connection broke is kept, and said when asked."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest
from starlette.requests import ClientDisconnect, Request

from tidegate.control.api import artifacts as api
from tidegate.control.domain.access import Scope
from tidegate.control.services import uploads
from tidegate.control.services.node import Node
from tidegate.errors import Invalid, TooLarge
from tidegate.testing.node import admin_scope

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]

(ROUTE,) = api.ROUTES


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def scope(node: Node) -> Scope:
    return admin_scope(node)


def _request(upload_id: str, query: str, *messages: dict[str, Any]) -> Request:
    pending = list(messages)

    async def receive() -> dict[str, Any]:
        if not pending:
            await anyio.sleep_forever()
        return pending.pop(0)

    scope = {
        "type": "http",
        "method": "PATCH",
        "path": "/",
        "headers": [],
        "query_string": query.encode(),
        "path_params": {"upload": upload_id},
    }
    return Request(scope, receive)


def _part(data: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


async def test_what_arrived_before_the_connection_broke_is_kept(node: Node, scope: Scope) -> None:
    upload = uploads.create(scope, node, "model.onnx", 10)
    broken = _request(upload.id, "offset=0", _part(b"hello"), {"type": "http.disconnect"})
    with pytest.raises(ClientDisconnect):
        await ROUTE.endpoint(broken, scope, node)
    assert uploads.find(scope, node, upload.id).received == 5
    answer = await ROUTE.endpoint(_request(upload.id, "offset=5", _part(b"world", more=False)), scope, node)
    state = msgspec.json.decode(answer.body)
    assert state["received"] == 10
    assert node.blobs.read(state["sha256"]) == b"helloworld"


async def test_a_sender_that_falls_silent_is_let_go_and_keeps_its_bytes(
    node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "SILENCE_SECONDS", 0.05)
    upload = uploads.create(scope, node, "model.onnx", 10)
    with pytest.raises(ClientDisconnect):
        await ROUTE.endpoint(_request(upload.id, "offset=0", _part(b"hello")), scope, node)
    assert uploads.find(scope, node, upload.id).received == 5
    with uploads.receive(scope, node, upload.id, 5):
        pass  # nobody holds it any more


async def test_more_than_announced_is_refused(node: Node, scope: Scope) -> None:
    upload = uploads.create(scope, node, "model.onnx", 3)
    with pytest.raises(TooLarge, match="3 bytes were announced"):
        await ROUTE.endpoint(_request(upload.id, "offset=0", _part(b"hello", more=False)), scope, node)
    assert uploads.find(scope, node, upload.id).received == 0


@pytest.mark.parametrize(
    "query", ["", "offset=", "offset=-1", "offset=1&offset=2", "offset=1e3", "offset=" + "9" * 30, "offset=²"]
)
async def test_a_bad_offset_names_the_field(node: Node, scope: Scope, query: str) -> None:
    upload = uploads.create(scope, node, "model.onnx", 3)
    with pytest.raises(Invalid) as refused:
        await ROUTE.endpoint(_request(upload.id, query), scope, node)
    assert [error.pointer for error in refused.value.errors] == ["/offset"]
