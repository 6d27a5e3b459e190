"""Plan, command, report, serve, strategy, cohorts and words, case by case."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tidegate.control.domain.compatibility import compare, satisfies
from tidegate.control.domain.rollouts.cohorts import cohorts
from tidegate.control.domain.rollouts.command import TRANSITIONS, IllegalTransition, command
from tidegate.control.domain.rollouts.model import (
    Approval,
    AssignmentState,
    Devices,
    Nothing,
    Resume,
    Rollout,
    RolloutState,
    Soak,
    Stragglers,
    Strategy,
    Tally,
    Verb,
    WaveSpec,
    WaveTally,
)
from tidegate.control.domain.rollouts.plan import plan
from tidegate.control.domain.rollouts.report import Assignment, Context, Reported, apply_report, drifted
from tidegate.control.domain.rollouts.serve import Candidate, Running, in_order, may_be_reverted, to_serve, way_back
from tidegate.control.domain.rollouts.strategy import describe, parse_strategy
from tidegate.control.domain.rollouts.words import duration, words
from tidegate.errors import Invalid
from tidegate.ids import ArtifactId, DeviceId, RolloutId

S, R = AssignmentState, RolloutState
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TWO = Strategy((WaveSpec(percent=Decimal(10)), WaveSpec(percent=Decimal(100))), Decimal("0.1"))
CONTEXT = Context(resume_count=0, halted_seconds=0, deadline_seconds=3600, apply_deadline_seconds=600, soaking=False)


def rollout(state: RolloutState = R.RUNNING, **more: object) -> Rollout:
    return replace(Rollout(state, TWO, 110, released_wave=1), **more)  # type: ignore[arg-type]


def tally(first: dict[AssignmentState, int], **more: object) -> Tally:
    size = sum(first.values())
    wave = replace(WaveTally(1, size, first, size), **more)  # type: ignore[arg-type]
    return Tally((wave, WaveTally(2, 100, {S.PENDING: 100})))


# -- plan -------------------------------------------------------------------------------------------------------------


def test_a_wave_with_devices_at_work_is_waited_for() -> None:
    decided = plan(rollout(), tally({S.HEALTHY: 9, S.PROBING: 1}), NOW)
    assert decided.state is R.RUNNING
    assert isinstance(decided.waiting_on, Devices)
    assert decided.waiting_on.awaited == 1
    assert decided.complete_wave is decided.release_wave is None


def test_a_complete_wave_releases_the_next() -> None:
    decided = plan(rollout(), tally({S.HEALTHY: 10}), NOW)
    assert (decided.state, decided.complete_wave, decided.release_wave) == (R.RUNNING, 1, 2)


def test_the_last_wave_completes() -> None:
    done = Tally((WaveTally(1, 1, {S.HEALTHY: 1}, 1, True), WaveTally(2, 1, {S.HEALTHY: 1}, 1)))
    decided = plan(rollout(released_wave=2), done, NOW)
    assert (decided.state, decided.complete_wave, decided.release_wave) == (R.COMPLETED, 2, None)


@pytest.mark.parametrize(
    ("failed", "halts"), [(1, False), (2, True), (3, True)], ids=["tolerated", "one too many", "more"]
)
def test_failures_above_the_tolerance_of_the_wave_halt_it(failed: int, halts: bool) -> None:
    counts = {S.HEALTHY: 17 - failed, S.FAILED: failed, S.PROBING: 2}
    decided = plan(rollout(), tally(counts, unacknowledged=failed), NOW)
    assert (decided.state is R.HALTED) is halts


def test_the_tolerance_is_of_the_size_at_release() -> None:
    strategy = replace(TWO, max_failure_rate=Decimal("0.1"))
    counted = tally({S.HEALTHY: 5, S.FAILED: 1, S.PROBING: 4}, unacknowledged=1, size_at_release=9)
    assert plan(rollout(strategy=strategy), counted, NOW).state is R.HALTED


@pytest.mark.parametrize(("healthy", "failed", "halts"), [(4, 5, False), (5, 5, False), (4, 6, True), (49, 51, True)])
def test_more_than_half_of_ten_that_finished_halt_it(healthy: int, failed: int, halts: bool) -> None:
    lenient = rollout(strategy=replace(TWO, max_failure_rate=Decimal("0.9")))
    counts = {S.HEALTHY: healthy, S.ROLLED_BACK: failed, S.PROBING: 100}
    assert (plan(lenient, tally(counts, unacknowledged=failed), NOW).state is R.HALTED) is halts


def test_acknowledged_failures_count_on_neither_side() -> None:
    lenient = rollout(strategy=replace(TWO, max_failure_rate=Decimal("0.9")))
    counts = {S.HEALTHY: 4, S.FAILED: 30, S.PROBING: 66}
    assert plan(lenient, tally(counts, unacknowledged=6), NOW).state is R.HALTED
    assert plan(lenient, tally(counts, unacknowledged=0), NOW).state is R.RUNNING


def test_nobody_healthy_is_no_evidence() -> None:
    decided = plan(rollout(), tally({S.SUPERSEDED: 3, S.SKIPPED: 1}), NOW)
    assert decided.state is R.WAITING_FOR_APPROVAL
    assert decided.complete_wave == 1
    assert decided.waiting_on == Approval(2, "no-evidence", 100, 1)
    waiting = rollout(R.WAITING_FOR_APPROVAL)
    still = tally({S.SUPERSEDED: 3, S.PENDING: 1}, completed=True)
    assert plan(waiting, still, NOW).state is R.WAITING_FOR_APPROVAL
    came_back = tally({S.SUPERSEDED: 3, S.HEALTHY: 1}, completed=True)
    assert plan(waiting, came_back, NOW).release_wave == 2


def test_absent_devices_do_not_hold_up_and_completion_latches() -> None:
    assert plan(rollout(), tally({S.HEALTHY: 9, S.PENDING: 1}), NOW).complete_wave is None
    assert plan(rollout(), tally({S.HEALTHY: 9, S.PENDING: 1}, absent=1), NOW).complete_wave == 1
    returned = tally({S.HEALTHY: 9, S.ASSIGNED: 1}, completed=True)
    assert plan(rollout(), returned, NOW).release_wave == 2


def test_a_served_device_is_never_counted_absent() -> None:
    assert plan(rollout(), tally({S.HEALTHY: 9, S.ASSIGNED: 1}, absent=1), NOW).complete_wave is None


def test_a_soak_begins_and_ends() -> None:
    strategy = replace(TWO, waves=(replace(TWO.waves[0], soak_seconds=60), TWO.waves[1]))
    begun = plan(rollout(strategy=strategy), tally({S.HEALTHY: 10}), NOW)
    assert (begun.state, begun.soak_until) == (R.SOAKING, NOW + timedelta(seconds=60))
    assert isinstance(begun.waiting_on, Soak)
    soaking = rollout(R.SOAKING, strategy=strategy, soak_until=begun.soak_until)
    complete = tally({S.HEALTHY: 10}, completed=True)
    assert plan(soaking, complete, NOW + timedelta(seconds=59)).state is R.SOAKING
    assert plan(soaking, complete, NOW + timedelta(seconds=60)).release_wave == 2
    assert plan(soaking, replace(complete, waves=(replace(complete.waves[0], unacknowledged=2), complete.waves[1])), NOW
                ).state is R.HALTED  # fmt: skip


def test_waves_that_rounding_left_empty_are_passed_over() -> None:
    three = Strategy(tuple(WaveSpec(percent=Decimal(p)) for p in (10, 50, 100)))
    counted = Tally((WaveTally(1, 1, {S.HEALTHY: 1}, 1), WaveTally(2, 0), WaveTally(3, 0)))
    decided = plan(Rollout(R.RUNNING, three, 1, released_wave=1), counted, NOW)
    assert (decided.state, decided.release_wave) == (R.COMPLETED, None)


def test_a_start_time_is_waited_for() -> None:
    scheduled = rollout(R.SCHEDULED, released_wave=0, start_at=NOW)
    fresh = tally({S.PENDING: 10})
    assert plan(scheduled, fresh, NOW - timedelta(seconds=1)).state is R.SCHEDULED
    assert plan(scheduled, fresh, NOW).release_wave == 1


def test_halted_stays_halted_whatever_happens() -> None:
    decided = plan(rollout(R.HALTED, reason="lunch"), tally({S.HEALTHY: 10}), NOW + timedelta(days=1000))
    assert decided.state is R.HALTED
    assert decided.waiting_on == Resume("lunch", 0, 0)


def test_stragglers_are_waited_for_ninety_days() -> None:
    completed = rollout(R.COMPLETED, completed_at=NOW, released_wave=2)
    left = tally({S.HEALTHY: 9, S.PENDING: 1})
    waiting = plan(completed, left, NOW + timedelta(days=89))
    assert isinstance(waiting.waiting_on, Stragglers)
    assert not waiting.cancel_open
    assert plan(completed, left, NOW + timedelta(days=90)).cancel_open
    assert plan(completed, Tally(()), NOW).waiting_on == Nothing()


def test_completed_and_aborted_never_halt() -> None:
    bad = tally({S.FAILED: 10}, unacknowledged=10)
    assert plan(rollout(R.COMPLETED, completed_at=NOW), bad, NOW).state is R.COMPLETED
    assert plan(rollout(R.ABORTED, abort_policy="keep"), bad, NOW).state is R.ABORTED


def test_a_withdrawn_version_halts() -> None:
    decided = plan(rollout(withdrawn=True), tally({S.PENDING: 10}), NOW)
    assert (decided.state, decided.reason) == (R.HALTED, "the version is withdrawn")


# -- command ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("state", R)
def test_every_verb_in_every_state(verb: Verb, state: RolloutState) -> None:
    before = rollout(state)
    expected = {
        Verb.HALT: {R.RUNNING, R.SOAKING, R.WAITING_FOR_APPROVAL},
        Verb.RESUME: {R.HALTED},
        Verb.APPROVE: {R.WAITING_FOR_APPROVAL},
        Verb.ABORT_KEEP: {R.SCHEDULED, R.RUNNING, R.SOAKING, R.WAITING_FOR_APPROVAL, R.HALTED},
        Verb.ABORT_REVERT: set(R) - {R.ABORTED},
    }
    assert ((verb, state) in TRANSITIONS) is (state in expected[verb])
    if state not in expected[verb]:
        with pytest.raises(IllegalTransition, match=f"cannot .* a rollout that is {state}"):
            command(before, verb, tally({S.HEALTHY: 10}))
        return
    decided = command(before, verb, tally({S.HEALTHY: 10}))
    aborts = {Verb.ABORT_KEEP: "keep", Verb.ABORT_REVERT: "revert"}
    assert decided.abort_policy == aborts.get(verb)
    assert decided.acknowledge is (verb is Verb.RESUME)
    assert decided.release_wave == (2 if verb is Verb.APPROVE else None)


def test_approving_the_last_wave_completes() -> None:
    waiting = rollout(R.WAITING_FOR_APPROVAL, released_wave=2)
    assert command(waiting, Verb.APPROVE, tally({S.HEALTHY: 1})).state is R.COMPLETED


def test_a_completed_rollout_is_not_reverted_under_a_newer_one() -> None:
    with pytest.raises(IllegalTransition, match="newer"):
        command(rollout(R.COMPLETED), Verb.ABORT_REVERT, tally({S.HEALTHY: 1}), newer_served=True)
    command(rollout(R.RUNNING), Verb.ABORT_REVERT, tally({S.HEALTHY: 1}), newer_served=True)


@pytest.mark.parametrize("state", [S.PENDING, S.ASSIGNED, S.DOWNLOADING, S.VERIFYING, S.READY])
def test_an_aborted_rollout_ends_whatever_may_still_be_taken_back(state: AssignmentState) -> None:
    ended = rollout(R.ABORTED, abort_policy="keep")
    waves = (WaveTally(1, 1, {state: 1}, 1),)
    assert plan(ended, Tally(waves), NOW).cancel_open
    assert not plan(ended, Tally((WaveTally(1, 1, {S.APPLYING: 1}, 1),)), NOW).cancel_open


# -- report -----------------------------------------------------------------------------------------------------------


def one(state: AssignmentState, **more: object) -> Assignment:
    since = NOW - timedelta(minutes=5)
    deadline = None if state in {S.HEALTHY, S.FAILED, S.ROLLED_BACK, S.SKIPPED} else NOW + timedelta(hours=1)
    found = Assignment(RolloutId(1), DeviceId(1), 1, state, since, since, deadline)
    return replace(found, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("said", ["healthy", "rolled_back", "failed"])
def test_a_first_end_counts_once(said: str) -> None:
    effect = apply_report(one(S.PROBING, leave_at=NOW), Reported(said, "why"), CONTEXT, NOW)
    failed = said != "healthy"
    assert effect.after.state == said
    assert effect.unacknowledged == int(failed)
    assert effect.after.failed_resume_count == (0 if failed else None)
    assert effect.arrived is not failed
    assert effect.after.deadline_at is None
    again = apply_report(effect.after, Reported(said, "why"), CONTEXT, NOW)
    assert again.after == effect.after
    assert not (again.unacknowledged or again.arrived or again.drift)


def test_the_devices_own_end_replaces_the_servers_without_turning_into_credit() -> None:
    silent = one(S.FAILED, terminal_by_server=True, failed_resume_count=0)
    assert apply_report(silent, Reported("healthy"), CONTEXT, NOW).unacknowledged == -1
    resumed = replace(CONTEXT, resume_count=1)
    acknowledged = apply_report(silent, Reported("healthy"), resumed, NOW)
    assert acknowledged.unacknowledged == 0
    assert acknowledged.after.state is S.HEALTHY
    still_failed = apply_report(silent, Reported("rolled_back"), resumed, NOW)
    assert still_failed.unacknowledged == 0
    assert still_failed.after.failed_resume_count == 0


def test_what_was_applied_without_leave_on_record_was_begun() -> None:
    begun = apply_report(one(S.ASSIGNED), Reported("healthy"), CONTEXT, NOW).after
    assert begun.leave_at == NOW
    assert apply_report(one(S.ASSIGNED), Reported("failed"), CONTEXT, NOW).after.leave_at is None
    before = NOW - timedelta(minutes=1)
    assert apply_report(one(S.PROBING, leave_at=before), Reported("healthy"), CONTEXT, NOW).after.leave_at == before


@pytest.mark.parametrize("state", [S.SKIPPED, S.SUPERSEDED])
def test_what_the_server_ended_may_still_have_happened(state: AssignmentState) -> None:
    effect = apply_report(one(state, terminal_by_server=True), Reported("healthy"), CONTEXT, NOW)
    assert effect.after.state is S.HEALTHY
    assert not effect.after.terminal_by_server


def test_a_later_different_truth_is_drift() -> None:
    effect = apply_report(one(S.HEALTHY), Reported("rolled_back", "by hand"), CONTEXT, NOW)
    assert effect.after.state is S.HEALTHY
    assert effect.drift
    assert effect.after.drifted
    assert effect.unacknowledged == 0
    soaking = apply_report(one(S.HEALTHY), Reported("failed"), replace(CONTEXT, soaking=True), NOW)
    assert soaking.unacknowledged == 1
    assert drifted(soaking.after, "again", replace(CONTEXT, soaking=True)).unacknowledged == 0


def test_ready_stops_the_deadline_and_going_back_lets_it_run_on() -> None:
    ready = one(S.READY)
    back = apply_report(ready, Reported("verifying"), CONTEXT, NOW).after
    assert ready.deadline_at is not None
    assert back.deadline_at == ready.deadline_at + timedelta(minutes=5)
    onward = apply_report(one(S.DOWNLOADING), Reported("ready"), CONTEXT, NOW).after
    assert onward.deadline_at == one(S.DOWNLOADING).deadline_at


def test_a_device_that_did_not_begin_gives_its_leave_back() -> None:
    effect = apply_report(one(S.APPLYING, leave_at=NOW), Reported("ready"), CONTEXT, NOW)
    assert effect.after.leave_at is None
    assert effect.after.deadline_at == NOW + timedelta(hours=1)


def test_progress_after_an_end_changes_nothing() -> None:
    failed = one(S.FAILED, terminal_by_server=True)
    assert apply_report(failed, Reported("probing"), CONTEXT, NOW).after is failed


def test_what_makes_no_sense_is_refused() -> None:
    assert apply_report(one(S.PENDING), Reported("healthy"), CONTEXT, NOW).refused
    assert apply_report(one(S.PROBING), Reported("reverted"), CONTEXT, NOW).refused
    assert apply_report(one(S.HEALTHY), Reported("reverted", reverting=True), CONTEXT, NOW).refused


@pytest.mark.parametrize(
    ("said", "end"), [("reverted", S.REVERTED), ("healthy", S.REVERTED), ("revert_failed", S.REVERT_FAILED)]
)
def test_a_revert_ends(said: str, end: AssignmentState) -> None:
    effect = apply_report(one(S.REVERTING), Reported(said, reverting=True), CONTEXT, NOW)
    assert effect.after.state is end
    assert effect.returned is (end is S.REVERTED)
    other = "revert_failed" if end is S.REVERTED else "reverted"
    assert apply_report(effect.after, Reported(other, reverting=True), CONTEXT, NOW).drift


# -- serving and the way back -----------------------------------------------------------------------------------------


def candidate(number: int, state: AssignmentState, artifact: int = 0, **more: object) -> Candidate:
    mine = one(state, rollout=RolloutId(number))
    found = Candidate(
        mine, rollout(), ArtifactId(artifact or number), "vad", str(number), f"{artifact or number}" * 8, False, 0
    )
    return replace(found, **more)  # type: ignore[arg-type]


def test_the_newest_that_may_be_is_served() -> None:
    waiting = candidate(3, S.PENDING, rollout=rollout(R.HALTED))
    found = to_serve([candidate(1, S.PENDING), candidate(2, S.PENDING), waiting], None)
    assert found is not None
    assert found.id == 2
    assert to_serve([candidate(1, S.APPLYING), candidate(2, S.PENDING)], None) is None


def left(number: int, previous: int | None, *, aborted: bool = False, artifact: int = 0) -> Candidate:
    state = rollout(R.ABORTED, abort_policy="revert") if aborted else rollout(R.COMPLETED)
    found = candidate(number, S.HEALTHY, artifact, rollout=state)
    mine = replace(
        found.assignment,
        leave_at=NOW,
        previous_known=True,
        previous_artifact=ArtifactId(previous) if previous else None,
    )
    return replace(found, assignment=mine)


def test_the_way_back_passes_over_what_is_bad() -> None:
    history = [left(1, None), left(2, 1), left(3, 2, aborted=True)]
    good = {ArtifactId(n): False for n in (1, 2, 3)}
    assert way_back(history[2], history, good).artifact == 2
    assert way_back(history[2], history, good | {ArtifactId(2): True}).artifact == 1
    reverted = [history[0], left(2, 1, aborted=True), history[2]]
    assert way_back(reverted[2], reverted, good).artifact == 1
    assert way_back(reverted[2], reverted, good | {ArtifactId(1): True}).artifact is None
    assert way_back(history[0], history, good).artifact is None
    lost = replace(history[2], assignment=replace(history[2].assignment, previous_known=False))
    assert way_back(lost, history, good).unknown


def test_only_what_this_rollout_put_there_is_reverted() -> None:
    mine = left(2, 1, aborted=True)
    runs_it = Running("2", mine.descriptor_sha256)
    assert may_be_reverted(mine, [mine], runs_it)
    assert not may_be_reverted(mine, [mine], Running("1", "1" * 8))
    assert not may_be_reverted(mine, [mine, left(3, 2, artifact=2)], runs_it)
    assert may_be_reverted(mine, [mine, left(3, 2)], runs_it)
    without_leave = replace(mine, assignment=replace(mine.assignment, leave_at=None))
    assert not may_be_reverted(without_leave, [mine], runs_it)
    assert not may_be_reverted(replace(mine, rollout=rollout(R.ABORTED, abort_policy="keep")), [mine], runs_it)


def test_requirements_come_first_and_circles_end() -> None:
    assert in_order({"a": ["b"], "b": ["c"], "c": []}) == ["c", "b", "a"]
    assert in_order({"a": ["b"], "b": ["a"]}) == ["a", "b"]


# -- strategy, cohorts, words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        ({"hurry": 1}, "/strategy/hurry"),
        ({"waves": []}, "/strategy/waves"),
        ({"waves": [{"percent": 10}]}, "/strategy/waves/0/percent"),
        ({"waves": [{"percent": 50}, {"percent": 50}, {"percent": 100}]}, "/strategy/waves/1/percent"),
        ({"waves": [{"percent": 0}, {"percent": 100}]}, "/strategy/waves/0/percent"),
        ({"waves": [{"percent": 10, "count": 1}, {"percent": 100}]}, "/strategy/waves/0"),
        ({"waves": [{"count": 5}, {"count": 5}, {"percent": 100}]}, "/strategy/waves/1/count"),
        ({"waves": [{"group": ""}, {"percent": 100}]}, "/strategy/waves/0/group"),
        ({"waves": [{"percent": 100, "sok": 1}]}, "/strategy/waves/0/sok"),
        ({"waves": [{"percent": 100, "approval": "maybe"}]}, "/strategy/waves/0/approval"),
        ({"max_failure_rate": 1}, "/strategy/max_failure_rate"),
        ({"max_failure_rate": "NaN"}, "/strategy/max_failure_rate"),
        ({"max_failure_rate": -0.1}, "/strategy/max_failure_rate"),
        ({"max_in_flight": 0}, "/strategy/max_in_flight"),
        ({"max_in_flight": "200%"}, "/strategy/max_in_flight"),
        ({"deadline": "soon"}, "/strategy/deadline"),
        ({"offline_after": True}, "/strategy/offline_after"),
        ({"soak_seconds": 1.5}, "/strategy/soak_seconds"),
    ],
)
def test_a_wrong_strategy_names_its_field(raw: dict[str, object], pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_strategy(raw)
    assert [error.pointer for error in refused.value.errors] == [pointer]


def test_a_strategy_reads_back_the_same() -> None:
    raw = {
        "waves": [{"group": "lab", "approval": "manual"}, {"count": 3}, {"percent": 12.5}, {"percent": 100}],
        "soak_seconds": 60,
        "max_failure_rate": 0.07,
        "max_in_flight": "25%",
        "deadline": "2h",
    }
    strategy = parse_strategy(raw)
    assert strategy.max_failure_rate == Decimal("0.07")
    assert strategy.tolerated(100) == 7, "exact: a binary 0.07 times 100 is above 7"
    assert [wave.soak_seconds for wave in strategy.waves] == [60, 60, 60, 0]
    assert parse_strategy(describe(strategy)) == strategy
    assert parse_strategy(None) == Strategy()
    assert Strategy().in_flight_limit(50) == 10
    assert Strategy().in_flight_limit(1000) == 100


def test_cohorts_round_up_and_are_the_same_each_time() -> None:
    devices = [DeviceId(n) for n in range(1, 26)]
    strategy = parse_strategy({"waves": [{"percent": 1}, {"group": "lab"}, {"percent": 50}, {"percent": 100}]})
    canary = cohorts("default", devices, strategy, {"lab": ()})[0]
    members = {"lab": {*canary, *devices[:5]}}
    first = cohorts("default", devices, strategy, members)
    assert first == cohorts("default", devices[::-1], strategy, members)
    assert sorted(one for wave in first for one in wave) == devices
    assert len(first[0]) == 1
    assert first[0] == canary
    assert set(first[1]) == set(devices[:5]) - set(canary)
    assert sum(map(len, first[:3])) == 13
    assert cohorts("other", devices, strategy, members) != first


def test_words_say_who_acts_next_how_much_and_what_comes_after() -> None:
    sentence = words(plan(rollout(), tally({S.HEALTHY: 9, S.PROBING: 1}), NOW).waiting_on)
    assert sentence == "Waiting on 1 of 10 devices in wave 1: 1 probing. Then wave 2 (100 devices) is released"
    assert duration(90) == "1 min 30 s"
    assert duration(0) == "0 s"


def test_versions_are_compared_by_value() -> None:
    assert compare("1.10", "1.9") == 1
    assert compare("1.0", "1") == -compare("1", "1.0")
    assert compare("2.0-rc1", "2.0") == -1
    assert compare("1.0+build7", "1.0") == 0
    assert satisfies("2.4", ">=2,<3")
    assert not satisfies("3.0", ">=2,<3")
    assert satisfies("x", "")
    with pytest.raises(Invalid):
        satisfies("1", "about 2")
