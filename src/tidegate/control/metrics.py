"""What the node counts, in a registry of its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """Thread-safe. Labels have few values: never a device's, a path's or an operator's name."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "tidegate_http_requests", "Requests answered.", ["listener", "method", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "tidegate_http_request_seconds",
            "Time to answer a request of the console listener.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self.registry,
        )
        self.heartbeats = Counter(
            "tidegate_heartbeats", "Heartbeats answered.", ["answer"], registry=self.registry
        )  # unchanged, changed
        self.channel = Gauge(
            "tidegate_channel", "Figures of the device channel now.", ["figure"], registry=self.registry
        )
        self.reports = Counter("tidegate_reports", "Reports committed and acknowledged.", registry=self.registry)
        self.leaves = Counter(
            "tidegate_leaves", "Requests to start applying.", ["given"], registry=self.registry
        )  # yes, no
        self.rollouts = Gauge("tidegate_rollouts", "Rollouts by state.", ["state"], registry=self.registry)
        self.disk = Gauge(
            "tidegate_disk_bytes", "The fullest disk that the node writes to.", ["of"], registry=self.registry
        )  # used, free
        self.disk_state = Gauge(
            "tidegate_disk_full",
            "0: uploads begin; 1: no new ones; 2: none at all, the rest is the database's.",
            registry=self.registry,
        )
        self.workers_stalled = Gauge(
            "tidegate_workers_stalled", "Reconcilers that have not come round for too long.", registry=self.registry
        )

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)
