"""Corners of a rollout as devices live them: late truths, recoveries under a revert, chains of reverts, absences."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from tidegate.control.domain.access import Scope
from tidegate.control.domain.rollouts.model import AssignmentState, RolloutState, Verb
from tidegate.control.services import explain, rollouts, work
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import NewRollout, RolloutDetail, Target, planning
from tidegate.control.services.rollouts.planning import plan_all
from tidegate.control.store import engine
from tidegate.control.store import rollouts as rollout_store
from tidegate.control.store.schema import assignments, device_artifacts, devices
from tidegate.control.store.schema import rollouts as rollout_table
from tidegate.testing.fleet import SimDevice, catalog, elapse, enroll, settle, withdraw
from tidegate.testing.node import admin_scope
from tidegate.wire.device import Report, Reports

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
S, R = AssignmentState, RolloutState


@pytest.fixture
def scope(node: Node) -> Scope:
    @sa.event.listens_for(node.db.engine, "checkout")
    def _fast(connection: Any, _record: Any, _proxy: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")  # these are about decisions, not about power cuts

    found = admin_scope(node)
    for version in ("A", "B", "C"):
        catalog(node, found, "vad", version)
    return found


def create(node: Node, version: str, strategy: dict[str, object] | None = None) -> RolloutDetail:
    return rollouts.create_rollout(admin_scope(node), node, NewRollout("vad", version, Target(everyone=True), strategy))


def verb(node: Node, rollout: RolloutDetail, what: Verb) -> RolloutDetail:
    return rollouts.command_rollout(admin_scope(node), node, rollout.id, what)


def now(node: Node, rollout: RolloutDetail) -> RolloutDetail:
    return rollouts.get_rollout(admin_scope(node), node, rollout.id)


def reenroll(node: Node, scope: Scope, device: SimDevice) -> None:
    with node.db.write() as tx:
        work.reenrolled(tx, scope, device.ref.id)


def drift_of(node: Node, device: SimDevice) -> datetime | None:
    with node.db.read() as tx:
        return tx.scalar(sa.select(device_artifacts.c.drift_since).where(device_artifacts.c.device_id == device.ref.id))


def test_leave_given_back_under_an_abort_ends(node: Node, scope: Scope) -> None:
    (device,) = enroll(node, scope, ["a"])
    rollout = create(node, "A")
    item = device.poll().work[0]
    assert device.leave(item)
    verb(node, rollout, Verb.ABORT_KEEP)
    assert device.report(item, "ready") == "accepted", "it has not begun, and says so"
    plan_all(node)
    assert now(node, rollout).counts == {S.SKIPPED: 1}
    assert device.poll().work == ()
    assert now(node, rollout).waiting_on == "Waiting on nothing"


def test_a_straggler_that_died_while_ready_is_ended_after_ninety_days(node: Node, scope: Scope) -> None:
    first, second = enroll(node, scope, ["a", "b"])
    second.online = False
    rollout = create(node, "A", {"offline_after": "1m"})
    settle(node, [first], 1)
    elapse(node, 120)
    settle(node, [first], 1)
    assert now(node, rollout).state is R.COMPLETED
    second.report(second.poll().work[0], "ready")
    elapse(node, 86_400 * 89)
    plan_all(node)
    assert now(node, rollout).counts[S.READY] == 1
    elapse(node, 86_400 * 2)
    plan_all(node)
    assert now(node, rollout).counts == {S.HEALTHY: 1, S.SKIPPED: 1}


def test_a_device_wiped_while_it_goes_back_is_given_what_it_goes_back_to(node: Node, scope: Scope) -> None:
    told, away = enroll(node, scope, ["a", "b"])
    create(node, "A")
    settle(node, [told, away], 2)
    bad = create(node, "B")
    settle(node, [told, away], 2)
    verb(node, bad, Verb.ABORT_REVERT)
    assert told.poll().work[0].kind == "revert"
    for device in (told, away):
        device.wipe()
        reenroll(node, scope, device)
        item = device.poll().work[0]
        assert (item.kind, item.version) == ("restore", "A"), "never the version that is taken back"
    settle(node, [told, away], 2)
    assert [device.runs for device in (told, away)] == [{"vad": "A"}] * 2
    assert now(node, bad).counts == {S.SKIPPED: 2}
    assert now(node, bad).waiting_on == "Waiting on nothing"


def test_drift_is_seen_again_after_a_later_rollout(node: Node, scope: Scope) -> None:
    """A deadline once made an end in place of the device; that does not blind the node for ever."""
    (device,) = enroll(node, scope, ["a"])
    silent = create(node, "A", {"apply_deadline": "10m"})
    assert device.leave(device.poll().work[0])
    elapse(node, 700)
    plan_all(node)
    assert now(node, silent).counts == {S.FAILED: 1}
    create(node, "B")
    settle(node, [device], 2)
    assert device.runs == {"vad": "B"}
    elapse(node, 60)
    device.installed["vad"] = ("A", "0" * 64)
    device.poll()
    assert drift_of(node, device) is not None


def test_a_chain_of_reverts(node: Node, scope: Scope) -> None:
    """A, B, C: C is taken back to B, then B, of which a device still waited, to A."""
    first, second = enroll(node, scope, ["a", "b"])
    fleet = [first, second]
    create(node, "A")
    settle(node, fleet, 2)
    older = create(node, "B", {"waves": [{"count": 1}, {"percent": 100, "approval": "manual"}]})
    settle(node, fleet, 2)
    canary = next(device for device in fleet if device.runs["vad"] == "B")
    newer = create(node, "C")
    settle(node, fleet, 2)
    assert [device.runs["vad"] for device in fleet] == ["C", "C"]
    verb(node, newer, Verb.ABORT_REVERT)
    settle(node, fleet, 2)
    assert canary.runs["vad"] == "B"
    verb(node, older, Verb.ABORT_REVERT)
    settle(node, fleet, 3)
    assert [device.runs["vad"] for device in fleet] == ["A", "A"]
    assert {drift_of(node, device) for device in fleet} == {None}


def test_a_revert_goes_past_a_rollout_aborted_before_it(node: Node, scope: Scope) -> None:
    (device,) = enroll(node, scope, ["a"])
    create(node, "A")
    settle(node, [device], 2)
    older = create(node, "B", {"max_failure_rate": "0.9"})
    settle(node, [device], 2)
    verb(node, older, Verb.ABORT_REVERT)
    device.online = False
    newer = create(node, "C")
    device.online = True
    # It is served the newer one before it went back: the older revert gives way to it.
    settle(node, [device], 3)
    assert device.runs == {"vad": "C"}
    verb(node, newer, Verb.ABORT_REVERT)
    settle(node, [device], 3)
    assert device.runs == {"vad": "A"}


def test_an_aborted_rollout_waits_for_nobody_who_runs_something_newer(node: Node, scope: Scope) -> None:
    fleet = enroll(node, scope, ["a", "b"])
    older = create(node, "A", {"waves": [{"count": 1}, {"percent": 100, "approval": "manual"}]})
    settle(node, fleet, 2)
    create(node, "B")
    settle(node, fleet, 2)
    verb(node, older, Verb.ABORT_REVERT)
    settle(node, fleet, 2)
    assert [device.runs["vad"] for device in fleet] == ["B", "B"]
    assert now(node, older).waiting_on == "Waiting on nothing"
    (listed,) = rollouts.list_rollouts(scope, node, rollouts.RolloutFilter(states=frozenset({R.ABORTED}))).items
    assert listed.waiting_on == "Waiting on nothing"


def test_an_end_without_leave_on_record_can_still_be_reverted(node: Node, scope: Scope) -> None:
    """A database restored from a backup knows less than the device: the device's word brings it up to date (P6)."""
    (device,) = enroll(node, scope, ["a"])
    create(node, "A")
    settle(node, [device], 2)
    rollout = create(node, "B")
    item = device.poll().work[0]
    before = {}
    with node.db.read() as tx:
        for table in (assignments, device_artifacts):
            before[table] = tx.execute(sa.select(table)).mappings().all()
    assert device.leave(item)
    device.finish(item)
    with node.db.write() as tx:  # the backup of a moment ago comes back
        for table, rows in before.items():
            tx.execute(table.delete())
            tx.execute(table.insert(), [dict(row) for row in rows])
        counted = "UPDATE rollout_waves SET assigned = 1, healthy = 0 WHERE rollout_id = :id"
        tx.execute(sa.text(counted), {"id": rollout.id})
        tx.execute(devices.update().values(report_sequence=1))
        tx.execute(rollout_table.update().where(rollout_table.c.id == rollout.id).values(state="running"))
    device.poll()
    assert device.report(item, "healthy") == "accepted", "handed the same work again, it tells how that ended"
    assert now(node, rollout).counts == {S.HEALTHY: 1}
    verb(node, rollout, Verb.ABORT_REVERT)
    elapse(node, 60)
    device.poll()
    found = now(node, rollout).counts
    assert found == {S.REVERT_FAILED: 1}, "it is told that the way back is not known, not forgotten"
    page = rollouts.list_assignments(scope, node, rollout.id, rollouts.AssignmentFilter())
    assert "what ran before" in page.items[0].reason


