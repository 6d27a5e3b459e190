"""`next_step` is total, changes the record or asks for one effect but never both, and comes to an end."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.agent.transaction.decide import goes_on_unwritten, next_step
from tidegate.agent.transaction.model import (
    Attempt,
    Facts,
    Fetched,
    Kind,
    Leave,
    Order,
    Outcome,
    Phase,
    ProbePlan,
    Record,
    Release,
    Trouble,
)
from tidegate.agent.transaction.steps import (
    AskLeave,
    Check,
    Clean,
    Close,
    Fetch,
    LookAgain,
    Restore,
    RunProbe,
    Stage,
    Step,
    Switch,
    Tell,
    Wait,
)

RELEASES = st.sampled_from([None, *(Release(version, version * 64) for version in "456")])
WORDS = st.sampled_from(["", "because"])
PROBES = st.lists(st.builds(ProbePlan, st.just("{}"), st.just("probe"), st.integers(0, 4)), max_size=3).map(tuple)
ORDERS = st.builds(Order, st.just("r1"), st.sampled_from(Kind), st.just("vad"), RELEASES, st.just("path"), PROBES)
RECORDS = st.builds(
    Record,
    order=ORDERS,
    phase=st.sampled_from(Phase),
    verified=st.booleans(),
    way_back=RELEASES,
    trials=st.integers(0, 9),
    entry=st.sampled_from(["", "this", "another"]),
    outcome=st.none() | st.sampled_from(Outcome),
    reason=WORDS,
)
STATES = ["downloading", "verifying", "ready", "applying", "probing", *(outcome.value for outcome in Outcome)]
FACTS = st.builds(
    Facts,
    entry=st.just("this"),
    running=RELEASES,
    foreign=WORDS,
    unsettled=WORDS,
    goal_whole=st.booleans(),
    way_back_whole=st.booleans(),
    goal_damage=st.none() | WORDS,
    way_back_damage=st.none() | WORDS,
    kept=st.booleans(),
    content_whole=st.booleans(),
    told=st.frozensets(st.sampled_from(STATES)),
    wanted=st.booleans(),
    inhibited=WORDS,
    unmet=WORDS,
    not_allowed=WORDS,
    leave=st.none() | st.builds(Leave, st.booleans(), st.floats(-10, 100), st.floats(0, 3600), WORDS),
    fetched=st.none() | st.just(Fetched("model")),
    refused=WORDS,
    trouble=st.none() | st.builds(Trouble, st.just("trouble"), st.floats(0, 60)),
    attempts=st.lists(st.builds(Attempt, st.integers(0, 3), st.integers(1, 4), st.booleans()), max_size=9).map(tuple),
    switch_failed=WORDS,
    restore_failures=st.integers(0, 4),
    cleaned=st.booleans(),
    untellable=WORDS,
)
#: Seven phases, each with its few effects, ten probe attempts, three tries to go back, twice through fetch and stage.
MOST_STEPS = 80


def performed(record: Record, facts: Facts, step: Step, works: bool) -> Facts:
    """The facts after an effect that `works`, or that failed as effects do."""
    match step:
        case Tell(state=state):
            return replace(facts, told=facts.told | {state}) if works else replace(facts, untellable="disk full")
        case Fetch():
            if not works:
                return replace(facts, trouble=Trouble("unreachable", 30), fetched=None)
            return replace(facts, fetched=Fetched("model"), content_whole=True)
        case Stage():
            if not works:
                return replace(facts, trouble=Trouble("disk full", 30))
            return replace(facts, goal_whole=True, goal_damage="")
        case Check(release=release):
            damage = "" if works else "changed"
            if release == record.order.goal:
                facts = replace(facts, goal_damage=damage)
            return replace(facts, way_back_damage=damage) if release == record.way_back else facts
        case AskLeave():
            return replace(facts, leave=Leave(works, 0.0))
        case Switch(to=to):
            if not works:
                return replace(facts, switch_failed="input/output error")
            return replace(facts, running=to, unsettled="")
        case RunProbe(probe=probe, number=number):
            return replace(facts, attempts=(*facts.attempts, Attempt(probe, number, works)))
        case Restore(to=to):
            if not works:
                return replace(facts, restore_failures=facts.restore_failures + 1)
            return replace(facts, running=to, foreign="", unsettled="")
        case Clean():
            return replace(facts, cleaned=True)
        case _:
            raise AssertionError(f"nothing to perform: {step}")


@settings(max_examples=400)
@given(RECORDS, FACTS)
def test_is_total_and_journals_before_it_acts(record: Record, facts: Facts) -> None:
    decided, step = next_step(record, facts)
    assert (decided != record) == isinstance(step, LookAgain)
    assert decided.order == record.order
    assert decided.trials >= record.trials or record.phase is Phase.READY
    if isinstance(step, Switch | Restore) and step.to is not None:
        assert "" in (facts.goal_damage, facts.way_back_damage)
    assert not goes_on_unwritten(decided) or decided.phase is Phase.ROLLBACK
    if isinstance(step, Switch):
        assert record.phase is Phase.APPLYING
        assert record.entry == facts.entry
    if isinstance(step, Wait):
        assert step.reason


@settings(max_examples=400)
@given(RECORDS, FACTS, st.data())
def test_ends_or_waits_whatever_effects_do(record: Record, facts: Facts, data: st.DataObject) -> None:
    for _ in range(MOST_STEPS):
        record, step = next_step(record, facts)
        if isinstance(step, Close | Wait):
            return
        if not isinstance(step, LookAgain):
            facts = performed(record, facts, step, data.draw(st.booleans(), label=type(step).__name__))
    raise AssertionError(f"still going after {MOST_STEPS} steps: {record}, {facts}")


@settings(max_examples=400)
@given(RECORDS, FACTS)
def test_going_back_needs_nobody(record: Record, facts: Facts) -> None:
    """From a rollback on, nothing is fetched, staged, probed, switched forward or asked for."""
    record = replace(record, phase=Phase.ROLLBACK)
    for _ in range(MOST_STEPS):
        record, step = next_step(record, facts)
        if isinstance(step, Close | Wait):
            return
        assert isinstance(step, LookAgain | Check | Restore | Tell | Clean)
        if not isinstance(step, LookAgain):
            facts = performed(record, facts, step, True)
    raise AssertionError("still going")
