"""A rollout's waves, put into the words and figures that its pictures need."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from tidegate.control.console import words
from tidegate.control.console.gauges import Failures
from tidegate.control.console.pictures import Gate, GateState, Wave
from tidegate.control.domain.rollouts.model import FAILURES, OPEN, AssignmentState, RolloutState
from tidegate.control.services.rollouts import AssignmentView, Preview, RolloutDetail, WavePreview, WaveView

_S = AssignmentState

#: The labels of the four areas; after an abort with revert the devices that went back are seen with those rolled back.
REVERT_LABELS = ("healthy", "open, reverting", "back", "failed")


def areas(counts: Mapping[AssignmentState, int]) -> tuple[int, int, int, int]:
    """healthy, open, back and failed; skipped and superseded count for nothing."""
    return (
        counts.get(_S.HEALTHY, 0),
        open_of(counts) + counts.get(_S.REVERTING, 0),
        counts.get(_S.ROLLED_BACK, 0) + counts.get(_S.REVERTED, 0),
        counts.get(_S.FAILED, 0) + counts.get(_S.REVERT_FAILED, 0),
    )


def open_of(counts: Mapping[AssignmentState, int]) -> int:
    return sum(counts.get(state, 0) for state in OPEN)


def _extent(label: str, total: int) -> str:
    return label if label.startswith("group") else f"{label} of {total:,}"


def _setting(manual: bool, soak_seconds: int) -> str:
    kind = "manual" if manual else "auto"
    return f"{kind}, soak {words.duration(soak_seconds)}" if soak_seconds else f"{kind}, no soak"


def next_wave(rollout: RolloutDetail) -> WaveView | None:
    """The next wave that has devices."""
    return next((wave for wave in rollout.waves if wave.wave > rollout.released_wave and wave.size > 0), None)


def _gate(rollout: RolloutDetail, wave: WaveView, soak_before: int, now: datetime) -> Gate | None:
    following = next_wave(rollout)
    is_next = following is not None and following.wave == wave.wave
    setting = _setting(wave.manual, soak_before)
    kind = "manual" if wave.manual else "auto"
    state: GateState = "closed"
    said = "needs approval" if wave.manual else "opens itself"
    if wave.released and wave.released_at is None:  # rounding left it empty
        state, said = "open", "passed over"
    elif wave.released:
        at = words.clock(wave.released_at, now)
        state, said = "open", f"approved {at}" if wave.manual else f"open since {at}"
    elif rollout.state is RolloutState.ABORTED:
        said = "aborted"
    elif is_next and rollout.state is RolloutState.WAITING_FOR_APPROVAL:
        state, said = "waiting", "needs approval"
    elif is_next and rollout.state is RolloutState.HALTED:
        state, said = "halted", f"halted {words.clock(rollout.state_since, now)}"
    elif is_next and rollout.state is RolloutState.SOAKING and rollout.soak_until and not wave.manual:
        said = f"opens {words.clock(rollout.soak_until, now)}"
    if wave.wave == 1 and (wave.released or state == "closed"):
        return None
    return Gate(state, kind, setting, said)


def picture(rollout: RolloutDetail, now: datetime) -> list[Wave]:
    """What `tide` and `tide_mini` draw."""
    drawn, cumulative, soak = [], 0, 0
    for wave in rollout.waves:
        cumulative += wave.size
        share = 100 * cumulative / rollout.target_size if rollout.target_size else 100.0
        drawn.append(
            Wave(
                percent=share,
                extent=_extent(wave.label, rollout.target_size),
                cohort=wave.size,
                counts=areas(wave.counts),
                released=wave.released,
                gate=_gate(rollout, wave, soak, now),
            )
        )
        soak = wave.soak_seconds
    return drawn


def preview_picture(preview: Preview) -> list[Wave]:
    """The cohorts of a rollout that is not created yet."""
    drawn: list[Wave] = []
    before: WavePreview | None = None
    for wave in preview.waves:
        gate = None
        if before is not None:
            kind = "manual" if wave.manual else "auto"
            gate = Gate(
                "closed",
                kind,
                _setting(wave.manual, before.soak_seconds),
                "needs approval" if wave.manual else "opens itself",
            )
        elif wave.manual:
            gate = Gate("waiting", "manual", "manual", "needs approval")
        share = 100 * wave.cumulative / preview.target_size if preview.target_size else 100.0
        drawn.append(Wave(share, _extent(wave.label, preview.target_size), wave.size, (0, 0, 0, 0), False, gate))
        before = wave
    return drawn


def failures(rollout: RolloutDetail) -> Failures | None:
    """The failure rule of the wave that is nearest to breaking it; None before the first release."""
    rate = Decimal(str(rollout.strategy.get("max_failure_rate", 0)))
    released = [wave for wave in rollout.waves if wave.released and wave.size]
    if not released:
        return None
    nearest = min(reversed(released), key=lambda wave: wave.tolerated + 1 - wave.unacknowledged)
    failed = sum(nearest.counts.get(state, 0) for state in FAILURES)
    acknowledged = max(0, failed - nearest.unacknowledged)
    return Failures(nearest.unacknowledged, nearest.size, rate, nearest.wave, acknowledged)


def wave_state(rollout: RolloutDetail, wave: WaveView) -> str:
    if not wave.released:
        return "not released"
    return "complete" if wave.completed_at is not None else "open"


def gate_words(rollout: RolloutDetail, now: datetime) -> list[str]:
    """What stands before each wave, for the table."""
    said, soak = [], 0
    for wave in rollout.waves:
        gate = _gate(rollout, wave, soak, now)
        if gate is None:
            said.append("start: open" if wave.released else "start")
        else:
            said.append(f"{gate.setting if wave.wave > 1 else 'start'}: {gate.words}")
        soak = wave.soak_seconds
    return said


def sentence(text: str) -> tuple[str, str]:
    """The waiting_on sentence as a heading and what follows it."""
    cut = min((at for at in (text.find(": "), text.find(". ")) if at > 0), default=-1)
    return (text, "") if cut < 0 else (text[:cut], text[cut + 2 : cut + 3].upper() + text[cut + 3 :])


_STATE_WORDS = {
    _S.ASSIGNED: "served; the device has not reported on it yet",
    _S.READY: "staged and verified, waits for leave",
    _S.HEALTHY: "applied, every probe passed",
    _S.SUPERSEDED: "a newer rollout of the same artifact served it",
    _S.SKIPPED: "counts for nothing",
    _S.REVERTED: "went back to what it had",
    _S.REVERTING: "told to go back to what it had",
}


def state_words(row: AssignmentView, rollout: RolloutDetail | None = None) -> str:
    """What there is to say of a device by its state alone, when it gave no reason."""
    if row.state is _S.PENDING:
        if not row.released:
            return f"wave {row.wave} is not released"
        many = f"at most {rollout.max_in_flight:,} at once" if rollout else "as many as may are in flight"
        return f"waits to be served: {many}, or it is offline or held"
    return _STATE_WORDS.get(row.state, "")
