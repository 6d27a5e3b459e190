"""What happens at the same time on PostgreSQL: nothing deadlocks, nothing is lost, the counters stay true."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from tidegate.control.domain.access import Scope
from tidegate.control.domain.devices import Hold
from tidegate.control.domain.rollouts.command import IllegalTransition
from tidegate.control.domain.rollouts.model import IN_FLIGHT, AssignmentState, RolloutState, Verb
from tidegate.control.services import holds, rollouts, work
from tidegate.control.services.holds import HeldDevice, HeldFleet
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import NewRollout, RolloutDetail, Target
from tidegate.control.services.rollouts.planning import plan_all
from tidegate.control.store import assignments as assignment_store
from tidegate.control.store import engine
from tidegate.control.store import holds as hold_store
from tidegate.control.store import rollouts as rollout_store
from tidegate.control.store.schema import assignments, device_artifacts, devices, rollout_waves
from tidegate.errors import Conflict
from tidegate.testing.fleet import SimDevice, catalog, elapse, enroll, settle
from tidegate.testing.node import admin_scope
from tidegate.wire.device import Installed, Report, Reports

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
S, R = AssignmentState, RolloutState
ROUNDS = 3


@pytest.fixture
def scope(node: Node) -> Scope:
    found = admin_scope(node)
    for version in ("5", "6", "7"):
        catalog(node, found, "vad", version)
    return found


@pytest.fixture
def fleet(node: Node, scope: Scope) -> list[SimDevice]:
    return enroll(node, scope, [f"d{n}" for n in range(6)])


def create(node: Node, version: str, strategy: dict[str, object] | None = None, name: str = "vad") -> RolloutDetail:
    request = NewRollout(name, version, Target(everyone=True), strategy or {"max_failure_rate": "0.99"})
    return rollouts.create_rollout(admin_scope(node), node, request)


def at_once(*acts: Callable[[], object]) -> None:
    """Run all of these in threads that start together; what one of them raises is raised here."""
    start = threading.Barrier(len(acts))
    failed: list[BaseException] = []

    def run(act: Callable[[], object]) -> None:
        start.wait()
        try:
            act()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "they wait for each other"
    if failed:
        raise ExceptionGroup("at the same time", [one for one in failed if isinstance(one, Exception)])


def command(node: Node, rollout: RolloutDetail, verb: Verb) -> Callable[[], object]:
    def act() -> None:
        with suppress(IllegalTransition):  # the planner was first
            rollouts.command_rollout(admin_scope(node), node, rollout.id, verb)

    return act


def many(node: Node, facts: Sequence[tuple[SimDevice, str, str]]) -> Callable[[], object]:
    """One group commit of reports about work ids."""
    sent = []
    for device, work_id, state in facts:
        device.sequence += 1
        fact = Report(device.sequence, work_id, state, datetime.now(UTC))  # type: ignore[arg-type]
        sent.append((device.ref, Reports(device.installation, (fact,))))
    return lambda: work.report(node, sent)


def counters(node: Node) -> Iterator[tuple[int, int, Counter[str], Counter[str]]]:
    with node.db.read() as tx:
        rows = tx.execute(sa.select(assignments)).all()
        waves = tx.execute(sa.select(rollout_waves)).all()
    for wave in waves:
        counted = Counter({state.value: number for state in S if (number := getattr(wave, state.value))})
        there = Counter(row.state for row in rows if (row.rollout_id, row.wave) == (wave.rollout_id, wave.wave))
        yield wave.rollout_id, wave.wave, counted, there


def check(node: Node) -> None:
    for rollout, wave, counted, there in counters(node):
        assert counted == there, (rollout, wave)


def test_reports_deadlines_and_abort(node: Node, fleet: list[SimDevice]) -> None:
    """The planner ends what is overdue while the same devices report and an operator aborts."""
    for number in range(ROUNDS):
        name = f"model-{number}"
        catalog(node, admin_scope(node), name, "6")
        strategy = {"max_failure_rate": "0.99", "apply_deadline": "10m", "max_in_flight": 100}
        rollout = create(node, "6", strategy, name)
        for device in fleet:
            assert device.leave(device.poll().work[0])
        elapse(node, 700)
        said = [(device, f"r{rollout.id}", "healthy") for device in fleet]
        at_once(
            lambda: plan_all(node),
            many(node, said[:3]),
            many(node, said[3:]),
            lambda: plan_all(node),
            command(node, rollout, Verb.ABORT_REVERT),
            *[device.poll for device in fleet],
        )
        check(node)
        with node.db.read() as tx:
            mine = assignments.c.rollout_id == rollout.id
            states = set(tx.scalars(sa.select(assignments.c.state).where(mine)))
        assert states <= {S.HEALTHY, S.REVERTING, S.REVERT_FAILED, S.REVERTED}, "its own end counts"


def test_serving_and_halt(node: Node, fleet: list[SimDevice]) -> None:
    for _ in range(ROUNDS):
        rollout = create(node, "6", {"max_in_flight": 2})
        at_once(
            *[device.poll for device in fleet],
            command(node, rollout, Verb.HALT),
            lambda: plan_all(node),
            lambda: plan_all(node),
        )
        check(node)
        served = rollouts.get_rollout(admin_scope(node), node, rollout.id).counts.get(S.ASSIGNED, 0)
        assert served <= 2, "max_in_flight is exact"
        for device in fleet:
            device.poll()
        again = rollouts.get_rollout(admin_scope(node), node, rollout.id).counts.get(S.ASSIGNED, 0)
        assert again == served, "nothing is served while it is halted"


def test_two_planners_release_a_wave_once(node: Node, fleet: list[SimDevice]) -> None:
    rollout = create(node, "6", {"waves": [{"count": 2}, {"count": 4}, {"percent": 100}]})
    for _ in range(3):
        at_once(*[lambda: plan_all(node)] * 3, *[device.tick for device in fleet])
        check(node)
    settle(node, fleet, 2)
    timeline = rollouts.rollout_timeline(admin_scope(node), node, rollout.id)
    assert Counter(entry.kind for entry in timeline)["rollout.release"] == 3


def test_superseding_and_leave(node: Node, fleet: list[SimDevice]) -> None:
    """Either the older rollout's device has leave and finishes, or it is superseded and has none; never both."""
    for _ in range(ROUNDS):
        older = create(node, "6")
        items = [device.poll().work[0] for device in fleet]
        newer = create(node, "7")
        granted: list[int] = []

        def ask(device: SimDevice, number: int, to: list[int] = granted, items: list[object] = items) -> None:  # type: ignore[assignment]
            if device.leave(items[number]):  # type: ignore[arg-type]
                to.append(device.ref.id)

        at_once(
            *[lambda one=device, n=number: ask(one, n) for number, device in enumerate(fleet)],
            *[device.poll for device in fleet],
        )
        check(node)
        with node.db.read() as tx:
            mine = assignments.c.rollout_id == older.id
            states = {row.device_id: row.state for row in tx.execute(sa.select(assignments).where(mine))}
        assert {device for device, state in states.items() if state == S.APPLYING} == set(granted)
        for rollout in (older, newer):
            rollouts.command_rollout(admin_scope(node), node, rollout.id, Verb.ABORT_KEEP)
        for number, device in enumerate(fleet):
            if device.ref.id in granted:
                device.finish(items[number])
        settle(node, fleet, 1)


