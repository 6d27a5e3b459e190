"""What the device channel counts: by the call and whose fault it was, whatever devices send."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from tidegate.control.services import work
from tidegate.control.services.node import Node
from tidegate.testing.channel import Connection, call, enroll, mint, new_key, running
from tidegate.testing.node import admin_scope
from tidegate.wire import device as wire

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def _requests(node: Node) -> dict[tuple[str, str], float]:
    """Those that were counted at all."""
    samples = node.metrics.channel_requests.collect()[0].samples
    return {(one.labels["call"], one.labels["outcome"]): one.value for one in samples if one.value}


def test_calls_are_counted_by_name_and_outcome(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    given = enroll(node, mint(admin_scope(node), node), new_key(), "cam-1")

    def broken(*_args: object, **_named: object) -> None:
        raise sa.exc.OperationalError("SELECT", {}, Exception("the disk is gone"))

    async def story() -> None:
        async with running(node) as app:
            device, stranger = Connection(given.certificate_pem), Connection(None)
            assert (await call(app, device, "/v1/device/heartbeat", wire.Heartbeat("0" * 32))).status == 200
            assert (await call(app, device, "/v1/device/heartbeat", b"{")).status == 400
            assert (await call(app, stranger, "/v1/device/heartbeat", wire.Heartbeat("0" * 32))).status == 401
            for name in ("x" * 40, "y/../z", ""):
                assert (await call(app, device, f"/v1/device/{name}")).status == 404
            monkeypatch.setattr(work, "leave", broken)
            asked = wire.LeaveRequest(work="1:1:1")
            assert (await call(app, device, "/v1/device/leave", asked)).status == 503

    asyncio.run(story())
    assert _requests(node) == {
        ("heartbeat", "answered"): 1,
        ("heartbeat", "refused"): 2,
        ("other", "refused"): 3,
        ("leave", "failed"): 1,
    }
    seconds = node.metrics.channel_seconds.collect()[0].samples
    timed = {one.labels["call"]: one.value for one in seconds if one.name.endswith("_count") and one.value}
    assert timed == {"heartbeat": 3, "other": 3, "leave": 1}