def test_all_devices_decommissioned_waits_for_a_person(node: Node, scope: Scope) -> None:
    fleet = enroll(node, scope, ["a", "b"])
    rollout = create(node, "A")
    fleet[0].poll()
    with node.db.write() as tx:
        for device in fleet:
            tx.execute(devices.update().where(devices.c.id == device.ref.id).values(state="decommissioned"))
            work.decommissioned(tx, scope, device.ref.id)
    plan_all(node)
    found = now(node, rollout)
    assert (found.state, found.counts) == (R.WAITING_FOR_APPROVAL, {S.SKIPPED: 2})
    assert "nobody is healthy" in found.waiting_on
    assert verb(node, rollout, Verb.APPROVE).state is R.COMPLETED


def test_a_device_decommissioned_during_creation_holds_nothing_up(node: Node, scope: Scope) -> None:
    first, gone = enroll(node, scope, ["a", "b"])
    rollout = create(node, "A")
    with node.db.write() as tx:  # its decommissioning did not see the assignment yet
        tx.execute(devices.update().where(devices.c.id == gone.ref.id).values(state="decommissioned"))
    settle(node, [first], 2)
    assert now(node, rollout).state is R.COMPLETED


def test_one_rollout_that_cannot_be_planned_does_not_stop_the_others(node: Node, scope: Scope) -> None:
    fleet = enroll(node, scope, ["a"])
    broken = create(node, "A", {"waves": [{"percent": 100, "soak_seconds": 60}]})
    settle(node, fleet, 2)
    assert now(node, broken).state is R.SOAKING
    catalog(node, scope, "app", "1")
    with node.db.write() as tx:
        tx.execute(rollout_table.update().where(rollout_table.c.id == broken.id).values(soak_until=None))
    other = rollouts.create_rollout(scope, node, NewRollout("app", "1", Target(everyone=True)))
    for device in fleet:
        device.tick()
    with pytest.raises(Exception, match="no end of its soak") as failed:
        plan_all(node)
    assert f"planning rollout {broken.id}" in failed.value.__notes__
    assert now(node, other).state is R.COMPLETED


