"""What a rollout does next: one pure function over its tally and the time."""

from __future__ import annotations

from datetime import datetime, timedelta

from tidegate.control.domain.rollouts.model import (
    HALTABLE,
    REVERTS,
    STRAGGLERS_DAYS,
    WITH_LEAVE,
    WITHOUT_LEAVE,
    After,
    Approval,
    AssignmentState,
    Devices,
    Nothing,
    Plan,
    Resume,
    Reverting,
    Rollout,
    RolloutState,
    Soak,
    Start,
    Stragglers,
    Tally,
    WaitingOn,
    WaveTally,
)
from tidegate.errors import Defect

MAJORITY_RULE_FROM = 10
#: What `cancel_open` ends: whatever may still be taken back.
CANCELLED = WITHOUT_LEAVE | {AssignmentState.PENDING}


def plan(rollout: Rollout, tally: Tally, now: datetime) -> Plan:
    """The next step of a rollout, or that it waits, and on what. Applied again until nothing changes, it settles."""
    if rollout.state in HALTABLE:
        broken = broken_rule(rollout, tally)
        if broken is not None:
            return Plan(RolloutState.HALTED, _resume(rollout, tally, broken), reason=broken)
    match rollout.state:
        case RolloutState.SCHEDULED:
            return _scheduled(rollout, tally, now)
        case RolloutState.RUNNING:
            return _running(rollout, tally, now)
        case RolloutState.SOAKING:
            return _soaking(rollout, tally, now)
        case RolloutState.WAITING_FOR_APPROVAL:
            return _waiting(rollout, tally, now)
        case RolloutState.HALTED:
            return _stay(rollout, _resume(rollout, tally, rollout.reason))
        case RolloutState.COMPLETED:
            return _completed(rollout, tally, now)
        case RolloutState.ABORTED:
            return _aborted(rollout, tally)


def broken_rule(rollout: Rollout, tally: Tally) -> str | None:
    """In which wave the failure rule halts this rollout, with the figures; None while it holds.

    Failures that a resume acknowledged count on neither side: they neither halt again nor make room for others.
    """
    if rollout.withdrawn:
        return "the version is withdrawn"
    for wave in tally.released(rollout):
        size = wave.size_at_release if wave.size_at_release is not None else wave.size
        tolerated = rollout.strategy.tolerated(size)
        if wave.unacknowledged > tolerated:
            return f"{wave.unacknowledged} of {size} devices of wave {wave.wave} failed; {tolerated} are tolerated"
        if wave.finished >= MAJORITY_RULE_FROM and 2 * wave.unacknowledged > wave.finished:
            return f"{wave.unacknowledged} of the {wave.finished} devices of wave {wave.wave} that have finished failed"
    return None


def waits_for_evidence(rollout: Rollout, tally: Tally) -> bool:
    """Whether nobody in the current wave is healthy."""
    return rollout.released_wave > 0 and tally.wave(rollout.released_wave).healthy == 0


def _scheduled(rollout: Rollout, tally: Tally, now: datetime) -> Plan:
    if rollout.start_at is not None and now < rollout.start_at:
        return _stay(rollout, Start(rollout.start_at, _after(rollout, tally, 0)))
    return _beyond(rollout, tally)


def _running(rollout: Rollout, tally: Tally, now: datetime) -> Plan:
    if rollout.released_wave == 0:
        return _beyond(rollout, tally)
    current = tally.wave(rollout.released_wave)
    if not current.completed and current.awaited > 0:
        return _stay(rollout, _devices(rollout, tally, current))
    # Completion latches: a device that returns later is served, but holds nothing up.
    latch = None if current.completed else current.wave
    if current.healthy == 0:
        waiting = _approval(rollout, tally)
        return Plan(RolloutState.WAITING_FOR_APPROVAL, waiting, reason=waiting.why, complete_wave=latch)
    return _soak_or_beyond(rollout, tally, now, latch)


def _soak_or_beyond(rollout: Rollout, tally: Tally, now: datetime, latch: int | None) -> Plan:
    soak_seconds = rollout.strategy.wave(rollout.released_wave).soak_seconds
    if soak_seconds == 0:
        return _beyond(rollout, tally, latch)
    until = now + timedelta(seconds=soak_seconds)
    waiting = Soak(rollout.released_wave, until, _after(rollout, tally, rollout.released_wave))
    return Plan(RolloutState.SOAKING, waiting, complete_wave=latch, soak_until=until)


