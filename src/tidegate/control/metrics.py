"""What the node counts, in a registry of its own; docs/reference/metrics.md is written from it.

Names follow Prometheus's conventions: `tidegate_` first, base units, `_total` for what only grows, times as Unix
seconds. Labels have few values: a fleet's, a role's, a state's; never a device's, an artifact's or a person's.
What is counted over devices is set by the worker `figures`, so that a scrape costs the same for any fleet.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from tidegate import __version__
from tidegate.wire.device import ReportState

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_DATABASE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)
#: What devices ask for; anything else counts as ``other``.
CHANNEL_CALLS = ("heartbeat", "reports", "leave", "register", "renew", "logs", "repository", "other")
_CHANNEL = {
    "devices_known": ("tidegate_channel_devices_known", "Device certificates that may call, in memory."),
    "devices_heard": ("tidegate_channel_devices_heard", "Devices whose standing is in memory."),
    "heartbeats_held": ("tidegate_heartbeats_held", "Heartbeats whose answer is held until something changes."),
    "reports_waiting": ("tidegate_reports_waiting", "Batches of reports that wait to be committed."),
    "database_waiting": ("tidegate_channel_database_waiting", "Requests of devices that wait for the database."),
    "presence_unwritten": ("tidegate_channel_presence_unwritten", "Devices heard that are not yet written down."),
    "interval_factor": ("tidegate_heartbeat_interval_factor", "What the fleets' interval is multiplied by under load."),
}


# `_created` beside every counter would double them and tells what `process_start_time_seconds` tells.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """Thread-safe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        #: Of each family of ours, the names of its labels.
        self.labels: dict[str, tuple[str, ...]] = {}
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._gauge("tidegate_build_info", "Always 1; the version of the node.", "version").labels(__version__).set(1)
        self._http()
        self._device_channel()
        self._fleets()
        self._machinery()

    def _http(self) -> None:
        self.requests = self._counter(
            "tidegate_http_requests", "Requests of the console listener answered.", "listener", "method", "status"
        )
        self.request_seconds = self._histogram(
            "tidegate_http_request_duration_seconds", "Time to answer a request of the console listener.", _SECONDS
        )

    def _device_channel(self) -> None:
        self.heartbeats = self._counter(
            "tidegate_heartbeats", "Heartbeats answered; changed: with a new desired state.", "answer"
        )
        for answer in ("unchanged", "changed"):
            self.heartbeats.labels(answer)
        self.channel_requests = self._counter(
            "tidegate_channel_requests",
            "Requests of devices other than heartbeats at once from memory; refused: the device's fault, failed: ours.",
            "call",
            "outcome",
        )
        self.channel_seconds = self._histogram(
            "tidegate_channel_request_duration_seconds",
            "Time to answer them; of heartbeats it includes the time that an answer was held.",
            (*_SECONDS, 30, 60),
            "call",
        )
        self.reports = self._counter(
            "tidegate_reports_committed", "Reports committed and acknowledged, repeated ones again.", "state"
        )
        for call in CHANNEL_CALLS:
            self.channel_requests.labels(call, "answered")
            self.channel_seconds.labels(call)
        for state in typing.get_args(ReportState):
            self.reports.labels(state)
        self.leaves = self._counter("tidegate_leaves", "Requests to start applying, by the answer.", "given")
        for given in ("yes", "no"):
            self.leaves.labels(given)
        self._channel = {key: self._gauge(name, text) for key, (name, text) in _CHANNEL.items()}

    def _fleets(self) -> None:
        self.devices = self._gauge(
            "tidegate_devices", "Living devices by presence: online, offline, never seen.", "fleet", "presence"
        )
        self.devices_held = self._gauge(
            "tidegate_devices_held", "Living devices that a hold of their own or of a group keeps as they are.", "fleet"
        )
        self.devices_drifted = self._gauge(
            "tidegate_devices_drifted",
            "Living devices that run something else than a rollout left there.",
            "fleet",
        )
        self.identity_conflicts = self._gauge(
            "tidegate_devices_identity_conflict", "Living devices whose identity two machines use.", "fleet"
        )
        self.fleet_frozen = self._gauge("tidegate_fleet_frozen", "1 while the whole fleet is held.", "fleet")
        self.rollouts = self._gauge("tidegate_rollouts", "Rollouts that are not over, by state.", "fleet", "state")
        self.assignments = self._gauge(
            "tidegate_assignments", "Assignments of rollouts that are not over, by state.", "fleet", "state"
        )
        self.metadata_expiry = self._gauge(
            "tidegate_metadata_expiry_timestamp_seconds",
            "When the signed metadata of a role expire; of bins the first to.",
            "fleet",
            "role",
        )
        self.certificate_expiry = self._gauge(
            "tidegate_certificate_expiry_timestamp_seconds", "When a certificate of the node expires.", "certificate"
        )

    def _machinery(self) -> None:
        self.database_seconds = self._histogram(
            "tidegate_database_transaction_duration_seconds",
            "Time from the beginning of a transaction to its end.",
            _DATABASE_SECONDS,
            "kind",
        )
        self.database_failures = self._counter(
            "tidegate_database_transactions_failed", "Transactions that were rolled back by an error.", "kind"
        )
        for kind in ("read", "write"):
            self.database_failures.labels(kind)
        self.worker_rounds = self._counter("tidegate_worker_rounds", "Rounds of workers.", "worker", "outcome")
        self.worker_success = self._gauge(
            "tidegate_worker_last_success_timestamp_seconds",
            "When a worker last ended a round without error.",
            "worker",
        )
        self.worker_seconds = self._gauge(
            "tidegate_worker_last_round_duration_seconds", "How long a worker's last round took.", "worker"
        )
        self.worker_interval = self._gauge(
            "tidegate_worker_interval_seconds", "How often a worker looks when nothing wakes it.", "worker"
        )
        self.workers_stalled = self._gauge("tidegate_workers_stalled", "Workers that have not come round for too long.")
        self.disk = self._gauge("tidegate_disk_bytes", "The fullest disk that the node writes to: used, free.", "of")
        self.disk_state = self._gauge(
            "tidegate_disk_full", "0: uploads begin; 1: no new ones; 2: none at all, the rest is the database's."
        )

    def set_channel(self, figures: Mapping[str, int]) -> None:
        """Figures of the device channel now, by the names of `ChannelApp.figures`."""
        for name, value in figures.items():
            self._channel[name].set(value)

    def transaction(self, kind: str, seconds: float, failed: bool) -> None:
        """One transaction of the database ended."""
        self.database_seconds.labels(kind).observe(seconds)
        if failed:
            self.database_failures.labels(kind).inc()

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        self.labels[name] = labels
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        self.labels[name] = labels
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        self.labels[name] = labels
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)
