"""The repository as devices get it: names, ranges, caching, and one fleet never seeing another's."""

from __future__ import annotations

import dataclasses
import gzip
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from tidegate.control.api.repository import repository_app
from tidegate.control.domain.devices import DeviceRef
from tidegate.control.services import artifacts, trust, uploads
from tidegate.control.services.node import Node
from tidegate.ids import DeviceId, FleetId
from tidegate.testing.node import admin_scope
from tidegate.wire.descriptor import ModelManifest
from tidegate.wire.operator.artifacts import NewFile, PublishArtifact

CONTENT = bytes(range(200)) * 7000  # more than one piece of a stream

pytestmark = [
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),  # nothing here depends on the database's kind
]


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Device:
    def __init__(self, node: Node, fleet_id: int = 1, fleet: str = "default") -> None:
        self.app = repository_app(node)
        self.ref = DeviceRef(DeviceId(1), "cam-7", FleetId(fleet_id), fleet)

    async def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            await anyio.sleep_forever()  # a device that stays connected and says nothing more
            raise AssertionError

        async def send(message: Any) -> None:
            sent.append(message)

        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": method, "path": f"/repository/{path}", "headers": raw, "device": self.ref}
        await self.app(scope, receive, send)
        start = sent[0]
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return Answer(start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, body)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def published(node: Node) -> str:
    """The target's path as it is served."""
    scope = admin_scope(node)
    upload = uploads.upload_stream(scope, node, "model.onnx", len(CONTENT), [CONTENT])
    files = (NewFile(name="model.onnx", upload=upload.id),)
    artifacts.publish(
        scope, node, PublishArtifact(name="vad", version="5", files=files, manifest=ModelManifest(framework="onnx"))
    )
    return f"targets/default/vad/5/{upload.sha256}.model.onnx"


@pytest.mark.anyio
async def test_metadata_go_by_their_names(node: Node, published: str) -> None:
    device = Device(node)
    stamp = await device.get("metadata/timestamp.json")
    assert stamp.status == 200
    assert stamp.headers["cache-control"] == "no-cache"
    root = await device.get("metadata/1.root.json")
    assert root.body == trust.export_root(admin_scope(node), node)
    assert "immutable" in root.headers["cache-control"]
    assert (await device.get("metadata/1.root.json", if_none_match=root.headers["etag"])).status == 304
    packed = await device.get("metadata/1.root.json", accept_encoding="gzip, br")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == root.body
    for name in (
        "2.root.json",
        "root.json",
        "1.timestamp.json",
        "01.root.json",
        "1.root.json.json",
        "../x.json",
        "0.root.json",
        "1.ROOT.json",
        "9" * 30 + ".root.json",
    ):
        missing = await device.get(f"metadata/{name}")
        assert missing.status == 404, name
        assert missing.headers["content-type"] == "application/problem+json"
    assert (await device.get("elsewhere")).status == 404
    assert (await device.get("metadata/timestamp.json", "POST")).status == 405


@pytest.mark.anyio
async def test_an_unchanged_repository_costs_no_database(node: Node, published: str) -> None:
    device = Device(node)
    statements: list[str] = []
    sa.event.listen(node.db.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    names = ("metadata/2.root.json", "metadata/timestamp.json", "metadata/1.root.json")
    first = [(await device.get(name)).status for name in names]
    assert first == [404, 200, 200]
    assert statements
    statements.clear()
    for _ in range(5):
        assert [(await device.get(name)).status for name in names] == first
    assert statements == []


@pytest.mark.anyio
async def test_a_change_is_seen_at_once(node: Node, published: str) -> None:
    device = Device(node)
    before = await device.get("metadata/timestamp.json")
    assert (await device.get(published, "HEAD")).status == 200
    artifacts.withdraw(admin_scope(node), node, "vad", "5", "bad")
    assert (await device.get("metadata/timestamp.json")).body != before.body
    assert (await device.get(published)).status == 404


@pytest.mark.anyio
async def test_targets_stream_whole_and_in_ranges(node: Node, published: str) -> None:
    device = Device(node)
    whole = await device.get(published)
    assert (whole.status, whole.body) == (200, CONTENT)
    size = len(CONTENT)
    for asked, expected in (
        ("bytes=0-0", CONTENT[:1]),
        ("bytes=5-", CONTENT[5:]),
        ("bytes=-7", CONTENT[-7:]),
        (f"bytes={size - 1}-{size + 100}", CONTENT[-1:]),
        (f"bytes=-{size * 2}", CONTENT),
    ):
        part = await device.get(published, range=asked)
        assert (part.status, part.body) == (206, expected), asked
        assert part.headers["content-range"].endswith(f"/{size}")
        assert int(part.headers["content-length"]) == len(expected)
    for asked in (f"bytes={size}-", "bytes=-0", "bytes=9-3"):
        refused = await device.get(published, range=asked)
        assert (refused.status, refused.headers["content-range"]) == (416, f"bytes */{size}")
    for asked in ("bytes=-", "bytes=0-1,5-6", "lines=1-2", "bytes=a-b"):
        assert (await device.get(published, range=asked)).status == 200, asked
    stale = await device.get(published, range="bytes=0-0", if_range='"other"')
    assert (stale.status, len(stale.body)) == (200, size)
    head = await device.get(published, "HEAD")
    assert (head.headers["content-length"], head.body) == (str(size), b"")


@pytest.mark.anyio
async def test_anything_of_another_fleet_is_not_found(node: Node, published: str) -> None:
    stranger = Device(node, 2, "plant-7")
    answers = [
        await stranger.get(published),
        await stranger.get(published.replace("default", "plant-7")),
        await stranger.get("metadata/timestamp.json"),
        await stranger.get("metadata/1.root.json"),
        await Device(node).get(published.replace("/5/", "/6/")),
        await Device(node).get(published.replace("model.onnx", "other.onnx")),
        await Device(node).get("targets/default/vad/5/" + "0" * 64 + ".model.onnx"),
        await Device(node).get("targets/default/vad/../vad/5/x"),
    ]
    assert {answer.status for answer in answers} == {404}
