"""What is counted over devices and read from signed documents, for the metrics: once in a while, never in a scrape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from prometheus_client import Gauge

from tidegate.control.domain.access import system_scope
from tidegate.control.domain.fleets import Fleet
from tidegate.control.domain.rollouts.model import ENDED, AssignmentState, RolloutState
from tidegate.control.services import devices, trust
from tidegate.control.services.node import Node
from tidegate.control.store import figures, fleets, holds
from tidegate.errors import NotFound
from tidegate.ids import FleetId

_OPEN = [state for state in RolloutState if state not in ENDED]


def measure(node: Node) -> None:
    """Set the gauges of all fleets; one pass over each fleet's devices."""
    with node.db.read() as tx:
        known = fleets.every(tx)
        rollouts = figures.open_rollouts(tx)
        assignments = figures.open_assignments(tx)
        frozen = {fleet.id for fleet in known if holds.freeze(tx, fleet.id) is not None}
    metrics = node.metrics
    for fleet in known:
        _states(metrics.rollouts, fleet, _OPEN, rollouts)
        _states(metrics.assignments, fleet, AssignmentState, assignments)
        metrics.fleet_frozen.labels(fleet.name).set(fleet.id in frozen)
        _devices(node, fleet)
        _expiries(node, fleet)


def _states(gauge: Gauge, fleet: Fleet, states: Iterable[StrEnum], counts: Mapping[tuple[FleetId, str], int]) -> None:
    for state in states:
        gauge.labels(fleet.name, state.value).set(counts.get((fleet.id, state.value), 0))


def _devices(node: Node, fleet: Fleet) -> None:
    counts = devices.counts(system_scope("figures", fleet.id, fleet.name), node)
    metrics = node.metrics
    for presence in ("online", "offline", "never"):
        metrics.devices.labels(fleet.name, presence).set(getattr(counts, presence))
    metrics.devices_held.labels(fleet.name).set(counts.held)
    metrics.devices_drifted.labels(fleet.name).set(counts.drifted)
    metrics.identity_conflicts.labels(fleet.name).set(counts.conflict)


def _expiries(node: Node, fleet: Fleet) -> None:
    try:
        status = trust.status(system_scope("figures", fleet.id, fleet.name), node)
    except NotFound:  # a fleet without a trust domain signs nothing that could expire
        return
    for role in status.roles:
        _time(node.metrics.metadata_expiry.labels(fleet.name, role.role), role.expires_at)
    for certificate in status.certificates:
        _time(node.metrics.certificate_expiry.labels(certificate.use), certificate.not_after)


def _time(gauge: Gauge, at: datetime) -> None:
    gauge.set(at.timestamp())