def _soaking(rollout: Rollout, tally: Tally, now: datetime) -> Plan:
    if rollout.soak_until is None:
        raise Defect("a soaking rollout has no end of its soak")
    if now < rollout.soak_until:
        waiting = Soak(rollout.released_wave, rollout.soak_until, _after(rollout, tally, rollout.released_wave))
        return _stay(rollout, waiting)
    return _beyond(rollout, tally)


def _waiting(rollout: Rollout, tally: Tally, now: datetime) -> Plan:
    waiting = _approval(rollout, tally)
    needs_person = waiting.why == "no-evidence" or (
        waiting.wave is not None and rollout.strategy.wave(waiting.wave).manual
    )
    if needs_person:
        return _stay(rollout, waiting)
    # It waited for evidence only, and a device that came back has given it.
    return _soak_or_beyond(rollout, tally, now, None)


def _beyond(rollout: Rollout, tally: Tally, latch: int | None = None) -> Plan:
    """The current wave is done with: the next one, by hand or at once, or the end."""
    following = tally.next_wave(rollout.released_wave)
    if following is None:
        return Plan(RolloutState.COMPLETED, Nothing(), complete_wave=latch)
    if rollout.strategy.wave(following).manual:
        waiting = _approval(rollout, tally)
        return Plan(RolloutState.WAITING_FOR_APPROVAL, waiting, reason=waiting.why, complete_wave=latch)
    released = tally.wave(following)
    return Plan(RolloutState.RUNNING, _devices(rollout, tally, released), release_wave=following, complete_wave=latch)


def _completed(rollout: Rollout, tally: Tally, now: datetime) -> Plan:
    left = tally.count(AssignmentState.PENDING) + tally.in_flight
    if left == 0 or rollout.completed_at is None:
        return _stay(rollout, Nothing())
    until = rollout.completed_at + timedelta(days=STRAGGLERS_DAYS)
    over = now >= until and tally.count(*CANCELLED) > 0
    return Plan(rollout.state, Stragglers(left, until), reason=rollout.reason, cancel_open=over)


def _aborted(rollout: Rollout, tally: Tally) -> Plan:
    finishing = tally.count(*WITH_LEAVE)
    reverting = tally.count(AssignmentState.REVERTING)
    to_decide = tally.count(AssignmentState.HEALTHY) if rollout.abort_policy == "revert" else 0
    left = finishing + reverting + to_decide
    waiting: WaitingOn = Reverting(finishing, reverting, to_decide) if left else Nothing()
    # What was pending when the rollout was aborted is ended in steps, so that the abort itself is quick at any size;
    # a device that gave its leave back since, by saying that it has not begun, is ended with it.
    unserved = tally.count(*CANCELLED) > 0
    return Plan(rollout.state, waiting, reason=rollout.reason, cancel_open=unserved)


def _stay(rollout: Rollout, waiting: WaitingOn) -> Plan:
    return Plan(rollout.state, waiting, reason=rollout.reason, soak_until=rollout.soak_until)


def _resume(rollout: Rollout, tally: Tally, reason: str) -> Resume:
    unacknowledged = sum(wave.unacknowledged for wave in tally.waves)
    return Resume(reason, tally.count(*WITH_LEAVE, *REVERTS - {AssignmentState.REVERTED}), unacknowledged)


def _approval(rollout: Rollout, tally: Tally) -> Approval:
    following = tally.next_wave(rollout.released_wave)
    why = "no-evidence" if waits_for_evidence(rollout, tally) else "manual"
    return Approval(following, why, tally.wave(following).size if following else 0, rollout.released_wave)


def _devices(rollout: Rollout, tally: Tally, wave: WaveTally) -> Devices:
    counts = {state: count for state, count in wave.counts.items() if count and state in _AWAITED}
    return Devices(wave.wave, wave.awaited, wave.size, counts, wave.held, _after(rollout, tally, wave.wave))


_AWAITED = WITH_LEAVE | {
    AssignmentState.PENDING,
    AssignmentState.ASSIGNED,
    AssignmentState.DOWNLOADING,
    AssignmentState.VERIFYING,
    AssignmentState.READY,
}


def _after(rollout: Rollout, tally: Tally, wave: int) -> After:
    soak_seconds = rollout.strategy.wave(wave).soak_seconds if wave else 0
    following = tally.next_wave(wave)
    if following is None:
        return After(soak_seconds)
    return After(soak_seconds, following, rollout.strategy.wave(following).manual, tally.wave(following).size)
