"""A rollout under every order of verbs, ticks, reports, absent and returning devices (ARCHITECTURE.md).

The world here is what the store and the services are: it applies what the pure functions decide, and counts by
itself. What it checks does not come from the functions under test.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tidegate.control.domain.rollouts.cohorts import cohorts
from tidegate.control.domain.rollouts.command import TRANSITIONS, IllegalTransition, command
from tidegate.control.domain.rollouts.model import (
    FAILURES,
    IN_FLIGHT,
    OUTCOMES,
    WITH_LEAVE,
    WITHOUT_LEAVE,
    Approval,
    AssignmentState,
    Devices,
    Plan,
    Resume,
    Rollout,
    RolloutState,
    Soak,
    Start,
    Strategy,
    Tally,
    Verb,
    WaveSpec,
    WaveTally,
)
from tidegate.control.domain.rollouts.plan import plan
from tidegate.control.domain.rollouts.report import Assignment, Context, Reported, apply_report, drifted
from tidegate.control.domain.rollouts.serve import Candidate, why_no_leave, why_not_served
from tidegate.control.domain.rollouts.words import words
from tidegate.ids import ArtifactId, DeviceId, RolloutId

S, R = AssignmentState, RolloutState
START = datetime(2026, 1, 1, tzinfo=UTC)
FROZEN = {R.HALTED, R.SCHEDULED, R.ABORTED}
PASSES = 60


@dataclass
class SimDevice:
    online: bool = True
    last_seen: datetime = START
    applying: bool = False


waves = st.lists(
    st.tuples(st.integers(1, 99), st.booleans(), st.sampled_from([0, 0, 600])), min_size=0, max_size=3
).map(
    lambda drawn: tuple(
        WaveSpec(percent=Decimal(percent), manual=manual, soak_seconds=soak)
        for percent, manual, soak in [*sorted({one[0]: one for one in drawn}.values()), (100, False, 0)]
    )
)


class RolloutMachine(RuleBasedStateMachine):
    @initialize(
        waves=waves,
        size=st.integers(1, 14),
        rate=st.sampled_from(["0", "0.2", "0.6", "0.99"]),
        in_flight=st.sampled_from([None, 1, 2, 5]),
        start_in=st.sampled_from([0, 0, 3600]),
    )
    def create(self, waves: tuple[WaveSpec, ...], size: int, rate: str, in_flight: int | None, start_in: int) -> None:
        self.now = START
        strategy = Strategy(waves, Decimal(rate), in_flight, deadline_seconds=7200, offline_after_seconds=1800)
        self.devices = {DeviceId(n): SimDevice() for n in range(1, size + 1)}
        self.rollout = Rollout(
            R.SCHEDULED if start_in else R.RUNNING,
            strategy,
            size,
            start_at=START + timedelta(seconds=start_in) if start_in else None,
        )
        self.assignments = {
            device: Assignment(RolloutId(1), device, wave, S.PENDING, START)
            for wave, cohort in enumerate(cohorts("default", self.devices, strategy, {}), start=1)
            for device in cohort
        }
        self.size_at_release: dict[int, int] = {}
        self.completed: set[int] = set()
        self.unacknowledged = dict.fromkeys(range(1, len(waves) + 1), 0)
        self.halted_seconds = 0
        self.halted_at = START
        self.settle()

    # -- what the store and the services do ---------------------------------------------------------------------------

    def tally(self) -> Tally:
        found = []
        for number in range(1, len(self.rollout.strategy.waves) + 1):
            mine = [one for one in self.assignments.values() if one.wave == number]
            counts = {state: n for state in S if (n := sum(one.state is state for one in mine))}
            away = sum(one.state is S.PENDING and self.away(one.device) for one in mine)
            found.append(
                WaveTally(
                    number,
                    len(mine),
                    counts,
                    self.size_at_release.get(number),
                    number in self.completed,
                    self.unacknowledged[number],
                    away,
                )
            )
        return Tally(tuple(found))

    def away(self, device: DeviceId) -> bool:
        silent = (self.now - self.devices[device].last_seen).total_seconds()
        return not self.devices[device].online and silent > self.rollout.strategy.offline_after_seconds

    def context(self) -> Context:
        strategy = self.rollout.strategy
        soaking = self.rollout.state is R.SOAKING
        return Context(
            self.rollout.resume_count,
            self.halted_seconds,
            strategy.deadline_seconds,
            strategy.apply_deadline_seconds,
            soaking,
        )

    def candidate(self, device: DeviceId) -> Candidate:
        one = self.assignments[device]
        return Candidate(one, self.rollout, ArtifactId(1), "vad", "6", "0" * 64, False, self.tally().in_flight)

    def enter(self, state: RolloutState) -> None:
        if state is R.HALTED and self.rollout.state is not R.HALTED:
            self.halted_at = self.now
        if self.rollout.state is R.HALTED and state is not R.HALTED:
            self.halted_seconds += int((self.now - self.halted_at).total_seconds())

    def apply(self, decided: Plan) -> bool:
        before = self.rollout
        if decided.complete_wave is not None:
            in_flight = [
                a for a in self.assignments.values() if a.wave == decided.complete_wave and a.state in IN_FLIGHT
            ]
            assert not in_flight, "a served device was left out of the reckoning"
            unserved = [
                a for a in self.assignments.values() if a.wave == decided.complete_wave and a.state is S.PENDING
            ]
            assert all(self.away(one.device) for one in unserved), "a device that is there was left out"
            self.completed.add(decided.complete_wave)
        if decided.release_wave is not None:
            assert decided.release_wave > before.released_wave, "a wave is released once"
            self.release(decided.release_wave)
        self.enter(decided.state)
        completed_at = self.now if decided.state is R.COMPLETED and before.state is not R.COMPLETED else None
        self.rollout = replace(
            before,
            state=decided.state,
            reason=decided.reason,
            soak_until=decided.soak_until,
            released_wave=decided.release_wave or before.released_wave,
            completed_at=completed_at or before.completed_at,
        )
        if decided.cancel_open:
            self.cancel(WITHOUT_LEAVE | {S.PENDING})
        return (
            self.rollout != before
            or decided.complete_wave is not None
            or (decided.cancel_open and decided.state is before.state)
        )

    def release(self, wave: int) -> None:
        self.size_at_release[wave] = sum(one.wave == wave for one in self.assignments.values())

    def cancel(self, states: set[AssignmentState] | frozenset[AssignmentState]) -> None:
        for device, one in self.assignments.items():
            if one.state in states:
                self.assignments[device] = replace(one, state=S.SKIPPED, deadline_at=None, terminal_by_server=True)

    def expire(self) -> None:
        for device, one in self.assignments.items():
            if one.deadline_at is None:
                continue
            own_clock = self.now - timedelta(seconds=self.halted_seconds)
            before_leave = one.state in WITHOUT_LEAVE - {S.READY} and self.rollout.state not in FROZEN
            if (one.state in WITH_LEAVE and one.deadline_at <= self.now) or (
                before_leave and one.deadline_at <= own_clock
            ):
                self.assignments[device] = replace(
                    one,
                    state=S.FAILED,
                    deadline_at=None,
                    terminal_by_server=True,
                    failed_resume_count=self.rollout.resume_count,
                    reason=one.reason or "silent",
                )
                self.unacknowledged[one.wave] += 1

    def settle(self) -> None:
        self.expire()
        for _ in range(PASSES):
            tally = self.tally()
            decided = plan(self.rollout, tally, self.now)
            assert decided == plan(self.rollout, tally, self.now), "same input, same plan"
            if not self.apply(decided):
                return
        raise AssertionError("the plan does not settle")

    # -- what happens -------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 60, 601, 1801, 7201, 8_000_000]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.settle()

    @rule(data=st.data())
    def heartbeat(self, data: st.DataObject) -> None:
        device = data.draw(st.sampled_from(sorted(self.devices)))
        self.beat(device)

    def beat(self, device: DeviceId) -> None:
        if not self.devices[device].online:
            return
        self.devices[device].last_seen = self.now
        one = self.assignments[device]
        if one.state is S.PENDING and why_not_served(self.candidate(device), None) is None:
            assert self.rollout.state not in FROZEN
            assert one.wave <= self.rollout.released_wave
            deadline = timedelta(seconds=self.rollout.strategy.deadline_seconds - self.halted_seconds)
            self.assignments[device] = replace(
                one, state=S.ASSIGNED, state_since=self.now, served_at=self.now, deadline_at=self.now + deadline
            )

    @rule(data=st.data())
    def ask_leave(self, data: st.DataObject) -> None:
        self.leave(data.draw(st.sampled_from(sorted(self.devices))))

    def leave(self, device: DeviceId) -> None:
        one = self.assignments[device]
        if not self.devices[device].online or one.state not in WITHOUT_LEAVE:
            return
        if why_no_leave(self.candidate(device), None, (), "") is None:
            assert self.rollout.state not in FROZEN
            assert one.wave <= self.rollout.released_wave
            apply_by = self.now + timedelta(seconds=self.rollout.strategy.apply_deadline_seconds)
            self.assignments[device] = replace(one, state=S.APPLYING, leave_at=self.now, deadline_at=apply_by)
            self.devices[device].applying = True

    @rule(data=st.data(), said=st.sampled_from(["downloading", "verifying", "ready", "probing", *sorted(OUTCOMES)]))
    def report(self, data: st.DataObject, said: str) -> None:
        self.say(data.draw(st.sampled_from(sorted(self.devices))), said)

    def say(self, device: DeviceId, said: str) -> None:
        sim = self.devices[device]
        before = self.assignments[device]
        if not sim.online or before.served_at is None or (said in {"probing", *OUTCOMES} and not sim.applying):
            return
        effect = apply_report(before, Reported(said), self.context(), self.now)
        assert not effect.refused
        self.take(before, effect.after, effect.unacknowledged)
        if said in OUTCOMES:
            sim.applying = False
            own = before.state in OUTCOMES and not before.terminal_by_server
            assert self.assignments[device].state == (before.state if own else said), "the device's own end counts"

    def take(self, before: Assignment, after: Assignment, unacknowledged: int) -> None:
        self.assignments[after.device] = after
        self.unacknowledged[before.wave] += unacknowledged

    @rule(data=st.data())
    def drift(self, data: st.DataObject) -> None:
        device = data.draw(st.sampled_from(sorted(self.devices)))
        one = self.assignments[device]
        if self.devices[device].online and one.state is S.HEALTHY:
            effect = drifted(one, "runs 5", self.context())
            self.take(one, effect.after, effect.unacknowledged)

    @rule(data=st.data())
    def goes_or_returns(self, data: st.DataObject) -> None:
        device = self.devices[data.draw(st.sampled_from(sorted(self.devices)))]
        device.online = not device.online
        if device.online:
            device.last_seen = self.now

    @rule(verb=st.sampled_from([Verb.HALT, Verb.RESUME, Verb.APPROVE, Verb.APPROVE, Verb.RESUME]))
    def operator(self, verb: Verb) -> None:
        self.command(verb)

    @rule(verb=st.sampled_from([Verb.ABORT_KEEP, Verb.ABORT_REVERT]), really=st.integers(0, 4))
    def abort(self, verb: Verb, really: int) -> None:
        if really == 0:
            self.command(verb)

    def command(self, verb: Verb) -> None:
        before = self.rollout
        legal = (verb, before.state) in TRANSITIONS
        if not legal:
            with pytest.raises(IllegalTransition, match=before.state):
                command(before, verb, self.tally())
            return
        decided = command(before, verb, self.tally())
        self.enter(decided.state)
        if decided.release_wave is not None:
            self.release(decided.release_wave)
        if decided.acknowledge:
            self.unacknowledged = dict.fromkeys(self.unacknowledged, 0)
        self.rollout = replace(
            before,
            state=decided.state,
            released_wave=decided.release_wave or before.released_wave,
            resume_count=before.resume_count + decided.acknowledge,
            abort_policy=decided.abort_policy or before.abort_policy,
            soak_until=None,
            completed_at=self.now if decided.state is R.COMPLETED else before.completed_at,
        )
        if decided.abort_policy:
            self.cancel(WITHOUT_LEAVE)
        # Deadlines that passed while nothing ran are the planner's next pass, not the verb's.
        for _ in range(PASSES):
            if not self.apply(plan(self.rollout, self.tally(), self.now)):
                break
        if verb is Verb.RESUME:
            assert self.rollout.state is not R.HALTED, "resume does something"

    # -- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def later_waves_are_untouched(self) -> None:
        for one in self.assignments.values():
            if one.wave > self.rollout.released_wave:
                ended = S.SKIPPED if self.rollout.state is R.ABORTED else S.PENDING
                assert one.state is ended
                assert one.served_at is None

    @invariant()
    def counters_are_true(self) -> None:
        for wave, counted in self.unacknowledged.items():
            current = [
                one
                for one in self.assignments.values()
                if one.wave == wave
                and one.failed_resume_count == self.rollout.resume_count
                and (one.state in FAILURES or one.drifted)
            ]
            assert counted == len(current)

    @invariant()
    def every_open_rollout_says_what_it_waits_on(self) -> None:
        waiting = plan(self.rollout, self.tally(), self.now).waiting_on
        assert words(waiting)
        match self.rollout.state, waiting:
            case R.SCHEDULED, Start(at, _):
                assert at == self.rollout.start_at
            case R.RUNNING, Devices() as some:
                assert some.awaited >= 0
            case R.SOAKING, Soak(wave, until, _):
                assert (wave, until) == (self.rollout.released_wave, self.rollout.soak_until)
                assert self.now < until
                assert self.healthy_in(wave), "a soak without evidence"
            case R.SOAKING, Resume():
                assert self.too_many_failed(), "a failure that just came halts at the next pass"
            case R.WAITING_FOR_APPROVAL, Approval(wave, why, _, complete):
                assert complete == self.rollout.released_wave
                nobody = complete > 0 and not self.healthy_in(complete)
                assert why == ("no-evidence" if nobody else "manual")
                assert nobody or (wave is not None and self.rollout.strategy.wave(wave).manual)
            case R.WAITING_FOR_APPROVAL, Resume():
                assert self.too_many_failed()
            case R.WAITING_FOR_APPROVAL, _:
                assert self.healthy_in(self.rollout.released_wave), "only evidence ends the waiting by itself"
            case ((R.SOAKING | R.HALTED), _):
                assert isinstance(waiting, Resume), "it waits on what its state says"

    def healthy_in(self, wave: int) -> int:
        return sum(one.wave == wave and one.state is S.HEALTHY for one in self.assignments.values())

    def too_many_failed(self) -> bool:
        """Whether the failure rule says halt, counted here by itself."""
        for wave in range(1, self.rollout.released_wave + 1):
            failed, size = self.unacknowledged[wave], self.size_at_release[wave]
            finished = [one for one in self.assignments.values() if one.wave == wave and one.state in OUTCOMES]
            if failed > int(self.rollout.strategy.max_failure_rate * size) or (len(finished) >= 10 and failed > 5):
                return True
        return False

    @invariant()
    def what_was_aborted_has_nothing_left_to_take_back(self) -> None:
        if self.rollout.state is R.ABORTED:
            self.settle()
            assert not any(one.state in WITHOUT_LEAVE | {S.PENDING} for one in self.assignments.values())

    @invariant()
    def abort_is_final(self) -> None:
        if self.rollout.abort_policy is not None:
            assert self.rollout.state is R.ABORTED

    def teardown(self) -> None:
        """Devices that answer, and people who decide, end every rollout in a bounded number of passes."""
        if not hasattr(self, "rollout"):
            return
        for sim in self.devices.values():
            sim.online, sim.last_seen = True, self.now
        for _ in range(PASSES * 3):
            if self.rollout.state in (R.COMPLETED, R.ABORTED):
                return
            self.now += timedelta(seconds=601 if self.rollout.state is not R.SCHEDULED else 3600)
            for sim in self.devices.values():
                sim.last_seen = self.now
            self.settle()
            if self.rollout.state is R.HALTED:
                self.command(Verb.RESUME)
            elif self.rollout.state is R.WAITING_FOR_APPROVAL:
                self.command(Verb.APPROVE)
            for device in self.devices:
                self.beat(device)
                self.leave(device)
                if self.assignments[device].state in WITH_LEAVE:
                    self.devices[device].applying = True
                    self.say(device, "healthy")
            self.settle()
        raise AssertionError(f"it never ends: {self.rollout}")


RolloutMachine.TestCase.settings = settings(
    max_examples=int(os.environ.get("TIDEGATE_EXAMPLES", "60")),
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
test_rollout_machine = RolloutMachine.TestCase
