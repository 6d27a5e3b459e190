"""Rollouts and explain over HTTP."""

from __future__ import annotations

from functools import partial
from typing import cast

from tidegate.control.api.operations import Call, Operation
from tidegate.control.api.rollout_answers import approval, assignment_page, rollout_info
from tidegate.control.domain.paging import decode_cursor, encode_cursor
from tidegate.control.domain.rollouts.model import RolloutState, Verb
from tidegate.control.services import explain, rollouts
from tidegate.control.services.rollouts import (
    AssignmentFilter,
    NewRollout,
    RolloutFilter,
    Target,
)
from tidegate.errors import FieldError, Invalid
from tidegate.wire.operator import rollouts as wire
from tidegate.wire.operator.common import MAX_TOTAL, ListQuery, Page

_call = partial(Operation, tag="rollouts")


def _request(body: wire.NewRollout) -> NewRollout:
    if (body.version is None) == (body.channel is None):
        rule = "must be exactly one of version and channel"
        raise Invalid(f"cannot create a rollout: what is rolled out {rule}", (FieldError("/version", rule),))
    target = Target(body.target.group, body.target.selector, body.target.devices, body.target.all)
    return NewRollout(
        artifact=body.artifact,
        version=body.version or "",
        target=target,
        strategy=body.strategy,
        probes=body.probes,
        skip_incompatible=body.skip_incompatible,
        baseline=body.baseline,
        start_at=body.start_at,
        channel=body.channel,
    )


def _create(call: Call) -> wire.RolloutInfo:
    return rollout_info(rollouts.create_rollout(call.scope, call.node, _request(call.body)))


def _preview(call: Call) -> wire.RolloutPreview:
    found = rollouts.preview_rollout(call.scope, call.node, _request(call.body))
    return wire.RolloutPreview(
        artifact=found.artifact,
        version=found.version,
        target_size=found.target_size,
        waves=tuple(
            wire.WavePreview(
                wave=one.wave,
                label=one.label,
                size=one.size,
                cumulative=one.cumulative,
                approval=approval(one.manual),
                soak_seconds=one.soak_seconds,
                tolerated=one.tolerated,
                first=one.first,
            )
            for one in found.waves
        ),
        strategy=dict(found.strategy),
        max_in_flight=found.max_in_flight,
        unknown=found.unknown,
        incompatible=tuple(wire.IncompatibleDevice(device=one.device, reason=one.reason) for one in found.incompatible),
        incompatible_count=found.incompatible_count,
        held=found.held,
        held_count=found.held_count,
        supersedes=tuple(
            wire.SupersededRollout(rollout=one.rollout, version=one.version, state=one.state)
            for one in found.supersedes
        ),
        refusals=found.refusals,
    )


def _list(call: Call) -> Page[wire.RolloutInfo]:
    query: wire.RolloutQuery = call.query
    position = decode_cursor(query.cursor, int)
    found = rollouts.list_rollouts(
        call.scope,
        call.node,
        RolloutFilter(
            states=frozenset() if query.state in ("", "open") else frozenset({RolloutState(query.state)}),
            artifact=query.artifact,
            open_only=query.state == "open",
            limit=query.limit,
            offset=query.offset,
            before=cast("int", position[0]) if position else None,
        ),
    )
    cursor = None if found.next_before is None else encode_cursor(found.next_before)
    return Page(tuple(rollout_info(one) for one in found.items), min(found.total, MAX_TOTAL), cursor)


def _get(call: Call) -> wire.RolloutInfo:
    return rollout_info(rollouts.get_rollout(call.scope, call.node, call.integer("rollout")))


def _assignments(call: Call) -> Page[wire.AssignmentInfo]:
    query: wire.AssignmentQuery = call.query
    by_wave = query.sort == "wave"
    # A cursor of the one order is none of the other, and refused there.
    position = decode_cursor(query.cursor, *([int] * (2 if by_wave else 3)))
    wanted = AssignmentFilter(
        show=query.show,
        search=query.search,
        limit=query.limit,
        offset=query.offset,
        after=cast("tuple[int, ...] | None", position),
        by_wave=by_wave,
    )
    return assignment_page(rollouts.list_assignments(call.scope, call.node, call.integer("rollout"), wanted))


def _of_device(call: Call) -> Page[wire.AssignmentInfo]:
    query: ListQuery = call.query
    position = decode_cursor(query.cursor, int)
    before = cast("int", position[0]) if position else None
    found = rollouts.device_rollouts(
        call.scope, call.node, call.path["device"], before=before, limit=query.limit, offset=query.offset
    )  # fmt: skip
    return assignment_page(found)


def _timeline(call: Call) -> wire.Timeline:
    found = rollouts.rollout_timeline(call.scope, call.node, call.integer("rollout"))
    return wire.Timeline(
        items=tuple(
            wire.TimelineEntry(at=one.at, kind=one.kind, detail=one.detail, device=one.device, actor=one.actor)
            for one in found
        )
    )


