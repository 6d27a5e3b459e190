"""What one device with a valid certificate can make the database hold, whatever it says."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tidegate.control.domain.access import Scope
from tidegate.control.services import explain, registration, rollouts, work
from tidegate.control.services.limits import REGISTERED_MOST, TOLD_MOST
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import NewRollout, Target
from tidegate.control.store import devices as device_store
from tidegate.control.store import running
from tidegate.control.store.schema import device_artifacts, device_events
from tidegate.errors import TooMany
from tidegate.testing.fleet import SimDevice, catalog, elapse, enroll, settle
from tidegate.testing.node import admin_scope
from tidegate.wire.device import HardwareProfile, Installed, Register, Report, Reports

SHA256 = "0" * 64


@pytest.fixture
def device(node: Node) -> SimDevice:
    """It runs `app` 1 by a rollout, and `own`, which nobody here put there."""
    scope = admin_scope(node)
    catalog(node, scope, "app", "1")
    (made,) = enroll(node, scope, ["gate-1"])
    roll_out(node, scope, "app")
    made.installed["own"] = ("7", SHA256)
    settle(node, [made])
    elapse(node, 60)
    return made


def roll_out(node: Node, scope: Scope, name: str) -> None:
    rollouts.create_rollout(scope, node, NewRollout(name, "1", Target(everyone=True)))


def says(node: Node, device: SimDevice, names: list[str]) -> None:
    """What it runs by rollout, and these names; after the time in which a report might contradict it."""
    elapse(node, 60)
    version, sha256 = device.installed["app"]
    listed = [Installed("app", version, sha256), *(Installed(name, "1", SHA256) for name in names)]
    assert work.observe(node, device.ref, listed)


def rows(node: Node, device: SimDevice) -> dict[str, running.Installed]:
    with node.db.read() as tx:
        return {one.artifact: one for one in running.installed(tx, device.ref.id)}


def lines(node: Node, device: SimDevice, kind: str | None = None) -> int:
    query = sa.select(sa.func.count()).where(device_events.c.device_id == device.ref.id)
    with node.db.read() as tx:
        return int(tx.scalar(query if kind is None else query.where(device_events.c.kind == kind)) or 0)


def test_other_names_at_each_heartbeat_leave_no_more_rows_than_the_last_one_said(node: Node, device: SimDevice) -> None:
    for turn in range(4):
        names = [f"made-up-{turn}-{n}" for n in range(255)]
        says(node, device, names)
        assert set(rows(node, device)) == {"app", *names}
    says(node, device, [])
    with node.db.read() as tx:
        assert tx.scalars(sa.select(device_artifacts.c.artifact_name)).all() == ["app"]


def test_what_should_run_stays_known_and_is_given_again_though_the_device_says_it_no_more(
    node: Node, device: SimDevice
) -> None:
    assert {name: row.running_version for name, row in rows(node, device).items()} == {"app": "1", "own": "7"}
    device.wipe()
    elapse(node, 60)
    device.seen()
    (row,) = rows(node, device).values()
    assert (row.artifact, row.running_version, row.goal_version, row.restore) == ("app", None, "1", "pending")
    settle(node, [device], 2)
    assert device.runs == {"app": "1"}
    assert rows(node, device)["app"].running_version == "1"


def test_what_was_removed_by_hand_stays_drift_until_it_is_back(node: Node, device: SimDevice) -> None:
    kept = device.installed.pop("app")
    elapse(node, 60)
    device.seen()
    (drifted,) = explain.drifted(admin_scope(node), node)
    assert (drifted.artifact, drifted.running_version, drifted.previous_version) == ("app", None, "1")
    device.installed["app"] = kept
    elapse(node, 60)
    device.seen()
    assert explain.drifted(admin_scope(node), node) == ()


def test_a_name_that_came_and_went_by_itself_can_be_rolled_out_and_rolled_back(node: Node, device: SimDevice) -> None:
    del device.installed["own"]
    elapse(node, 60)
    device.seen()
    scope = admin_scope(node)
    catalog(node, scope, "own", "1")
    device.outcome = lambda item: "rolled_back"
    roll_out(node, scope, "own")
    settle(node, [device], 2)
    assert "own" not in device.runs
    device.seen()
    assert not rows(node, device).get("own") or rows(node, device)["own"].running_version is None
    assert explain.drifted(scope, node) == ()


def test_what_a_device_says_fills_its_history_up_to_a_bound_and_hides_nothing_that_people_do(
    node: Node, device: SimDevice
) -> None:
    device.wipe()
    elapse(node, 60)
    (item,) = device.poll().work
    # An end of a restore that failed is told again as often as the device likes.
    for start in range(1, 2 * TOLD_MOST, 250):
        said = tuple(
            Report(start + n, item.id, "failed", node.clock.now(), f"no space, {start + n}") for n in range(250)
        )
        work.report(node, [(device.ref, Reports(device.installation, said))])
    assert TOLD_MOST - 10 < lines(node, device, "restore") < TOLD_MOST
    assert lines(node, device, "history") == 1
    with node.db.write() as tx:
        device_store.add_event(tx, device.ref.fleet_id, device.ref.id, "hold", "held", node.clock.now())
    with node.db.read() as tx:
        newest, told, *_ = device_store.events(tx, device.ref.id, 3)
    assert newest.kind == "hold"
    assert told.detail.startswith(f"more than {TOLD_MOST} lines in a day")


def test_a_device_that_says_something_else_of_itself_each_time_is_asked_to_wait(node: Node, device: SimDevice) -> None:
    def register(version: str) -> bool:
        return registration.register(node, device.ref, Register(HardwareProfile(), version))

    for turn in range(REGISTERED_MOST):
        assert register(f"0.{turn}")
    with node.db.read() as tx:
        before = device_store.generations(tx)
    told = lines(node, device)
    with pytest.raises(TooMany) as refused:
        register("1.0")
    assert 0 < refused.value.retry_after_seconds <= 600
    with node.db.read() as tx:
        assert device_store.generations(tx) == before
    assert lines(node, device) == told
    # Saying the same again costs nothing and is never refused; nor is another device.
    assert not register(f"0.{REGISTERED_MOST - 1}")
    (other,) = enroll(node, admin_scope(node), ["gate-2"])
    assert registration.register(node, other.ref, Register(HardwareProfile(), "1.0"))