def test_leave_and_holds(node: Node, scope: Scope, fleet: list[SimDevice]) -> None:
    """Who has leave had it before the hold was answered; nobody gets it afterwards."""
    for subject in (HeldDevice("d0"), HeldFleet(), HeldDevice("d0"), HeldFleet()):
        rollout = create(node, "6")
        items = [device.poll().work[0] for device in fleet]
        applying: list[int] = []

        def hold(subject: object = subject, seen: list[int] = applying, rollout: RolloutDetail = rollout) -> None:
            holds.hold(scope, node, subject, "power works")  # type: ignore[arg-type]
            mine = (assignments.c.rollout_id == rollout.id) & (assignments.c.state == S.APPLYING)
            with node.db.read() as tx:
                seen.extend(tx.scalars(sa.select(assignments.c.device_id).where(mine)))

        asked = fleet[:1] if isinstance(subject, HeldDevice) else fleet
        granted: list[int] = []

        def ask(number: int, to: list[int] = granted, items: list[object] = items) -> None:  # type: ignore[assignment]
            if fleet[number].leave(items[number]):  # type: ignore[arg-type]
                to.append(fleet[number].ref.id)

        at_once(hold, *[lambda n=number: ask(n) for number in range(len(asked))])
        assert sorted(granted) == sorted(applying)
        check(node)
        holds.release(scope, node, subject)
        rollouts.command_rollout(scope, node, rollout.id, Verb.ABORT_KEEP)
        for number, device in enumerate(fleet):
            if device.ref.id in granted:
                device.finish(items[number])