def _command(verb: Verb, call: Call) -> wire.RolloutInfo:
    body: wire.Command = call.body
    found = rollouts.command_rollout(
        call.scope, call.node, call.integer("rollout"), verb, body.reason, body.generation
    )  # fmt: skip
    return rollout_info(found)


def _abort(call: Call) -> wire.RolloutInfo:
    body: wire.Abort = call.body
    return _command(Verb.ABORT_REVERT if body.policy == "revert" else Verb.ABORT_KEEP, call)


def _abort_preview(call: Call) -> wire.AbortPreview:
    found = rollouts.preview_abort(call.scope, call.node, call.integer("rollout"))
    return wire.AbortPreview(
        skipped={state.value: count for state, count in found.skipped.items()},
        finishing=found.finishing,
        stay=found.stay,
        rolled_back=found.rolled_back,
        failed=found.failed,
        reverting=found.reverting,
        back=tuple(
            wire.WayBack(version=one.version, devices=one.devices, offline=one.offline, withdrawn=one.withdrawn)
            for one in found.back
        ),
        revert_refused=found.revert_refused,
    )


def _explain(call: Call) -> wire.ExplanationInfo:
    query: wire.ExplainQuery = call.query
    found = explain.explain(call.scope, call.node, query.device, query.artifact)
    facts = tuple(wire.FactInfo(at=one.at, text=one.text, detail=one.detail, tone=one.tone) for one in found.facts)
    return wire.ExplanationInfo(artifact=found.artifact, running=found.running, answer=found.answer, facts=facts)


OPERATIONS: tuple[Operation, ...] = (
    _call(
        method="GET",
        path="/v1/rollouts",
        permission="rollouts.read",
        summary="Rollouts, the newest first",
        handler=_list,
        query=wire.RolloutQuery,
        answer=Page[wire.RolloutInfo],
    ),
    _call(
        method="POST",
        path="/v1/rollouts",
        permission="rollouts.write",
        summary="Create a rollout; cohorts are resolved once, now",
        handler=_create,
        body=wire.NewRollout,
        answer=wire.RolloutInfo,
        status=201,
    ),
    _call(
        method="POST",
        path="/v1/rollouts/preview",
        permission="rollouts.read",
        summary="What creating this rollout would do; nothing is created",
        handler=_preview,
        body=wire.NewRollout,
        answer=wire.RolloutPreview,
    ),
    _call(
        method="GET",
        path="/v1/rollouts/{rollout}",
        permission="rollouts.read",
        summary="One rollout: waves, counts, what it waits on, which verbs are possible",
        handler=_get,
        answer=wire.RolloutInfo,
    ),
    _call(
        method="GET",
        path="/v1/rollouts/{rollout}/assignments",
        permission="rollouts.read",
        summary="Devices of a rollout, by wave or what needs attention first",
        handler=_assignments,
        query=wire.AssignmentQuery,
        answer=Page[wire.AssignmentInfo],
    ),
    _call(
        method="GET",
        path="/v1/rollouts/{rollout}/timeline",
        permission="rollouts.read",
        summary="What happened, newest first",
        handler=_timeline,
        answer=wire.Timeline,
    ),
    *(
        _call(
            method="POST",
            path=f"/v1/rollouts/{{rollout}}/{verb.value}",
            permission=permission,
            summary=summary,
            handler=partial(_command, verb),
            body=wire.Command,
            answer=wire.RolloutInfo,
        )
        for verb, permission, summary in (
            (Verb.HALT, "rollouts.write", "Freeze: nothing is served, no leave is given"),
            (Verb.RESUME, "rollouts.approve", "Acknowledge the failures known now and go on"),
            (Verb.APPROVE, "rollouts.approve", "Release the wave that waits, or complete"),
        )
    ),
    _call(
        method="GET",
        path="/v1/rollouts/{rollout}/abort",
        name="rollouts.preview_abort",
        permission="rollouts.read",
        summary="What abort with keep and with revert would do, in numbers",
        handler=_abort_preview,
        answer=wire.AbortPreview,
    ),
    _call(
        method="POST",
        path="/v1/rollouts/{rollout}/abort",
        permission="rollouts.write",
        summary="End for good; keep what runs, or revert it",
        handler=_abort,
        body=wire.Abort,
        answer=wire.RolloutInfo,
    ),
    _call(
        method="GET",
        path="/v1/devices/{device}/rollouts",
        permission="rollouts.read",
        summary="Assignments of one device, the newest first",
        handler=_of_device,
        query=ListQuery,
        answer=Page[wire.AssignmentInfo],
    ),
    _call(
        method="GET",
        path="/v1/explain",
        name="rollouts.explain",
        permission="rollouts.read",
        summary="Why a device runs what it runs of an artifact name",
        handler=_explain,
        query=wire.ExplainQuery,
        answer=wire.ExplanationInfo,
    ),
)
