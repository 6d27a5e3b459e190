"""Halt, resume, approve and abort, as devices live them; both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from tidegate.control.domain.access import ROLES, Actor, Scope
from tidegate.control.domain.rollouts.command import IllegalTransition
from tidegate.control.domain.rollouts.model import AssignmentState, RolloutState, Verb
from tidegate.control.services import rollouts, work
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import NewRollout, RolloutDetail, Target
from tidegate.control.services.rollouts.planning import plan_all
from tidegate.control.store.schema import audit_records, device_artifacts
from tidegate.errors import Conflict, Forbidden, Invalid, NotFound
from tidegate.testing.fleet import SimDevice, catalog, elapse, enroll, settle, withdraw
from tidegate.testing.node import admin_scope
from tidegate.wire.device import LeaveRequest

S, R = AssignmentState, RolloutState
HALVES = {"waves": [{"percent": 50}, {"percent": 100}]}


def create(node: Node, version: str, strategy: dict[str, object] | None = None, **more: object) -> RolloutDetail:
    request = NewRollout("vad", version, Target(everyone=True), strategy, **more)  # type: ignore[arg-type]
    return rollouts.create_rollout(admin_scope(node), node, request)


def verb(node: Node, rollout: RolloutDetail, what: Verb, reason: str = "") -> RolloutDetail:
    return rollouts.command_rollout(admin_scope(node), node, rollout.id, what, reason)


def now(node: Node, rollout: RolloutDetail) -> RolloutDetail:
    return rollouts.get_rollout(admin_scope(node), node, rollout.id)


def on_five(node: Node, size: int = 4) -> list[SimDevice]:
    """A fleet that runs version 5 by a rollout, with 6 in the catalog."""
    scope = admin_scope(node)
    for version in ("5", "6", "7"):
        catalog(node, scope, "vad", version)
    fleet = enroll(node, scope, [f"cam-{n}" for n in range(size)])
    create(node, "5")
    settle(node, fleet, 3)
    assert all(device.runs == {"vad": "5"} for device in fleet)
    return fleet


def test_a_failing_canary_halts_and_the_rest_stays(node: Node) -> None:
    fleet = on_five(node)
    for device in fleet:
        device.outcome = lambda work: "rolled_back"
    bad = create(node, "6", {"waves": [{"count": 1}, {"percent": 100}]})
    settle(node, fleet, 3)
    halted = now(node, bad)
    assert halted.state is R.HALTED
    assert halted.reason == "1 of 1 devices of wave 1 failed; 0 are tolerated"
    assert halted.counts == {S.ROLLED_BACK: 1, S.PENDING: 3}
    assert "resume (rollouts.approve) or abort" in halted.waiting_on
    assert all(device.runs == {"vad": "5"} for device in fleet)
    # Acknowledged, it goes on; nobody in the canary is healthy, so a person must say so.
    resumed = verb(node, bad, Verb.RESUME, "one bad disk")
    assert resumed.state is R.WAITING_FOR_APPROVAL
    assert "nobody is healthy" in resumed.waiting_on
    for device in fleet:
        device.outcome = lambda work: "healthy"
    verb(node, bad, Verb.APPROVE)
    settle(node, fleet, 3)
    assert now(node, bad).state is R.COMPLETED
    assert sorted(device.runs["vad"] for device in fleet) == ["5", "6", "6", "6"]


def test_a_halt_is_exact_and_devices_at_work_finish(node: Node) -> None:
    fleet = on_five(node)
    rollout = create(node, "6")
    items = {device.ref.name: device.poll().work[0] for device in fleet}
    applying, waiting, *_ = fleet
    applying.report(items[applying.ref.name], "ready")
    waiting.report(items[waiting.ref.name], "ready")
    assert applying.leave(items[applying.ref.name])
    verb(node, rollout, Verb.HALT, "looks wrong")
    assert not waiting.leave(items[waiting.ref.name])
    assert waiting.refusals == ["the rollout is halted"]
    assert fleet[2].poll().work == (), "what was not begun is not handed out while it is halted"
    assert [item.id for item in waiting.poll().work] == [f"r{rollout.id}"], "what is staged waits"
    applying.finish(items[applying.ref.name])
    assert applying.runs == {"vad": "6"}
    assert now(node, rollout).counts == {S.HEALTHY: 1, S.READY: 1, S.ASSIGNED: 2}
    verb(node, rollout, Verb.RESUME)
    settle(node, fleet, 3)
    assert now(node, rollout).state is R.COMPLETED


def test_leave_that_was_not_used_is_taken_back(node: Node) -> None:
    (device,) = on_five(node, 1)
    rollout = create(node, "6")
    item = device.poll().work[0]
    assert device.leave(item)
    assert now(node, rollout).counts == {S.APPLYING: 1}
    verb(node, rollout, Verb.HALT)
    assert not device.leave(item), "asking again says that it has not begun"
    assert now(node, rollout).counts == {S.READY: 1}


def test_deadlines_stand_still_while_halted(node: Node) -> None:
    (device,) = on_five(node, 1)
    rollout = create(node, "6", {"deadline": "1h"})
    device.poll()
    elapse(node, 1800)
    verb(node, rollout, Verb.HALT)
    elapse(node, 100_000)
    plan_all(node)
    assert now(node, rollout).counts == {S.ASSIGNED: 1}
    verb(node, rollout, Verb.RESUME)
    plan_all(node)
    assert now(node, rollout).counts == {S.ASSIGNED: 1}
    elapse(node, 1900)
    plan_all(node)
    found = now(node, rollout)
    assert found.counts == {S.FAILED: 1}
    assert found.state is R.HALTED
    page = rollouts.list_assignments(admin_scope(node), node, rollout.id, rollouts.AssignmentFilter())
    assert page.items[0].reason == "silent"


def test_the_devices_own_end_replaces_the_deadlines(node: Node) -> None:
    (device,) = on_five(node, 1)
    rollout = create(node, "6", {"apply_deadline": "10m"})
    item = device.poll().work[0]
    assert device.leave(item)
    elapse(node, 700)
    plan_all(node)
    assert now(node, rollout).counts == {S.FAILED: 1}
    device.finish(item)
    found = now(node, rollout)
    assert found.counts == {S.HEALTHY: 1}
    assert found.unacknowledged == 0
    # It said something, and later another thing: that is drift, never a second end.
    assert device.report(item, "rolled_back") == "accepted"
    found = now(node, rollout)
    assert found.counts == {S.HEALTHY: 1}
    page = rollouts.list_assignments(admin_scope(node), node, rollout.id, rollouts.AssignmentFilter(show="attention"))
    assert page.items[0].drifted


def test_abort_keep_lets_who_applies_finish(node: Node) -> None:
    fleet = on_five(node)
    rollout = create(node, "6", HALVES)
    served = [device for device in fleet if device.poll().work]
    assert len(served) == 2
    item = served[0].poll().work[0]
    assert served[0].leave(item)
    aborted = verb(node, rollout, Verb.ABORT_KEEP, "not needed")
    assert aborted.state is R.ABORTED
    assert aborted.counts == {S.APPLYING: 1, S.SKIPPED: 3}
    served[0].finish(item)
    settle(node, fleet, 2)
    assert sorted(device.runs["vad"] for device in fleet) == ["5", "5", "5", "6"]
    assert now(node, rollout).waiting_on == "Waiting on nothing"
    for what in Verb:
        with pytest.raises(IllegalTransition):
            verb(node, rollout, what)


def test_abort_revert_reaches_the_offline_device_months_later(node: Node) -> None:
    fleet = on_five(node)
    (fresh,) = enroll(node, admin_scope(node), ["cam-new"])
    fleet.append(fresh)
    rollout = create(node, "6")
    settle(node, fleet, 3)
    assert all(device.runs == {"vad": "6"} for device in fleet)
    away = fleet[0]
    away.online = False
    preview = rollouts.preview_abort(admin_scope(node), node, rollout.id)
    assert {(way.version, way.devices) for way in preview.back} == {("5", 4), (None, 1)}
    verb(node, rollout, Verb.ABORT_REVERT, "recall is low")
    settle(node, fleet, 3)
    assert [device.runs.get("vad") for device in fleet] == ["6", "5", "5", "5", None]
    assert now(node, rollout).counts == {S.HEALTHY: 1, S.REVERTED: 4}
    assert "at the next check-in" in now(node, rollout).waiting_on
    elapse(node, 86_400 * 100)
    away.online = True
    settle(node, fleet, 2)
    assert away.runs == {"vad": "5"}
    assert now(node, rollout).counts == {S.REVERTED: 5}
    # What it should run is 5 again: nothing drifted.
    with node.db.read() as tx:
        assert tx.scalars(sa.select(device_artifacts.c.drift_since)).all() == [None] * 5


def test_revert_passes_over_what_was_withdrawn_or_reverted_itself(node: Node) -> None:
    (device,) = on_five(node, 1)
    second = create(node, "6")
    settle(node, [device], 2)
    third = create(node, "7")
    settle(node, [device], 2)
    device.online = False
    verb(node, second, Verb.ABORT_KEEP) if now(node, second).state is not R.COMPLETED else None
    with node.db.read() as tx:
        six = work_version(tx, node)
    withdraw(node, six)
    verb(node, third, Verb.ABORT_REVERT)
    device.online = True
    settle(node, [device], 2)
    assert device.runs == {"vad": "5"}


def work_version(tx: sa.Connection, node: Node) -> int:
    from tidegate.control.store import work as store

    found = store.version(tx, admin_scope(node).fleet_id, "vad", "6")
    assert found is not None
    return found.id


def test_a_completed_rollout_is_reverted_only_while_nothing_newer_was_served(node: Node) -> None:
    (device,) = on_five(node, 1)
    second = create(node, "6")
    settle(node, [device], 2)
    third = create(node, "7")
    device.poll()
    with pytest.raises(IllegalTransition, match="newer one"):
        verb(node, second, Verb.ABORT_REVERT)
    settle(node, [device], 2)
    verb(node, third, Verb.ABORT_REVERT)
    settle(node, [device], 2)
    assert device.runs == {"vad": "6"}


def test_a_newer_rollout_supersedes_when_it_serves(node: Node) -> None:
    fleet = on_five(node, 2)
    older = create(node, "6")
    first, second = fleet
    first.poll()
    newer = create(node, "7")
    assert now(node, older).counts == {S.ASSIGNED: 1, S.PENDING: 1}, "not before it is served"
    assert [item.id for item in first.poll().work] == [f"r{newer.id}"]
    assert now(node, older).counts == {S.SUPERSEDED: 1, S.PENDING: 1}
    item = second.poll().work[0]
    assert item.id == f"r{newer.id}"
    settle(node, fleet, 3)
    assert all(device.runs == {"vad": "7"} for device in fleet)
    assert now(node, older).counts == {S.SUPERSEDED: 2}


def test_a_switch_under_way_is_not_superseded(node: Node) -> None:
    (device,) = on_five(node, 1)
    older = create(node, "6")
    item = device.poll().work[0]
    assert device.leave(item)
    create(node, "7")
    assert [one.id for one in device.poll().work] == [f"r{older.id}"]
    device.finish(item)
    settle(node, [device], 2)
    assert device.runs == {"vad": "7"}


def test_manual_waves_soak_and_start_time(node: Node) -> None:
    fleet = on_five(node)
    strategy = {"waves": [{"percent": 50, "approval": "manual", "soak_seconds": 600}, {"percent": 100}]}
    with node.db.read() as tx:
        at = tx.scalar(sa.select(sa.func.max(audit_records.c.at)))
    assert at is not None
    rollout = create(node, "6", strategy, start_at=at + timedelta(hours=1))
    assert rollout.state is R.SCHEDULED
    assert "start" in rollout.waiting_on
    elapse(node, 3700)
    plan_all(node)
    assert now(node, rollout).state is R.WAITING_FOR_APPROVAL
    assert all(device.poll().work == () for device in fleet)
    verb(node, rollout, Verb.APPROVE)
    settle(node, fleet, 2)
    soaking = now(node, rollout)
    assert soaking.state is R.SOAKING
    assert soaking.waiting_on.startswith("Waiting on the soak of wave 1 until")
    verb(node, rollout, Verb.HALT)
    elapse(node, 700)
    assert verb(node, rollout, Verb.RESUME).state is R.SOAKING, "a soak starts anew"
    elapse(node, 601)
    settle(node, fleet, 3)
    assert now(node, rollout).state is R.COMPLETED


def test_drift_in_the_soak_halts_and_is_not_repaired(node: Node) -> None:
    fleet = on_five(node)
    rollout = create(node, "6", {"waves": [{"percent": 50, "soak_seconds": 600}, {"percent": 100}]})
    settle(node, fleet, 2)
    assert now(node, rollout).state is R.SOAKING
    drifting = next(device for device in fleet if device.runs["vad"] == "6")
    elapse(node, 30)
    drifting.installed["vad"] = ("5", "0" * 64)
    assert drifting.poll().work == ()
    plan_all(node)
    halted = now(node, rollout)
    assert halted.state is R.HALTED
    assert halted.counts[S.HEALTHY] == 2
    assert drifting.poll().work == (), "it is shown, and not repaired by itself"


def test_every_transition_is_audited_with_who_and_why(node: Node) -> None:
    fleet = on_five(node, 2)
    rollout = create(node, "6", HALVES)
    verb(node, rollout, Verb.HALT, "lunch")
    verb(node, rollout, Verb.RESUME, "after lunch")
    settle(node, fleet, 3)
    with node.db.read() as tx:
        query = sa.select(audit_records).where(audit_records.c.subject == f"rollout:{rollout.id}")
        rows = tx.execute(query.order_by(audit_records.c.sequence)).all()
    assert [(row.actor, row.action) for row in rows] == [
        ("user:admin", "rollout.create"),
        ("system:planner", "rollout.release"),
        ("user:admin", "rollout.halt"),
        ("user:admin", "rollout.resume"),
        ("system:planner", "rollout.release"),
        ("system:planner", "rollout.complete"),
    ]
    assert '"reason":"lunch"' in rows[2].data


def test_refusals_name_what_is_wrong_and_change_nothing(node: Node) -> None:
    scope = admin_scope(node)
    on_five(node, 1)
    rollout = create(node, "6", {"approval": "manual"})
    with pytest.raises(NotFound):
        rollouts.get_rollout(scope, node, 99)
    with pytest.raises(NotFound, match="vad 9"):
        create(node, "9")
    with pytest.raises(Conflict, match="changed since you looked"):
        rollouts.command_rollout(scope, node, rollout.id, Verb.APPROVE, generation=rollout.generation + 1)
    with pytest.raises(Invalid, match="reason"):
        verb(node, rollout, Verb.HALT, "x" * 1025)
    operator = Scope(Actor("user", "o"), scope.fleet_id, scope.fleet, ROLES["operator"])
    with pytest.raises(Forbidden) as refused:
        rollouts.command_rollout(operator, node, rollout.id, Verb.APPROVE)
    assert refused.value.permission == "rollouts.approve"
    with pytest.raises(Invalid) as invalid:
        request = NewRollout("vad", "6", Target(devices=("cam-0", "nobody")), {"waves": [{"percent": 0}], "hurry": 1})
        rollouts.create_rollout(scope, node, request)
    assert {error.pointer for error in invalid.value.errors} >= {"/strategy/hurry", "/strategy/waves/0/percent"}
    with pytest.raises(Invalid) as invalid:
        rollouts.create_rollout(scope, node, NewRollout("vad", "6", Target(devices=("cam-0", "nobody"))))
    assert [error.pointer for error in invalid.value.errors] == ["/target/devices/1"]
    assert now(node, rollout).state is R.WAITING_FOR_APPROVAL


def test_a_withdrawn_version_stops_where_it_is(node: Node) -> None:
    fleet = on_five(node, 2)
    rollout = create(node, "6", HALVES)
    settle(node, fleet, 1)
    with node.db.read() as tx:
        six = work_version(tx, node)
    withdraw(node, six)
    plan_all(node)
    with pytest.raises(Conflict, match="withdrawn"):
        create(node, "6")
    if now(node, rollout).state is not R.COMPLETED:
        assert now(node, rollout).reason == "the version is withdrawn"
        with pytest.raises(IllegalTransition, match="abort it"):
            verb(node, rollout, Verb.RESUME)


def test_leave_for_work_of_somebody_else_is_refused(node: Node) -> None:
    first, second = on_five(node, 2)
    rollout = create(node, "6", {"waves": [{"count": 1}, {"percent": 100}]})
    held = next(device for device in (first, second) if not device.poll().work)
    answer = work.leave(node, held.ref, LeaveRequest(f"r{rollout.id}"))
    assert not answer.granted
    assert answer.reason == "the assignment is pending"
    assert held.report(f"r{rollout.id}", "healthy") == "refused"
    assert held.report("r999", "healthy") == "refused"
    assert held.report("nonsense", "healthy") == "refused"