def test_a_failed_revert_leaves_what_runs_on_record(node: Node, scope: Scope) -> None:
    (device,) = enroll(node, scope, ["a"])
    create(node, "A")
    settle(node, [device], 2)
    bad = create(node, "B")
    settle(node, [device], 2)
    verb(node, bad, Verb.ABORT_REVERT)
    item = device.poll().work[0]
    assert device.leave(item)
    assert device.report(item, "rolled_back", "probe failed") == "accepted"
    assert now(node, bad).counts == {S.REVERT_FAILED: 1}
    assert explain.explain(scope, node, "a", "vad").running == "B"
    elapse(node, 60)
    device.poll()
    assert drift_of(node, device) is None


def test_one_bad_item_does_not_touch_the_others_of_its_commit(node: Node, scope: Scope) -> None:
    first, second = enroll(node, scope, ["a", "b"])
    rollout = create(node, "A")
    first.poll(), second.poll()

    def batch(device: SimDevice, *items: tuple[int, str, str]) -> Any:
        facts = tuple(Report(n, what, state, datetime.now(UTC)) for n, what, state in items)  # type: ignore[arg-type]
        return device.ref, Reports(device.installation, facts)

    mine = f"r{rollout.id}"
    odd = batch(
        first, (1, "r٣", "healthy"), (2, "r" + "9" * 18, "healthy"), (3, "s1-nothing", "probing"), (3, mine, "failed")
    )
    again = batch(first, (4, mine, "reverted"), (5, f"v{rollout.id}", "reverted"), (6, mine, "healthy"))
    good = batch(second, (1, mine, "healthy"), (2, mine, "ready"), (3, mine, "downloading"))
    answers = work.report(node, [odd, good, again])
    assert [[one.status for one in answer.results] for answer in answers] == [
        ["refused", "refused", "refused", "refused"],
        ["accepted", "accepted", "accepted"],
        ["refused", "refused", "accepted"],
    ]
    assert now(node, rollout).counts == {S.HEALTHY: 2}


def test_withdrawn_in_the_middle_and_as_a_goal(node: Node, scope: Scope) -> None:
    fleet = enroll(node, scope, ["a", "b"])
    create(node, "A")
    settle(node, fleet, 2)
    bad = create(node, "B")
    item = fleet[0].poll().work[0]
    with node.db.read() as tx:
        version = tx.scalar(sa.select(rollout_table.c.artifact_id).where(rollout_table.c.id == bad.id))
    withdraw(node, version)  # type: ignore[arg-type]
    assert not fleet[0].leave(item)
    assert fleet[0].refusals == ["vad B is withdrawn"]
    assert fleet[1].poll().work == ()
    plan_all(node)
    assert (now(node, bad).state, now(node, bad).reason) == (R.HALTED, "the version is withdrawn")


def test_planning_is_the_same_after_a_kill_in_the_middle(node: Node, scope: Scope) -> None:
    """What a planner that died had not committed was never there."""
    fleet = enroll(node, scope, ["a", "b"])
    rollout = create(node, "A", {"waves": [{"count": 1}, {"percent": 100}]})
    for device in fleet:
        device.tick()
    before = now(node, rollout)
    with pytest.raises(KeyboardInterrupt), node.db.write() as tx:
        record = rollout_store.lock(tx, [rollout.id])[rollout.id]
        assert planning.advance(tx, record, engine.now(tx)).changed
        raise KeyboardInterrupt
    assert now(node, rollout) == before
    settle(node, fleet, 2)
    assert now(node, rollout).state is R.COMPLETED
