"""From what the node sends to what the transaction takes up; the node is not believed, every field is checked."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tidegate.agent.transaction.model import Kind, Order, ProbePlan, Release
from tidegate.errors import Invalid
from tidegate.ids import ARTIFACT_NAME, SHA256_HEX, VERSION, checked
from tidegate.wire.device import ExecProbe, FileProbe, HttpProbe, Probe, Work

MAX_PROBES = 16
MAX_WORK_ID = 256
MAX_PATH = 1024

_PROBES: Mapping[type, str] = {ExecProbe: "name", HttpProbe: "path", FileProbe: "path"}


def order_of(work: Work) -> Order:
    """What to do, with nothing left to doubt but the bytes.

    Raises:
        Invalid: a field breaks a rule; the detail names it.
    """
    if not 0 < len(work.id) <= MAX_WORK_ID:
        raise Invalid(f"id must have 1 to {MAX_WORK_ID} characters")
    if len(work.probes) > MAX_PROBES:
        raise Invalid(f"probes must be at most {MAX_PROBES}")
    kind, artifact = Kind(work.kind), checked(ARTIFACT_NAME, work.artifact, "/artifact")
    probes = tuple(_plan(probe) for probe in work.probes)
    if kind is Kind.REMOVE:
        return Order(work.id, kind, artifact, None)
    path = work.descriptor_path or ""
    if not 0 < len(path) <= MAX_PATH:
        raise Invalid(f"descriptor_path must have 1 to {MAX_PATH} characters")
    version = checked(VERSION, work.version or "", "/version")
    digest = checked(SHA256_HEX, work.descriptor_sha256 or "", "/descriptor_sha256")
    return Order(work.id, kind, artifact, Release(version, digest), path, probes)


def work_of(order: Order) -> Work:
    """The work as a fetcher wants it; the way back from `order_of`."""
    goal = order.goal
    return Work(
        order.work,
        order.kind.value,
        order.artifact,
        None if goal is None else goal.version,
        order.descriptor_path or None,
        None if goal is None else goal.descriptor_sha256,
        tuple(probe_of(plan) for plan in order.probes),
    )


def probe_of(plan: ProbePlan) -> Probe:
    return msgspec.json.decode(plan.spec, type=Probe)  # type: ignore[no-any-return]


def _plan(probe: Probe) -> ProbePlan:
    spec = msgspec.json.encode(probe).decode()
    try:
        msgspec.json.decode(spec, type=Probe)
    except msgspec.ValidationError as error:
        raise Invalid(f"probes must be of a known shape: {error}") from error
    label = f"{type(probe).__name__.removesuffix('Probe').lower()} {getattr(probe, _PROBES[type(probe)])}"
    return ProbePlan(spec, label, probe.attempts, probe.initial_delay_seconds, probe.interval_seconds)
