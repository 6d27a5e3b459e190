"""What operators do to a rollout: halt, resume, approve, abort; and what an abort would do."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from tidegate.control.domain.access import Scope
from tidegate.control.domain.rollouts.command import PERMISSION, Commanded, command, four_eyes, refusal
from tidegate.control.domain.rollouts.model import (
    FAILURES,
    WITH_LEAVE,
    WITHOUT_LEAVE,
    AssignmentState,
    Nothing,
    Plan,
    RolloutState,
    Verb,
)
from tidegate.control.domain.rollouts.record import RolloutRecord
from tidegate.control.services import audit
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import planning
from tidegate.control.services.rollouts.read import detail, require
from tidegate.control.services.rollouts.views import AbortPreview, RolloutDetail
from tidegate.control.store import assignments, engine, rollout_lists, rollouts
from tidegate.errors import Conflict, FieldError, Forbidden, Invalid
from tidegate.ids import RolloutId

_S = AssignmentState
MAX_REASON = 1024


def command_rollout(
    scope: Scope, node: Node, rollout_id: int, verb: Verb, reason: str = "", generation: int | None = None
) -> RolloutDetail:
    """Carry out `verb`, and what follows from it at once, in one transaction.

    Args:
        reason: for the audit log, and shown with the rollout.
        generation: when given, the one that the operator saw.

    Raises:
        Forbidden: the permission is missing, or four eyes are asked for and these are the creator's.
        IllegalTransition: the verb does not apply to this state.
        Conflict: the rollout changed since `generation`.
    """
    scope.require(PERMISSION[verb])
    said = reason.strip()
    if len(said) > MAX_REASON:
        rule = f"must be at most {MAX_REASON} characters"
        raise Invalid(f"cannot take this reason: it {rule}", (FieldError("/reason", rule),))
    with node.db.write() as tx:
        require(tx, scope, rollout_id)
        record = rollouts.lock(tx, [RolloutId(rollout_id)])[RolloutId(rollout_id)]
        if generation is not None and generation != record.generation:
            raise Conflict(
                f"cannot {verb.value} rollout {rollout_id}: it changed since you looked; look again",
                type="generation-changed",
            )
        own = four_eyes(verb, record.four_eyes_person, scope.person)
        if own is not None:
            raise Forbidden(own, permission=PERMISSION[verb], type="four-eyes")
        now = engine.now(tx)
        tally = planning.tallied(tx, record, now)
        newer = rollouts.newer_served(tx, record)
        commanded = command(record.rollout, verb, tally, newer_served=newer)
        _apply(tx, record, commanded, said, now)
        steps = planning.advance(tx, rollouts.by_ids(tx, [record.id])[record.id], now)
        data: dict[str, object] = {
            "from": record.rollout.state.value,
            "to": commanded.state.value,
            "reason": said,
            "unacknowledged": sum(wave.unacknowledged for wave in tally.waves),
            **planning.figures(tally),
        }
        if commanded.release_wave is not None:
            data |= {"wave": commanded.release_wave, "devices": tally.wave(commanded.release_wave).size}
        if commanded.abort_policy is not None:
            data["policy"] = commanded.abort_policy
        action = "rollout.abort" if commanded.abort_policy else f"rollout.{verb.value}"
        result = detail(tx, scope, steps.record, now)
        audit.record(tx, scope, action=action, subject=f"rollout:{record.id}", data=data)
        planning.write_audit(tx, planning.system(tx, scope.fleet_id), steps)
    node.hub.nudge("rollouts", scope.fleet_id)
    return result


def _apply(tx: Connection, record: RolloutRecord, commanded: Commanded, reason: str, now: datetime) -> None:
    if commanded.release_wave is not None or commanded.state is RolloutState.COMPLETED:
        rollouts.apply(tx, record, Plan(commanded.state, Nothing(), reason, commanded.release_wave), now)
        return
    values: dict[str, Any] = {"state": commanded.state, "state_since": now, "reason": reason, "soak_until": None}
    if record.rollout.state is RolloutState.HALTED:
        stood_still = int((now - record.state_since).total_seconds())
        values["halted_seconds"] = record.halted_seconds + stood_still
    if commanded.acknowledge:
        values["resume_count"] = record.rollout.resume_count + 1
        rollouts.acknowledge(tx, record.id)
    if commanded.abort_policy is not None:
        values["abort_policy"] = commanded.abort_policy
        # What is at work is bounded by max_in_flight; what was never served is ended in steps by the planner.
        assignments.cancel(
            tx, record, WITHOUT_LEAVE, "the rollout was aborted", now, max(record.rollout.target_size, 1)
        )
    rollouts.update(tx, record, **values)


def preview_abort(scope: Scope, node: Node, rollout_id: int) -> AbortPreview:
    """What both policies would do, in numbers; nothing is changed.

    Raises:
        NotFound: the fleet has no such rollout.
    """
    scope.require("rollouts.read")
    with node.db.read() as tx:
        record = require(tx, scope, rollout_id)
        now = engine.now(tx)
        tally = planning.tallied(tx, record, now)
        refused = refusal(record.rollout, Verb.ABORT_REVERT, newer_served=rollouts.newer_served(tx, record)) or ""
        # What would not happen is not counted: of a whole fleet that is the costly part.
        back = () if refused else rollout_lists.ways_back(tx, record)
        return AbortPreview(
            rollout=detail(tx, scope, record, now),
            skipped={one: tally.count(one) for one in (_S.PENDING, *sorted(WITHOUT_LEAVE)) if tally.count(one)},
            finishing=tally.count(*WITH_LEAVE),
            stay=tally.count(_S.HEALTHY),
            rolled_back=tally.count(_S.ROLLED_BACK),
            failed=tally.count(*FAILURES) - tally.count(_S.ROLLED_BACK),
            reverting=sum(one.devices for one in back),
            back=back,
            revert_refused=refused,
        )
