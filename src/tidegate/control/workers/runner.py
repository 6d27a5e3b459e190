"""Runs the reconcilers: each in a thread of its own, by its timer and when something it cares for changes.

A reconciler takes no input: it looks at the database, does what is due, and is safe to run again. A change only wakes
it early; a lost wake-up costs one interval. An error is logged and the next round comes, so a broken database stops
nothing for good.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from tidegate.control.problems import understood
from tidegate.control.services.hub import Change, ChangeKind
from tidegate.control.services.node import Node

log = structlog.get_logger()

#: Changes that come this close together are one round.
GATHER_SECONDS = 0.02
#: A round that takes longer than this, on top of the interval, makes the node not ready.
STALLED_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Reconciler:
    """`run` does what is due now; `wakes_on` are the changes after which it should look at once."""

    name: str
    interval_seconds: float
    run: Callable[[Node], None]
    wakes_on: frozenset[ChangeKind] = frozenset()


class _Worker(threading.Thread):
    def __init__(self, node: Node, reconciler: Reconciler) -> None:
        super().__init__(name=f"worker-{reconciler.name}", daemon=True)
        self.reconciler = reconciler
        self._node = node
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._last_round = node.clock.monotonic()

    def run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            self._round()
            self._last_round = self._node.clock.monotonic()
            if self._wake.wait(self.reconciler.interval_seconds):
                self._stopping.wait(GATHER_SECONDS)

    def _round(self) -> None:
        metrics, name, began = self._node.metrics, self.reconciler.name, self._node.clock.monotonic()
        try:
            self.reconciler.run(self._node)
        except Exception as error:  # noqa: BLE001 - the loop outlives every error, each of which is logged
            metrics.worker_rounds.labels(name, "failed").inc()
            log.warning("worker round failed", worker=name, error=understood(error).detail)
        else:
            metrics.worker_rounds.labels(name, "done").inc()
            metrics.worker_success.labels(name).set(self._node.clock.now().timestamp())
        metrics.worker_seconds.labels(name).set(self._node.clock.monotonic() - began)

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    def stalled(self) -> bool:
        late = self._node.clock.monotonic() - self._last_round
        return not self.is_alive() or late > self.reconciler.interval_seconds + STALLED_SECONDS


class Runner:
    """All reconcilers of one node."""

    def __init__(self, node: Node, reconcilers: Sequence[Reconciler]) -> None:
        self._node = node
        self._workers = [_Worker(node, reconciler) for reconciler in reconcilers]
        for reconciler in reconcilers:
            node.metrics.worker_interval.labels(reconciler.name).set(reconciler.interval_seconds)
            for outcome in ("done", "failed"):
                node.metrics.worker_rounds.labels(reconciler.name, outcome)
        self._unsubscribe: Callable[[], None] | None = None

    def start(self) -> None:
        self._unsubscribe = self._node.hub.subscribe(self._changed)
        for worker in self._workers:
            worker.start()

    def stop(self, timeout_seconds: float = 10.0) -> list[str]:
        """Let every round under way finish; gives the names of those that did not within the time."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        for worker in self._workers:
            worker.stop()
        deadline = self._node.clock.monotonic() + timeout_seconds
        for worker in self._workers:
            if worker.is_alive():
                worker.join(max(0.0, deadline - self._node.clock.monotonic()))
        return [worker.reconciler.name for worker in self._workers if worker.is_alive()]

    def stalled(self) -> list[str]:
        """The reconcilers that have not come round for too long."""
        return [worker.reconciler.name for worker in self._workers if worker.stalled()]

    def _changed(self, change: Change) -> None:
        for worker in self._workers:
            if change.kind in worker.reconciler.wakes_on:
                worker.wake()
