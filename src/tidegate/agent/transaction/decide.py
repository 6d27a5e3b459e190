"""`next_step`: the whole policy of the update transaction, as a pure and total function.

Each call either changes the record, which is then journaled and nothing else is done (`LookAgain`), or asks for exactly
one effect and leaves the record alone. So intent is always durable before its effect, and starting up is the same loop
as going on. docs/design/update-transaction.md shows it as a table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tidegate.agent.transaction.model import (
    LEAVE_SECONDS,
    RESTORE_ATTEMPTS,
    TRIAL_CEILING,
    Facts,
    Kind,
    Outcome,
    Phase,
    Record,
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

Decision = tuple[Record, Step]


def next_step(record: Record, facts: Facts) -> Decision:
    """What to journal and what to do next; defined for every record and all facts."""
    return _PHASES[record.phase](record, facts)


def goes_on_unwritten(record: Record) -> bool:
    """Whether to act on `record` although the journal cannot be written: the way back only, never the way forward."""
    return record.phase is Phase.ROLLBACK


def _fetch(record: Record, facts: Facts) -> Decision:
    if not facts.wanted:
        return _dropped(record)
    goal = record.order.goal
    if goal is None:
        return _move(record, Phase.READY)
    if facts.kept and facts.goal_whole and record.order.kind is Kind.REVERT:
        # The device's own bytes were verified when they came; what has changed since then comes again. Going back needs
        # no more; an install of what was withdrawn meanwhile must not pass for it (SPEC section 0, P9).
        if facts.goal_damage is None:
            return record, Check(goal)
        if not facts.goal_damage:
            return _move(record, Phase.READY)
    if facts.refused:
        return _failed(record, facts.refused)
    if "downloading" not in facts.told:
        return _tell(record, facts, "downloading")
    if facts.fetched is not None and facts.content_whole:
        got = facts.fetched
        return _move(replace(record, verified=True, payload=got.payload, requires=got.requires), Phase.STAGE)
    if facts.trouble is not None:
        return record, Wait(facts.trouble.reason, facts.trouble.retry_seconds)
    return record, Fetch()


def _stage(record: Record, facts: Facts) -> Decision:
    if not facts.wanted:
        return _dropped(record)
    if not record.verified:
        return _move(record, Phase.FETCH)
    if facts.refused:
        return _failed(record, facts.refused)
    if "verifying" not in facts.told:
        return _tell(record, facts, "verifying")
    goal = record.order.goal
    if goal is not None and facts.kept and facts.goal_whole and facts.goal_damage is None:
        # What has changed since it was laid out is gone from the store after this look, and is fetched again.
        return record, Check(goal)
    if facts.goal_whole and facts.goal_damage == "":
        return _move(record, Phase.READY)
    if facts.trouble is not None:
        return record, Wait(facts.trouble.reason, facts.trouble.retry_seconds)
    if not facts.content_whole:
        return _move(replace(record, verified=False), Phase.FETCH)
    return record, Stage()


def _ready(record: Record, facts: Facts) -> Decision:
    if not facts.wanted:
        return _dropped(record)
    if record.order.goal is not None and not (facts.goal_whole and (record.verified or facts.kept)):
        return _move(replace(record, verified=False), Phase.FETCH)
    if facts.foreign:
        return _failed(record, facts.foreign)
    if facts.not_allowed:
        # Said before anything is switched: a version that cannot be put or probed here would only come back.
        return _failed(record, facts.not_allowed)
    if "ready" not in facts.told:
        return _tell(record, facts, "ready")
    if facts.inhibited:
        return record, Wait(facts.inhibited)
    if facts.unmet:
        return record, Wait(facts.unmet)
    leave = facts.leave
    if leave is None:
        if facts.trouble is not None:
            return record, Wait(facts.trouble.reason, facts.trouble.retry_seconds)
        return record, AskLeave()
    if not leave.granted:
        return record, Wait(leave.reason or "the node gives no leave", leave.retry_after_seconds)
    if not 0 <= leave.age_seconds <= min(leave.valid_seconds, LEAVE_SECONDS):
        return record, AskLeave()
    begun = replace(record, way_back=facts.running, trials=1, entry=facts.entry)
    return _move(begun, Phase.APPLYING)


def _applying(record: Record, facts: Facts) -> Decision:
    if record.entry != facts.entry:
        return _enter(record, facts)
    if "applying" not in facts.told:
        return _tell(record, facts, "applying")
    if facts.foreign:
        return _back(record, facts.foreign)
    if facts.running == record.order.goal and not facts.unsettled:
        return _move(record, Phase.PROBING)
    if facts.switch_failed:
        return _back(record, facts.switch_failed, facts.switch_output)
    goal = record.order.goal
    if goal is not None and facts.goal_whole and facts.goal_damage is None:
        return record, Check(goal)
    if goal is not None and (facts.goal_damage or not facts.goal_whole):
        damage = facts.goal_damage or "it is not whole on the device any more"
        reason = f"cannot switch to {goal.version}: {damage}"
        # Where `current` never moved, nothing was tried and nothing rolled back.
        untouched = facts.running == record.way_back and not facts.unsettled
        return _failed(record, reason) if untouched else _back(record, reason)
    return record, Switch(goal)


def _probing(record: Record, facts: Facts) -> Decision:
    if facts.foreign or facts.running != record.order.goal or facts.unsettled:
        # Also what a rollback leaves behind that could not be journaled: the fact wins, it is not tried again.
        found = facts.foreign or facts.unsettled
        return _back(record, found or "current does not lead to the version on trial any more")
    if record.entry != facts.entry:
        return _enter(record, facts)
    if "probing" not in facts.told and not facts.untellable:
        return record, Tell("probing")
    for index, probe in enumerate(record.order.probes):
        made = [attempt for attempt in facts.attempts if attempt.probe == index]
        if any(attempt.passed for attempt in made):
            continue
        if len(made) < probe.attempts:
            delay = probe.interval_seconds if made else probe.initial_delay_seconds
            return record, RunProbe(index, len(made) + 1, delay)
        reason = f"probe {probe.label} failed, attempt {len(made)} of {probe.attempts}"
        return _back(record, reason, made[-1].output if made else "")
    reverting = record.order.kind in (Kind.REVERT, Kind.REMOVE)
    return _done(record, Outcome.REVERTED if reverting else Outcome.HEALTHY)


def _rollback(record: Record, facts: Facts) -> Decision:
    if not facts.foreign and facts.running == record.way_back and not facts.unsettled:
        reverting = record.order.kind in (Kind.REVERT, Kind.REMOVE)
        return _done(record, Outcome.REVERT_FAILED if reverting else Outcome.ROLLED_BACK)
    if facts.restore_failures >= RESTORE_ATTEMPTS:
        return _failed(record, f"{record.reason}; cannot roll back: {facts.restore_trouble}")
    way_back = record.way_back
    if way_back is not None:
        if facts.way_back_whole and facts.way_back_damage is None:
            return record, Check(way_back)
        if facts.way_back_damage or not facts.way_back_whole:
            # A failed version whose bytes are the signed ones goes on rather than bytes that nobody signed.
            damage = facts.way_back_damage or "it is not whole any more"
            return _failed(record, f"{record.reason}; cannot roll back to {way_back.version}: {damage}")
    return record, Restore(way_back)


def _finish(record: Record, facts: Facts) -> Decision:
    outcome = record.outcome
    if outcome is None:
        # Only a journal written by another release can say this; what runs is left alone.
        return _failed(record, record.reason or "cannot tell how the transaction ended")
    if outcome is not Outcome.DROPPED and outcome.value not in facts.told:
        return _tell(record, facts, outcome.value, record.reason, record.output)
    if not facts.cleaned:
        return record, Clean()
    return record, Close()


_PHASES: dict[Phase, Callable[[Record, Facts], Decision]] = {
    Phase.FETCH: _fetch,
    Phase.STAGE: _stage,
    Phase.READY: _ready,
    Phase.APPLYING: _applying,
    Phase.PROBING: _probing,
    Phase.ROLLBACK: _rollback,
    Phase.DONE: _finish,
}


def _move(record: Record, phase: Phase) -> Decision:
    return replace(record, phase=phase), LookAgain()


def _enter(record: Record, facts: Facts) -> Decision:
    """Another process life takes the trial up: it spends one of its own before the goal may run, or goes back."""
    if record.trials >= TRIAL_CEILING:
        return _back(record, f"the device did not come through {record.trials} trials")
    return replace(record, trials=record.trials + 1, entry=facts.entry), LookAgain()


def _back(record: Record, reason: str, output: str = "") -> Decision:
    return replace(record, phase=Phase.ROLLBACK, reason=reason, output=output), LookAgain()


def _done(record: Record, outcome: Outcome) -> Decision:
    return replace(record, phase=Phase.DONE, outcome=outcome), LookAgain()


def _failed(record: Record, reason: str) -> Decision:
    reverting = record.order.kind in (Kind.REVERT, Kind.REMOVE)
    return _done(replace(record, reason=reason), Outcome.REVERT_FAILED if reverting else Outcome.FAILED)


def _dropped(record: Record) -> Decision:
    return _done(replace(record, reason="the node took the work back"), Outcome.DROPPED)


def _tell(record: Record, facts: Facts, state: str, reason: str = "", output: str = "") -> Decision:
    if facts.untellable:
        return record, Wait(facts.untellable, 30.0)
    return record, Tell(state, reason, output)