def test_recovery_and_decommission_while_devices_are_served(node: Node, scope: Scope, fleet: list[SimDevice]) -> None:
    rollout = create(node, "6")
    for device in fleet[:4]:
        device.poll()
    said = [(device, f"r{rollout.id}", "healthy") for device in fleet[:4]]

    def recover(device: SimDevice) -> None:
        with node.db.write() as tx:
            tx.execute(devices.update().where(devices.c.id == device.ref.id).values(waiting_on=""))
            work.reenrolled(tx, scope, device.ref.id)

    def decommission(device: SimDevice) -> None:
        with node.db.write() as tx:
            tx.execute(devices.update().where(devices.c.id == device.ref.id).values(state="decommissioned"))
            work.decommissioned(tx, scope, device.ref.id)

    at_once(
        many(node, said),
        lambda: recover(fleet[0]),
        lambda: recover(fleet[4]),
        lambda: decommission(fleet[1]),
        lambda: decommission(fleet[5]),
        *[device.poll for device in fleet],
        lambda: plan_all(node),
    )
    check(node)
    with node.db.read() as tx:
        gone = assignments.c.device_id.in_([fleet[1].ref.id, fleet[5].ref.id])
        assert not set(tx.scalars(sa.select(assignments.c.state).where(gone))) & (IN_FLIGHT | {S.PENDING})
    settle(node, [device for number, device in enumerate(fleet) if number not in (1, 5)], 3)
    assert rollouts.get_rollout(scope, node, rollout.id).state is R.COMPLETED


def test_what_a_report_left_is_not_overwritten_by_serving(node: Node, scope: Scope, fleet: list[SimDevice]) -> None:
    """Serving a restore, a heartbeat's news and a report write the same row; the report's truth stands."""
    create(node, "5")
    settle(node, fleet, 2)
    for _ in range(ROUNDS):
        newer = create(node, "6")
        items = [device.poll().work[0] for device in fleet]
        for device, item in zip(fleet, items, strict=True):
            assert device.leave(item)
        with node.db.write() as tx:
            tx.execute(device_artifacts.update().values(restore_state="pending"))
        at_once(
            many(node, [(device, f"r{newer.id}", "healthy") for device in fleet]),
            *[lambda one=device: work.desired(node, one.ref) for device in fleet],
            *[lambda one=device: work.observe(node, one.ref, [Installed("vad", "5", "0" * 64)]) for device in fleet],
        )
        with node.db.read() as tx:
            rows = tx.execute(sa.select(device_artifacts)).all()
        assert {row.goal_rollout_id for row in rows} == {newer.id}
        check(node)
        rollouts.command_rollout(scope, node, newer.id, Verb.ABORT_REVERT)
        settle(node, fleet, 1)


def test_an_event_about_a_device_does_not_wait_for_its_reports(node: Node, fleet: list[SimDevice]) -> None:
    """The planner holds the rollout and names the device; the report holds the device and wants the rollout."""
    rollout = create(node, "6")
    device = fleet[0]
    device.poll()
    told = threading.Thread(target=many(node, [(device, f"r{rollout.id}", "ready")]))
    with node.db.write() as tx:
        held = rollout_store.lock(tx, [rollout.id])
        told.start()
        waiting = sa.text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = :w"
        )
        until = time.monotonic() + 20
        while not tx.scalar(waiting, {"w": "transactionid"}) and time.monotonic() < until:
            # Between two looks at a condition; without the second, each look is at the first picture of the view.
            tx.exec_driver_sql("SELECT pg_sleep(0.01), pg_stat_clear_snapshot()")
        assert tx.scalar(waiting, {"w": "transactionid"}), "the report did not come as far as the rollout"
        tx.exec_driver_sql("SET LOCAL lock_timeout = '500ms'")
        fleet_id = held[rollout.id].fleet_id
        assignment_store.add_events(tx, fleet_id, rollout.id, "note", {device.ref.id: "named"}, engine.now(tx))
    told.join(20)
    assert not told.is_alive()
    assert rollouts.get_rollout(admin_scope(node), node, rollout.id).counts[S.READY] == 1


def test_of_two_freezes_of_what_nobody_had_frozen_one_is_refused(node: Node, scope: Scope) -> None:
    """Both have seen that the fleet is not frozen; the second one waits for the first, and looks then."""
    refused: list[str] = []

    def freeze() -> None:
        try:
            holds.hold(scope, node, HeldFleet(), "stocktaking", seen="")
        except Conflict as error:
            refused.append(error.type)

    late = threading.Thread(target=freeze)
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'transactionid'"
    )
    with node.db.write() as tx:
        hold_store.set_freeze(tx, scope.fleet_id, Hold("fire in hall 2", None))
        late.start()
        while not tx.scalar(waiting):
            tx.exec_driver_sql("SELECT pg_sleep(0.01), pg_stat_clear_snapshot()")  # between two looks at a condition
            assert late.is_alive(), refused
    late.join(20)
    assert refused == ["generation-changed"]
    found = holds.freeze(scope, node)
    assert found is not None
    assert found.reason == "fire in hall 2"
