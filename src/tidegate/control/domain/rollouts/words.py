"""What an open rollout waits on, as the one sentence that console, command line and log print.

In this order: who acts next, how much, what comes after.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from tidegate.control.domain.rollouts.model import (
    After,
    Approval,
    AssignmentState,
    Devices,
    Nothing,
    Resume,
    Reverting,
    Soak,
    Start,
    Stragglers,
    WaitingOn,
)

_ORDER = tuple(AssignmentState)


def words(waiting: WaitingOn) -> str:
    """The sentence, without a full stop at its end."""
    match waiting:
        case Start(at, after):
            return f"Waiting on its start at {moment(at)}. Then {_next_wave(after)}"
        case Devices():
            return _devices(waiting)
        case Soak(wave, until, after):
            return f"Waiting on the soak of wave {wave} until {moment(until)}. Then {_next_wave(after)}"
        case Approval():
            return _approval(waiting)
        case Resume(reason, finishing, unacknowledged):
            return _resume(reason, finishing, unacknowledged)
        case Stragglers(count, until):
            return f"Waiting on {devices(count)} that have not finished; served until {moment(until)}"
        case Reverting():
            return _reverting(waiting)
        case Nothing():
            return "Waiting on nothing"


def devices(count: int) -> str:
    return f"{count:,} device" if count == 1 else f"{count:,} devices"


def moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def duration(seconds: int) -> str:
    """``90`` is ``1 min 30 s``: at most two units, the largest first."""
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if seconds >= size:
            parts.append(f"{seconds // size} {unit}")
            seconds %= size
    return " ".join(parts[:2]) or "0 s"


def _devices(waiting: Devices) -> str:
    detail = _counts(waiting.counts)
    held = f" ({waiting.held:,} on hold)" if waiting.held else ""
    said = f"Waiting on {waiting.awaited:,} of {devices(waiting.of)} in wave {waiting.wave}"
    return f"{said}: {detail}{held}. Then {_then(waiting.after)}" if detail else f"{said}. Then {_then(waiting.after)}"


def _counts(counts: Mapping[AssignmentState, int]) -> str:
    return ", ".join(f"{counts[state]:,} {state}" for state in _ORDER if counts.get(state))


def _then(after: After) -> str:
    soak = f"{duration(after.soak_seconds)} soak, then " if after.soak_seconds else ""
    return soak + _next_wave(after)


def _next_wave(after: After) -> str:
    if after.wave is None:
        return "it is completed"
    if after.manual:
        return f"wave {after.wave} ({devices(after.devices)}) needs approve"
    return f"wave {after.wave} ({devices(after.devices)}) is released"


def _approval(waiting: Approval) -> str:
    person = "Waiting on a person with rollouts.approve"
    why = (
        f"wave {waiting.complete_wave} has nothing left to wait for and nobody is healthy"
        if waiting.why == "no-evidence"
        else f"wave {waiting.wave} is manual"
    )
    if waiting.wave is None:
        return f"{person}: {why}. Approve completes the rollout"
    return f"{person}: {why}. Approve releases wave {waiting.wave} to {devices(waiting.devices)}"


def _resume(reason: str, finishing: int, unacknowledged: int) -> str:
    said = f"Waiting on a person: resume (rollouts.approve) or abort. Halted: {reason or 'no reason given'}"
    if finishing:
        said += f". {devices(finishing)} already applying will finish"
    if unacknowledged:
        said += f". Resume acknowledges {unacknowledged:,} {'failure' if unacknowledged == 1 else 'failures'}"
    return said


def _reverting(waiting: Reverting) -> str:
    parts = []
    if waiting.finishing:
        parts.append(f"{devices(waiting.finishing)} already applying will finish")
    if waiting.reverting:
        parts.append(f"{devices(waiting.reverting)} going back")
    if waiting.to_decide:
        parts.append(f"{devices(waiting.to_decide)} to go back at the next check-in")
    return f"Waiting on {'; '.join(parts)}"
