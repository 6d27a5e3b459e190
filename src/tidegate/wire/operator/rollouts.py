"""Rollouts in the operator API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from tidegate.wire.device import ArtifactName, DeviceName, Probe, Version
from tidegate.wire.operator.channels import ChannelName
from tidegate.wire.operator.common import ListQuery, OperatorRequest, SelectorText, Time

Names = Annotated[tuple[Annotated[str, Meta(max_length=128)], ...], Meta(min_length=1, max_length=10_000)]
ReasonText = Annotated[str, Meta(max_length=1024)]
State = Literal[
    "scheduled", "running", "soaking", "waiting_for_approval", "halted", "completed", "aborted",
]  # fmt: skip


class Target(OperatorRequest, frozen=True, kw_only=True):
    """Exactly one of these: a group, a selector, device names, or every active device of the fleet."""

    group: Annotated[str, Meta(max_length=128)] | None = None
    selector: SelectorText | None = None
    devices: Names | None = None
    all: bool = False


class NewRollout(OperatorRequest, frozen=True, kw_only=True):
    """`strategy` keys: waves (percent | count | group, approval, soak_seconds), approval, soak_seconds,
    max_failure_rate, max_in_flight, deadline, apply_deadline, offline_after; none: one wave to 100 percent."""

    artifact: ArtifactName
    version: Version | None = None
    channel: ChannelName | None = None
    target: Target
    strategy: dict[str, Any] = msgspec.field(default_factory=dict)
    probes: Annotated[tuple[Probe, ...], Meta(max_length=8)] = ()
    skip_incompatible: bool = False
    baseline: bool = False
    start_at: Time | None = None


class Command(OperatorRequest, frozen=True, kw_only=True):
    """`generation`: the one you saw; when the rollout has changed since, nothing is done."""

    reason: ReasonText = ""
    generation: Annotated[int, Meta(ge=0, le=2**53)] | None = None


class Abort(Command, frozen=True, kw_only=True):
    policy: Literal["keep", "revert"] = "keep"


class RolloutQuery(ListQuery, frozen=True, kw_only=True):
    state: State | Literal["", "open"] = ""
    artifact: Annotated[str, Meta(max_length=128)] = ""


class AssignmentQuery(ListQuery, frozen=True, kw_only=True):
    """`show`: all, attention, open, or one state of an assignment.

    `sort`: by wave, an order that nothing changes, for whoever walks all of them; or what needs attention first, where
    a device whose state changes meanwhile can be met twice or not at all.
    """

    sort: Literal["wave", "attention"] = "wave"
    show: Annotated[str, Meta(max_length=32)] = "all"
    search: Annotated[str, Meta(max_length=64)] = ""


class ExplainQuery(OperatorRequest, frozen=True, kw_only=True):
    device: DeviceName
    artifact: ArtifactName


class WaveInfo(Struct, frozen=True, kw_only=True):
    """`counts` by state of assignment; `tolerated` failures do not halt yet."""

    wave: int
    label: str
    percent: str | None
    size: int
    approval: str
    soak_seconds: int
    released: bool
    released_at: Time | None
    completed_at: Time | None
    counts: dict[str, int]
    unacknowledged: int
    tolerated: int
    absent: int
    held: int


class VerbInfo(Struct, frozen=True, kw_only=True):
    """`why_not` is empty when the verb is possible now."""

    verb: str
    permission: str
    why_not: str


class RolloutInfo(Struct, frozen=True, kw_only=True):
    """`waiting_on` says who acts next, how much, and what comes after."""

    id: int
    artifact: str
    version: str
    kind: str
    state: str
    state_since: Time
    reason: str
    waiting_on: str
    target: str
    target_size: int
    released_wave: int
    waves: tuple[WaveInfo, ...]
    counts: dict[str, int]
    strategy: dict[str, Any]
    max_in_flight: int
    probes: tuple[Probe, ...]
    baseline: bool
    created_at: Time
    created_by: str
    channel: str | None
    start_at: Time | None
    soak_until: Time | None
    completed_at: Time | None
    abort_policy: str | None
    resume_count: int
    generation: int
    verbs: tuple[VerbInfo, ...]


class WavePreview(Struct, frozen=True, kw_only=True):
    wave: int
    label: str
    size: int
    cumulative: int
    approval: str
    soak_seconds: int
    tolerated: int
    first: tuple[str, ...]


class IncompatibleDevice(Struct, frozen=True, kw_only=True):
    device: str
    reason: str


class SupersededRollout(Struct, frozen=True, kw_only=True):
    rollout: int
    version: str
    state: str


class RolloutPreview(Struct, frozen=True, kw_only=True):
    """What creating would do; `refusals` are why it would be refused, as pointer and rule."""

    artifact: str
    version: str
    target_size: int
    waves: tuple[WavePreview, ...]
    strategy: dict[str, Any]
    max_in_flight: int
    unknown: tuple[str, ...]
    incompatible: tuple[IncompatibleDevice, ...]
    incompatible_count: int
    held: tuple[str, ...]
    held_count: int
    supersedes: tuple[SupersededRollout, ...]
    refusals: tuple[str, ...]


class AssignmentInfo(Struct, frozen=True, kw_only=True):
    device: str
    rollout: int
    artifact: str
    version: str
    wave: int
    state: str
    state_since: Time
    reason: str
    output: str
    drifted: bool
    served_at: Time | None
    last_seen_at: Time | None
    previous_version: str | None
    waiting_on: str


class WayBack(Struct, frozen=True, kw_only=True):
    """`version` null: the artifact is removed. `withdrawn`: these go further back."""

    version: str | None
    devices: int
    offline: int
    withdrawn: bool


class AbortPreview(Struct, frozen=True, kw_only=True):
    """`skipped` and `finishing` are the same for both policies; `stay` is what keep leaves, `back` what revert does."""

    skipped: dict[str, int]
    finishing: int
    stay: int
    rolled_back: int
    failed: int
    reverting: int
    back: tuple[WayBack, ...]
    revert_refused: str


class TimelineEntry(Struct, frozen=True, kw_only=True):
    at: Time
    kind: str
    detail: str
    device: str | None
    actor: str


class Timeline(Struct, frozen=True, kw_only=True):
    items: tuple[TimelineEntry, ...]


class FactInfo(Struct, frozen=True, kw_only=True):
    at: Time | None
    text: str
    detail: str
    tone: str


class ExplanationInfo(Struct, frozen=True, kw_only=True):
    """`facts` are what the answer rests on, oldest first."""

    artifact: str
    running: str | None
    answer: str
    facts: tuple[FactInfo, ...]
