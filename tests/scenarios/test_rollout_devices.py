"""Holds, restores, baselines, requirements, absence, replays: what bears on single devices; both databases."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from tidegate.control.domain.access import Scope
from tidegate.control.domain.rollouts.model import AssignmentState, RolloutState, Verb
from tidegate.control.services import explain, holds, rollouts, work
from tidegate.control.services.holds import HeldDevice, HeldFleet, HeldGroup
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import NewRollout, RolloutDetail, Target
from tidegate.control.services.rollouts.planning import plan_all
from tidegate.control.store.schema import device_artifacts, device_events
from tidegate.testing.fleet import SimDevice, catalog, elapse, enroll, settle
from tidegate.testing.node import admin_scope
from tidegate.wire.device import Report, Reports, Requirement

S, R = AssignmentState, RolloutState


def create(
    node: Node, version: str, strategy: dict[str, object] | None = None, name: str = "vad", **more: object
) -> RolloutDetail:
    target = more.pop("target", Target(everyone=True))
    return rollouts.create_rollout(
        admin_scope(node),
        node,
        NewRollout(name, version, target, strategy, **more),  # type: ignore[arg-type]
    )


def now(node: Node, rollout: RolloutDetail) -> RolloutDetail:
    return rollouts.get_rollout(admin_scope(node), node, rollout.id)


@pytest.fixture
def scope(node: Node) -> Scope:
    found = admin_scope(node)
    for version in ("5", "6"):
        catalog(node, found, "vad", version)
    return found


def test_what_is_held_is_not_served_and_gets_no_leave(node: Node, scope: Scope) -> None:
    free, held, grouped = [*enroll(node, scope, ["a", "b"]), *enroll(node, scope, ["c"], group="lab")]
    holds.hold(scope, node, HeldDevice("b"), "shift change")
    holds.hold(scope, node, HeldGroup("lab"), "experiment")
    rollout = create(node, "5")
    fleet = [free, held, grouped]
    settle(node, fleet, 2)
    assert now(node, rollout).counts == {S.HEALTHY: 1, S.PENDING: 2}
    assert "(2 on hold)" in now(node, rollout).waiting_on
    holds.release(scope, node, HeldDevice("b"))
    item = held.poll().work[0]
    holds.hold(scope, node, HeldFleet(), "power works")
    assert not held.leave(item)
    assert held.refusals == ["fleet on hold: power works"]
    assert "group lab on hold: experiment" in explain.explain(scope, node, "c", "vad").answer
    holds.release(scope, node, HeldFleet())
    holds.release(scope, node, HeldGroup("lab"))
    settle(node, fleet, 2)
    assert now(node, rollout).state is R.COMPLETED


def test_a_wiped_device_is_given_what_it_should_run(node: Node, scope: Scope) -> None:
    (device,) = enroll(node, scope, ["a"])
    create(node, "5")
    settle(node, [device], 2)
    device.wipe()
    with node.db.write() as tx:
        work.reenrolled(tx, scope, device.ref.id)
    item = device.poll().work[0]
    assert (item.kind, item.version) == ("restore", "5")
    assert device.ref.id in work.devices_with_work(node, scope.fleet_id)
    device.tick()
    assert device.runs == {"vad": "5"}
    assert device.poll().work == ()
    assert work.devices_with_work(node, scope.fleet_id) == set()


def test_a_device_that_lost_everything_without_a_new_key_is_restored_too(node: Node, scope: Scope) -> None:
    (device,) = enroll(node, scope, ["a"])
    create(node, "5")
    settle(node, [device], 2)
    elapse(node, 60)
    device.wipe()
    device.tick()
    assert device.runs == {"vad": "5"}


def test_enrolled_again_in_the_middle_is_served_again(node: Node, scope: Scope) -> None:
    (device,) = enroll(node, scope, ["a"])
    rollout = create(node, "5")
    device.poll()
    device.wipe()
    with node.db.write() as tx:
        work.reenrolled(tx, scope, device.ref.id)
    assert now(node, rollout).counts == {S.PENDING: 1}
    settle(node, [device], 2)
    assert now(node, rollout).state is R.COMPLETED


def test_decommissioned_devices_count_for_nothing(node: Node, scope: Scope) -> None:
    first, second = enroll(node, scope, ["a", "b"])
    rollout = create(node, "5")
    first.poll()
    with node.db.write() as tx:
        work.decommissioned(tx, scope, first.ref.id)
    settle(node, [second], 2)
    found = now(node, rollout)
    assert found.counts == {S.HEALTHY: 1, S.SKIPPED: 1}
    assert found.state is R.COMPLETED


def test_baseline_reaches_devices_that_come_later(node: Node, scope: Scope) -> None:
    (first,) = enroll(node, scope, ["a"], group="line")
    rollout = create(node, "5", baseline=True, target=Target(group="line"))
    (during,) = enroll(node, scope, ["b"], group="line")
    (outside,) = enroll(node, scope, ["x"])
    settle(node, [first], 2)
    assert now(node, rollout).state is R.COMPLETED
    (later,) = enroll(node, scope, ["c"], group="line")
    with node.db.write() as tx:
        for one in (later, outside):
            work.enrolled(tx, scope, one.ref.id)
    settle(node, [during, outside, later], 2)
    assert during.runs == later.runs == {"vad": "5"}
    assert outside.runs == {}
    assert "baseline" in explain.explain(scope, node, "c", "vad").answer


def test_absence_lets_a_wave_complete_and_returning_devices_are_served(node: Node, scope: Scope) -> None:
    fleet = enroll(node, scope, [f"d{n}" for n in range(4)])
    rollout = create(node, "5", {"waves": [{"percent": 50}, {"percent": 100}], "offline_after": "1h"})
    with node.db.read() as tx:
        first = tx.scalars(sa.text("SELECT device_id FROM assignments WHERE wave = 1")).all()
    away = next(device for device in fleet if device.ref.id in first)
    away.online = False
    settle(node, fleet, 2)
    assert now(node, rollout).released_wave == 1
    elapse(node, 1800)
    settle(node, fleet, 1)
    assert now(node, rollout).released_wave == 1
    elapse(node, 2000)
    settle(node, fleet, 2)
    done = now(node, rollout)
    assert done.state is R.COMPLETED
    assert done.counts == {S.HEALTHY: 3, S.PENDING: 1}
    assert "1 device that" in done.waiting_on
    away.online = True
    away.outcome = lambda item: "rolled_back"
    settle(node, fleet, 1)
    assert now(node, rollout).state is R.COMPLETED, "a straggler raises an event and cannot halt"
    with node.db.read() as tx:
        kinds = set(tx.scalars(sa.select(device_events.c.kind).where(device_events.c.device_id == away.ref.id)))
    assert "straggler" in kinds


def test_a_served_device_never_leaves_by_absence(node: Node, scope: Scope) -> None:
    first, second = enroll(node, scope, ["a", "b"])
    rollout = create(node, "5", {"offline_after": "1m", "deadline": "10h"})
    first.poll()
    first.online = False
    second.tick()
    elapse(node, 7200)
    settle(node, [first, second], 1)
    assert now(node, rollout).state is R.RUNNING


def test_stragglers_are_ended_after_ninety_days(node: Node, scope: Scope) -> None:
    first, second = enroll(node, scope, ["a", "b"])
    second.online = False
    rollout = create(node, "5", {"offline_after": "1m"})
    settle(node, [first], 1)
    elapse(node, 120)
    settle(node, [first], 1)
    assert now(node, rollout).state is R.COMPLETED
    elapse(node, 86_400 * 91)
    plan_all(node)
    assert now(node, rollout).counts == {S.HEALTHY: 1, S.SKIPPED: 1}


def test_requirements_come_first_and_are_waited_for(node: Node, scope: Scope) -> None:
    (device,) = enroll(node, scope, ["a"])
    catalog(node, scope, "app", "1", requires=[Requirement("vad", ">=6")])
    app = create(node, "1", name="app")
    item = device.poll().work[0]
    device.report(item, "ready")
    assert not device.leave(item)
    assert device.refusals == ["requires vad >=6, which does not run here"]
    create(node, "6")
    assert [one.artifact for one in device.poll().work] == ["vad", "app"]
    settle(node, [device], 2)
    assert device.runs == {"vad": "6", "app": "1"}
    assert now(node, app).state is R.COMPLETED


def test_one_artifact_is_applied_at_a_time(node: Node, scope: Scope) -> None:
    (device,) = enroll(node, scope, ["a"])
    catalog(node, scope, "app", "1")
    create(node, "1", name="app")
    create(node, "5")
    first, second = device.poll().work
    assert device.leave(first)
    assert not device.leave(second)
    assert device.refusals == ["app is being applied; one at a time"]


def test_at_most_so_many_are_in_flight(node: Node, scope: Scope) -> None:
    fleet = enroll(node, scope, ["a", "b", "c"])
    rollout = create(node, "5", {"max_in_flight": 2})
    assert sum(bool(device.poll().work) for device in fleet) == 2
    assert now(node, rollout).counts == {S.ASSIGNED: 2, S.PENDING: 1}
    assert len(work.devices_with_work(node, scope.fleet_id)) == 3
    settle(node, fleet, 3)
    assert now(node, rollout).state is R.COMPLETED


def test_reports_are_taken_once_per_installation_and_sequence(node: Node, scope: Scope) -> None:
    (device,) = enroll(node, scope, ["a"])
    rollout = create(node, "5")
    device.poll()

    def send(installation: str, *items: tuple[int, str]) -> list[str]:
        facts = tuple(Report(n, f"r{rollout.id}", state, datetime.now(UTC)) for n, state in items)  # type: ignore[arg-type]
        answer = work.report(node, [(device.ref, Reports(installation, facts))])[0]
        return [result.status for result in answer.results]

    one, other = "1" * 32, "2" * 32
    assert send(one, (1, "downloading"), (2, "reverted"), (3, "ready")) == ["accepted", "refused", "accepted"]
    assert send(one, (3, "failed"), (2, "failed")) == ["replay", "replay"]
    assert now(node, rollout).counts == {S.READY: 1}
    assert send(other, (1, "healthy")) == ["accepted"]
    assert now(node, rollout).counts == {S.HEALTHY: 1}


def test_explain_tells_the_chain_oldest_first(node: Node, scope: Scope) -> None:
    (device,) = enroll(node, scope, ["a"])
    create(node, "5")
    settle(node, [device], 2)
    device.outcome = lambda item: "rolled_back"
    bad = create(node, "6")
    settle(node, [device], 2)
    told = explain.explain(scope, node, "a", "vad")
    assert told.running == "5"
    assert told.answer == "It runs 5 because 6 did not pass here and was rolled back; a rollout tries a version once"
    assert [fact.text for fact in told.facts] == [
        f"Rollout {bad.id - 1} put 5 here",
        f"Rollout {bad.id} tried 6; the device rolled back to 5",
    ]
    assert explain.explain(scope, node, "a", "nothing").answer == "It runs none of it: no rollout included this device"
    assert explain.installed(scope, node, "a")[0].running_version == "5"
    assert [(one.version, one.devices) for one in explain.versions_in_the_field(scope, node)] == [("5", 1)]


def test_preview_creates_nothing_and_says_who_does_not_fit(node: Node, scope: Scope) -> None:
    enroll(node, scope, [f"d{n}" for n in range(5)], group="lab")
    catalog(node, scope, "big", "1", hardware='arch == "arm64"')
    request = NewRollout("big", "1", Target(group="lab"), {"waves": [{"count": 2}, {"percent": 100}]})
    found = rollouts.preview_rollout(scope, node, request)
    assert found.incompatible_count == 5
    assert len(found.refusals) == 5
    fits = rollouts.preview_rollout(scope, node, NewRollout("vad", "5", Target(group="lab"), request.strategy))
    assert [wave.size for wave in fits.waves] == [2, 3]
    assert rollouts.list_rollouts(scope, node, rollouts.RolloutFilter()).total == 0


def test_leave_and_halt_at_once_leave_nobody_applying_unknown(node: Node, scope: Scope) -> None:
    """Whoever got leave is counted as applying when the halt is done; nobody gets it afterwards."""
    fleet = enroll(node, scope, [f"d{n}" for n in range(8)])
    rollout = create(node, "5")
    items = {device.ref.name: device.poll().work[0] for device in fleet}
    granted: list[str] = []
    start = threading.Barrier(len(fleet) + 1)

    def ask(device: SimDevice) -> None:
        start.wait()
        if device.leave(items[device.ref.name]):
            granted.append(device.ref.name)

    threads = [threading.Thread(target=ask, args=(device,)) for device in fleet]
    for thread in threads:
        thread.start()
    start.wait()
    halted = rollouts.command_rollout(scope, node, rollout.id, Verb.HALT)
    for thread in threads:
        thread.join()
    assert now(node, rollout).counts.get(S.APPLYING, 0) == len(granted)
    assert halted.counts.get(S.APPLYING, 0) == len(granted), "who got leave got it before the halt"


def test_lists_put_first_what_needs_attention(node: Node, scope: Scope) -> None:
    fleet = enroll(node, scope, [f"d{n}" for n in range(5)])
    fleet[3].outcome = lambda item: "failed"
    fleet[4].outcome = lambda item: "rolled_back"
    rollout = create(node, "5", {"max_failure_rate": "0.9"})
    settle(node, fleet, 2)
    seen = []
    after = None
    while True:
        page = rollouts.list_assignments(scope, node, rollout.id, rollouts.AssignmentFilter(limit=2, after=after))
        seen += [item.device for item in page.items]
        after = page.next_after
        if after is None:
            break
    assert seen == ["d3", "d4", "d0", "d1", "d2"]
    assert rollouts.count_states(scope, node) == {"completed": 1}
    assert [item.rollout for item in rollouts.device_rollouts(scope, node, "d0").items] == [rollout.id]
    assert rollouts.rollout_timeline(scope, node, rollout.id)[0].kind


def test_goals_are_written_once_per_device(node: Node, scope: Scope) -> None:
    (device,) = enroll(node, scope, ["a"])
    create(node, "5")
    settle(node, [device], 2)
    with node.db.read() as tx:
        rows = tx.execute(sa.select(device_artifacts)).all()
    assert [(row.running_version, row.goal_generation, row.drift_since) for row in rows] == [("5", 1, None)]
