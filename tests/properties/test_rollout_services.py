"""Rollouts at work: every order of verbs, heartbeats, leave, reports true and false, wipes, holds and recoveries.

The services run on SQLite as they do on a node. What is checked does not come from what is under test: the counters are
compared with the assignments, one by one, after every step.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tidegate.control.domain.rollouts.command import IllegalTransition
from tidegate.control.domain.rollouts.model import (
    ENDED,
    IN_FLIGHT,
    SERVING,
    WITHOUT_LEAVE,
    AssignmentState,
    RolloutState,
    Verb,
)
from tidegate.control.services import holds, rollouts, work
from tidegate.control.services.holds import HeldDevice
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import NewRollout, Target
from tidegate.control.services.rollouts.planning import plan_all
from tidegate.control.store import assignments as assignment_store
from tidegate.control.store.engine import Database
from tidegate.control.store.schema import assignments, devices, rollout_waves
from tidegate.control.store.schema import rollouts as rollout_table
from tidegate.testing.fleet import SimDevice, catalog, elapse, enroll
from tidegate.testing.node import admin_scope, make_node
from tidegate.wire.device import LeaveRequest, Report, Reports, Work

S, R = AssignmentState, RolloutState
VERSIONS = ("1", "2", "3")
STATES = (
    "downloading", "verifying", "ready", "applying", "probing",
    "healthy", "rolled_back", "failed", "reverted", "revert_failed",
)  # fmt: skip
STRATEGIES: tuple[dict[str, object], ...] = (
    {},
    {"waves": [{"count": 1}, {"percent": 100}], "max_failure_rate": "0.5"},
    {"waves": [{"count": 1, "soak_seconds": 600}, {"percent": 100, "approval": "manual"}]},
    {"max_in_flight": 1, "deadline": "1h", "apply_deadline": "10m", "offline_after": "30m"},
)


class ServicesMachine(RuleBasedStateMachine):
    node: ClassVar[Node]
    numbers: ClassVar[Iterator[int]] = count()

    @initialize()
    def begin(self) -> None:
        # A name of its own for every example: nothing of an earlier one is in its way.
        self.name = f"vad-{next(self.numbers)}"
        self.scope = admin_scope(self.node)
        for version in VERSIONS:
            catalog(self.node, self.scope, self.name, version)
        self.devices = enroll(self.node, self.scope, [f"{self.name}-{n}" for n in range(3)])
        self.given: dict[str, list[Work]] = {one.ref.name: [] for one in self.devices}
        self.rollouts: list[int] = []
        self.decommissioned: set[str] = set()

    # -- operators ----------------------------------------------------------------------------------------------------

    @rule(version=st.sampled_from(VERSIONS), strategy=st.sampled_from(STRATEGIES))
    def create(self, version: str, strategy: dict[str, object]) -> None:
        names = tuple(one.ref.name for one in self.devices if one.ref.name not in self.decommissioned)
        if len(self.rollouts) < 4 and names:
            request = NewRollout(self.name, version, Target(devices=names), strategy)
            self.rollouts.append(rollouts.create_rollout(self.scope, self.node, request).id)

    @rule(data=st.data(), verb=st.sampled_from(tuple(Verb)))
    def command(self, data: st.DataObject, verb: Verb) -> None:
        if self.rollouts:
            chosen = data.draw(st.sampled_from(self.rollouts))
            before = rollouts.get_rollout(self.scope, self.node, chosen)
            try:
                after = rollouts.command_rollout(self.scope, self.node, chosen, verb)
            except IllegalTransition:
                assert next(one.why_not for one in before.verbs if one.verb is verb)
                return
            if verb is Verb.RESUME:
                assert after.state is not R.HALTED

    @rule(index=st.integers(0, 2), held=st.booleans())
    def hold(self, index: int, held: bool) -> None:
        name = self.devices[index].ref.name
        if name in self.decommissioned:
            return
        holds.hold(self.scope, self.node, HeldDevice(name), "shift change")
        if not held:
            holds.release(self.scope, self.node, HeldDevice(name))

    @rule(seconds=st.sampled_from([15, 700, 4000, 90_000]))
    def time_passes(self, seconds: int) -> None:
        elapse(self.node, seconds)

    @rule()
    def plans(self) -> None:
        plan_all(self.node)

    # -- devices ------------------------------------------------------------------------------------------------------

    @rule(index=st.integers(0, 2))
    def heartbeat(self, index: int) -> None:
        device = self.devices[index]
        for item in device.poll().work:
            if item.id not in {one.id for one in self.given[device.ref.name]}:
                self.given[device.ref.name].append(item)

    @rule(index=st.integers(0, 2), outcome=st.sampled_from(["healthy", "healthy", "rolled_back", "failed"]))
    def works(self, index: int, outcome: str) -> None:
        self.devices[index].outcome = lambda _: outcome
        self.devices[index].tick()

    @rule(data=st.data(), index=st.integers(0, 2))
    def asks_leave(self, data: st.DataObject, index: int) -> None:
        given = self.given[self.devices[index].ref.name]
        if given:
            item = data.draw(st.sampled_from(given))
            device = self.devices[index]
            work.leave(self.node, device.ref, LeaveRequest(item.id, device.runs.get(item.artifact)))

    @rule(
        batches=st.lists(
            st.tuples(
                st.integers(0, 2),
                st.lists(
                    st.tuples(st.integers(-2, 3), st.integers(0, 7), st.sampled_from("rvsx"), st.sampled_from(STATES)),
                    min_size=1, max_size=5,
                ),
            ),
            min_size=1, max_size=4,
        )
    )  # fmt: skip
    def reports_anything(self, batches: list[tuple[int, list[tuple[int, int, str, str]]]]) -> None:
        """Sequences that repeat, jump and go back; work of others, of nobody, of another kind."""
        sent = []
        for index, items in batches:
            device = self.devices[index]
            facts = []
            for step, which, kind, state in items:
                sequence = max(1, device.sequence + step)
                device.sequence = max(device.sequence, sequence)
                facts.append(Report(sequence, self.work_id(device, which, kind), state, datetime.now(UTC), "said"))  # type: ignore[arg-type]
            sent.append((device.ref, Reports(device.installation, tuple(facts))))
        answers = work.report(self.node, sent)
        for (_, reports), answer in zip(sent, answers, strict=True):
            assert [one.sequence for one in answer.results] == [one.sequence for one in reports.items]
        again = work.report(self.node, sent)
        assert {one.status for answer in again for one in answer.results} == {"replay"}, "sent twice, taken once"

    def work_id(self, device: SimDevice, which: int, kind: str) -> str:
        given = self.given[device.ref.name]
        if kind == "x":
            return given[which % len(given)].id if given else "nonsense"
        number = self.rollouts[which % len(self.rollouts)] if self.rollouts and which < 6 else which
        return f"s{which}-{self.name}" if kind == "s" else f"{kind}{number}"

    @rule(index=st.integers(0, 2), keeps=st.booleans())
    def recovers(self, index: int, keeps: bool) -> None:
        device = self.devices[index]
        if device.ref.name in self.decommissioned:
            return
        if not keeps:
            device.wipe()
        with self.node.db.write() as tx:
            work.reenrolled(tx, self.scope, device.ref.id)

    @rule(index=st.integers(0, 2), version=st.sampled_from([None, *VERSIONS]))
    def drifts(self, index: int, version: str | None) -> None:
        installed = self.devices[index].installed
        if version is None:
            installed.pop(self.name, None)
        else:
            installed[self.name] = (version, "0" * 64)

    @rule(index=st.integers(0, 2), really=st.integers(0, 9))
    def decommission(self, index: int, really: int) -> None:
        device = self.devices[index]
        if really == 0 and device.ref.name not in self.decommissioned:
            self.decommissioned.add(device.ref.name)
            with self.node.db.write() as tx:
                tx.execute(devices.update().where(devices.c.id == device.ref.id).values(state="decommissioned"))
                work.decommissioned(tx, self.scope, device.ref.id)
            assert work.desired(self.node, device.ref).work == ()

    # -- what must hold -----------------------------------------------------------------------------------------------

    def rows(self, query: Any) -> list[Any]:
        with self.node.db.read() as tx:
            return list(tx.execute(query).all())

    @invariant()
    def counters_are_what_the_assignments_say(self) -> None:
        mine = self.rows(sa.select(assignments).where(assignments.c.rollout_id.in_(self.rollouts)))
        counts = {row.id: row.resume_count for row in self.rows(sa.select(rollout_table))}
        for wave in self.rows(sa.select(rollout_waves).where(rollout_waves.c.rollout_id.in_(self.rollouts))):
            there = [row for row in mine if (row.rollout_id, row.wave) == (wave.rollout_id, wave.wave)]
            counters = {state.value: getattr(wave, state.value) for state in S}
            assert all(number >= 0 for number in counters.values())
            assert sum(counters.values()) == wave.cohort_size
            assert Counter({state: number for state, number in counters.items() if number}) == Counter(
                row.state for row in there
            )
            known = [row for row in there if row.failed_resume_count == counts[wave.rollout_id]]
            assert wave.unacknowledged == len(known)

    @invariant()
    def what_is_frozen_or_over_serves_nobody(self) -> None:
        for rollout in self.rollouts:
            found = rollouts.get_rollout(self.scope, self.node, rollout)
            assert found.waiting_on
            pending_waves = {wave.wave for wave in found.waves if not wave.released}
            for row in self.rows(sa.select(assignments).where(assignments.c.rollout_id == rollout)):
                if row.wave in pending_waves:
                    assert row.served_at is None
                if row.state in IN_FLIGHT:
                    assert row.served_at is not None
                if found.state is R.ABORTED and row.state in WITHOUT_LEAVE:
                    plan_all(self.node)
                    with self.node.db.read() as tx:
                        own = assignment_store.of_devices(tx, {(row.rollout_id, row.device_id)})
                    assert {one.state for one in own.values()} == {S.SKIPPED}

    @invariant()
    def the_decommissioned_have_nothing_open(self) -> None:
        gone = [one.ref.id for one in self.devices if one.ref.name in self.decommissioned]
        for row in self.rows(sa.select(assignments.c.state).where(assignments.c.device_id.in_(gone))):
            assert row.state not in IN_FLIGHT | {S.PENDING, S.REVERTING}

    def teardown(self) -> None:
        """Honest devices and people who decide end everything; who is healthy runs what was rolled out last."""
        if not hasattr(self, "rollouts"):
            return
        living = [one for one in self.devices if one.ref.name not in self.decommissioned]
        for device in living:
            device.outcome = lambda _: "healthy"
            device.done.clear()
            holds.hold(self.scope, self.node, HeldDevice(device.ref.name), "released at once")
            holds.release(self.scope, self.node, HeldDevice(device.ref.name))
        for _ in range(40):
            plan_all(self.node)
            for device in living:
                device.tick()
            found = [rollouts.get_rollout(self.scope, self.node, one) for one in self.rollouts]
            for one in found:
                if one.state is R.HALTED:
                    rollouts.command_rollout(self.scope, self.node, one.id, Verb.RESUME)
                elif one.state is R.WAITING_FOR_APPROVAL:
                    rollouts.command_rollout(self.scope, self.node, one.id, Verb.APPROVE)
            if all(one.state in ENDED and not any(s in IN_FLIGHT | {S.PENDING} for s in one.counts) for one in found):
                break
            elapse(self.node, 700)
        else:
            raise AssertionError([(one.id, one.state, one.waiting_on, one.counts) for one in found])
        for device in living:
            assert device.poll().work == () or device.poll().work[0].kind != "install"
        assert {one.state for one in found} <= ENDED | SERVING


@pytest.fixture
def machine_node(tmp_path: Path, sqlite_template: Path) -> Iterator[Node]:
    path = tmp_path / "tidegate.db"
    shutil.copyfile(sqlite_template, path)
    database = Database(f"sqlite:///{path}")

    def unsafe(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    sa.event.listen(database.engine, "connect", unsafe)
    yield make_node(tmp_path, database)
    database.dispose()


def test_services_under_every_order(machine_node: Node) -> None:
    ServicesMachine.node = machine_node
    run_state_machine_as_test(
        ServicesMachine,
        settings=settings(
            max_examples=int(os.environ.get("TIDEGATE_EXAMPLES", "15")),
            stateful_step_count=30,
            suppress_health_check=list(HealthCheck),
        ),
    )
