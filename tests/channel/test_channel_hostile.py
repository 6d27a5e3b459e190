"""What a hostile or unlucky device does to the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tidegate.control.channel import identity
from tidegate.control.domain.access import Scope
from tidegate.control.services import devices
from tidegate.control.services.node import Node
from tidegate.testing.channel import Connection, SimulatedDevice, call, enroll, mint, new_key, running
from tidegate.testing.node import admin_scope


@pytest.fixture
def scope(node: Node) -> Scope:
    return admin_scope(node)


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def test_a_device_that_says_nul_does_not_take_the_presence_of_the_others_with_it(node: Node, scope: Scope) -> None:
    token = mint(scope, node, uses=2)
    first, second = (Connection(enroll(node, token, new_key(), name).certificate_pem) for name in ("bad", "good"))

    async def story() -> None:
        async with running(node) as app:
            bad, good = SimulatedDevice(app, first), SimulatedDevice(app, second)
            reply = await bad.beat(waiting_on="\x00")
            assert (reply.status, reply.problem.kind) == (422, "invalid")
            assert (await bad.beat(waiting_on="\\u0000")).status == 200  # letters that look like it are letters
            assert (await good.beat(waiting_on="the disk")).status == 200
            await app.presence.flush()
            assert app.presence.unwritten == 0

    run(story)
    assert devices.get(scope, node, "good").view.device.waiting_on == "the disk"
    assert devices.get(scope, node, "bad").view.device.waiting_on == "\\u0000"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_connections_that_go_while_their_certificate_is_looked_up_are_not_counted_for_ever(
    node: Node, scope: Scope
) -> None:
    pem = enroll(node, mint(scope, node), new_key(), "cam-1").certificate_pem

    async def story() -> None:
        async with running(node) as app:
            for _ in range(identity.MAX_CONNECTIONS + 1):
                gone = Connection(pem)
                gone.close()
                with pytest.raises(IndexError):  # nobody is left to be answered
                    await call(app, gone, "/v1/device/heartbeat", b"{}")
            assert (await SimulatedDevice(app, Connection(pem)).beat()).status == 200

    run(story)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_runs_in_the_background_is_missed_when_it_ends(node: Node) -> None:
    async def story() -> None:
        async with running(node) as app:
            assert app.ended() == []
            scope, task = app._running[0]
            scope.cancel()
            await task
            assert app.ended() == ["channel identities"]

    run(story)
