"""Holds end by themselves, once, on the record."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from tidegate.control.services import devices, groups, holds
from tidegate.control.services.holds import HeldDevice, HeldFleet, HeldGroup
from tidegate.control.services.hub import Change
from tidegate.control.services.node import Node
from tidegate.control.store import devices as device_store
from tidegate.control.store import engine
from tidegate.control.store.schema import audit_records, fleets
from tidegate.control.store.schema import devices as device_table
from tidegate.control.store.schema import groups as group_table
from tidegate.testing.channel import enroll, mint, new_key
from tidegate.testing.node import admin_scope


def test_what_is_over_is_released_and_looked_at_again(node: Node) -> None:
    scope = admin_scope(node)
    enroll(node, mint(scope, node), new_key(), "cam-1")
    groups.create(scope, node, "lab", ["cam-1"])
    soon = node.clock.now() + timedelta(hours=1)
    for subject in (HeldDevice("cam-1"), HeldGroup("lab"), HeldFleet()):
        holds.hold(scope, node, subject, "maintenance", soon)
    assert len(devices.get(scope, node, "cam-1").holds) == 3
    assert holds.expire(node) == 0
    with node.db.write() as tx:
        past = engine.now(tx) - timedelta(seconds=1)
        tx.execute(sa.update(device_table).values(hold_until=past))
        tx.execute(sa.update(group_table).values(hold_until=past))
        tx.execute(sa.update(fleets).values(frozen_until=past))
        before = device_store.generations(tx)[scope.fleet_id]
    assert devices.get(scope, node, "cam-1").holds == []  # none is in force even before anybody tidies up
    told: list[Change] = []
    stop = node.hub.subscribe(told.append)
    assert holds.expire(node) == 3
    assert holds.expire(node) == 0
    stop()
    assert [change.kind for change in told] == ["devices"] * 3
    with node.db.read() as tx:
        assert device_store.generations(tx)[scope.fleet_id] == before + 3
        actors = tx.scalars(
            sa.select(audit_records.c.actor).where(audit_records.c.action.like("%.release"))
        ).all()  # fmt: skip
    assert actors == ["system:holds"] * 3
