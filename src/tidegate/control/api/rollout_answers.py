"""Rollouts as the operator API answers them."""

from __future__ import annotations

from tidegate.control.domain.paging import encode_cursor
from tidegate.control.services.rollouts import AssignmentPage, AssignmentView, RolloutDetail, WaveView
from tidegate.wire.operator import rollouts as wire
from tidegate.wire.operator.common import MAX_TOTAL, Page


def approval(manual: bool) -> str:
    return "manual" if manual else "auto"


def wave_info(wave: WaveView) -> wire.WaveInfo:
    return wire.WaveInfo(
        wave=wave.wave,
        label=wave.label,
        percent=wave.percent,
        size=wave.size,
        approval=approval(wave.manual),
        soak_seconds=wave.soak_seconds,
        released=wave.released,
        released_at=wave.released_at,
        completed_at=wave.completed_at,
        counts={state.value: count for state, count in wave.counts.items()},
        unacknowledged=wave.unacknowledged,
        tolerated=wave.tolerated,
        absent=wave.absent,
        held=wave.held,
    )


def rollout_info(found: RolloutDetail) -> wire.RolloutInfo:
    return wire.RolloutInfo(
        id=found.id,
        artifact=found.artifact,
        version=found.version,
        kind=found.kind,
        state=found.state.value,
        state_since=found.state_since,
        reason=found.reason,
        waiting_on=found.waiting_on,
        target=found.target,
        target_size=found.target_size,
        released_wave=found.released_wave,
        waves=tuple(wave_info(one) for one in found.waves),
        counts={state.value: count for state, count in found.counts.items()},
        strategy=dict(found.strategy),
        max_in_flight=found.max_in_flight,
        probes=found.probes,
        baseline=found.baseline,
        created_at=found.created_at,
        created_by=found.created_by,
        channel=found.channel,
        start_at=found.start_at,
        soak_until=found.soak_until,
        completed_at=found.completed_at,
        abort_policy=found.abort_policy,
        resume_count=found.resume_count,
        generation=found.generation,
        verbs=tuple(
            wire.VerbInfo(verb=one.verb.value, permission=one.permission, why_not=one.why_not) for one in found.verbs
        ),
    )


def assignment_page(found: AssignmentPage) -> Page[wire.AssignmentInfo]:
    cursor = encode_cursor(*found.next_after) if found.next_after else None
    return Page(tuple(assignment_info(one) for one in found.items), min(found.total, MAX_TOTAL), cursor)


def assignment_info(one: AssignmentView) -> wire.AssignmentInfo:
    return wire.AssignmentInfo(
        device=one.device,
        rollout=one.rollout,
        artifact=one.artifact,
        version=one.version,
        wave=one.wave,
        state=one.state.value,
        state_since=one.state_since,
        reason=one.reason,
        output=one.output,
        drifted=one.drifted,
        served_at=one.served_at,
        last_seen_at=one.last_seen_at,
        previous_version=one.previous_version,
        waiting_on=one.why_waiting,
    )
