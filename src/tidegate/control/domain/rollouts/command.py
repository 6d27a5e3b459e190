"""What an operator's verb does to a rollout: a table, anything else is an illegal transition."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.control.domain.rollouts.model import Rollout, RolloutState, Tally, Verb
from tidegate.errors import Conflict

_R = RolloutState

TRANSITIONS: dict[tuple[Verb, RolloutState], RolloutState] = {
    (Verb.HALT, _R.RUNNING): _R.HALTED,
    (Verb.HALT, _R.SOAKING): _R.HALTED,
    (Verb.HALT, _R.WAITING_FOR_APPROVAL): _R.HALTED,
    (Verb.RESUME, _R.HALTED): _R.RUNNING,
    (Verb.APPROVE, _R.WAITING_FOR_APPROVAL): _R.RUNNING,
    (Verb.ABORT_KEEP, _R.SCHEDULED): _R.ABORTED,
    (Verb.ABORT_KEEP, _R.RUNNING): _R.ABORTED,
    (Verb.ABORT_KEEP, _R.SOAKING): _R.ABORTED,
    (Verb.ABORT_KEEP, _R.WAITING_FOR_APPROVAL): _R.ABORTED,
    (Verb.ABORT_KEEP, _R.HALTED): _R.ABORTED,
    (Verb.ABORT_REVERT, _R.SCHEDULED): _R.ABORTED,
    (Verb.ABORT_REVERT, _R.RUNNING): _R.ABORTED,
    (Verb.ABORT_REVERT, _R.SOAKING): _R.ABORTED,
    (Verb.ABORT_REVERT, _R.WAITING_FOR_APPROVAL): _R.ABORTED,
    (Verb.ABORT_REVERT, _R.HALTED): _R.ABORTED,
    (Verb.ABORT_REVERT, _R.COMPLETED): _R.ABORTED,
}

#: Stopping is anybody's who runs rollouts; going on is an approver's.
PERMISSION: dict[Verb, str] = {
    Verb.HALT: "rollouts.write",
    Verb.ABORT_KEEP: "rollouts.write",
    Verb.ABORT_REVERT: "rollouts.write",
    Verb.RESUME: "rollouts.approve",
    Verb.APPROVE: "rollouts.approve",
}

_WORDS = {Verb.ABORT_KEEP: "abort (keep)", Verb.ABORT_REVERT: "abort (revert)"}


class IllegalTransition(Conflict):
    """The verb does not apply to a rollout in this state."""

    type = "illegal-transition"


@dataclass(frozen=True, slots=True)
class Commanded:
    """What a verb changes. `release_wave`: a number to write; `acknowledge`: the failures known now stop counting."""

    state: RolloutState
    release_wave: int | None = None
    acknowledge: bool = False
    abort_policy: str | None = None


def refusal(rollout: Rollout, verb: Verb, *, newer_served: bool = False) -> str | None:
    """Why the verb is not possible now, in words for a dashed button; None when it is possible."""
    if (verb, rollout.state) not in TRANSITIONS:
        return f"cannot {_WORDS.get(verb, verb.value)} a rollout that is {rollout.state}"
    if verb is Verb.RESUME and rollout.withdrawn:
        return "cannot resume a rollout of a version that is withdrawn; abort it"
    if verb is Verb.ABORT_REVERT and rollout.state is RolloutState.COMPLETED and newer_served:
        return "cannot abort (revert) a completed rollout after a newer one of the same artifact has served a device"
    return None


def four_eyes(verb: Verb, creator: str | None, person: str) -> str | None:
    """Why `person` may not go on with a rollout that asks for four eyes; `creator` is None where it does not.

    An API key counts as its maker, so a rollout made by one's own key is one's own.
    """
    if creator is None or verb not in (Verb.APPROVE, Verb.RESUME) or person != creator:
        return None
    return f"cannot {verb.value} one's own rollout: four_eyes asks for another person with {PERMISSION[verb]}"


def command(rollout: Rollout, verb: Verb, tally: Tally, *, newer_served: bool = False) -> Commanded:
    """What `verb` does to `rollout`.

    Raises:
        IllegalTransition: the table has no such entry, or a newer rollout of the artifact has taken over.
    """
    refused = refusal(rollout, verb, newer_served=newer_served)
    if refused is not None:
        raise IllegalTransition(refused)
    state = TRANSITIONS[verb, rollout.state]
    match verb:
        case Verb.APPROVE:
            following = tally.next_wave(rollout.released_wave)
            return Commanded(RolloutState.COMPLETED) if following is None else Commanded(state, release_wave=following)
        case Verb.RESUME:
            return Commanded(state, acknowledge=True)
        case Verb.ABORT_KEEP:
            return Commanded(state, abort_policy="keep")
        case Verb.ABORT_REVERT:
            return Commanded(state, abort_policy="revert")
        case Verb.HALT:
            return Commanded(state)
