"""What the metrics say of fleets, database and workers; and that telling it costs the same for any fleet."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from tidegate.control import app
from tidegate.control.services import devices, trust
from tidegate.control.services.figures import measure
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import read
from tidegate.control.store.schema import assignments, rollouts
from tidegate.control.workers.runner import Reconciler, Runner
from tidegate.errors import Conflict, Unavailable
from tidegate.testing import fleets
from tidegate.testing.node import admin_scope

ENDED = ("completed", "aborted")


def _value(node: Node, name: str, **labels: str) -> float:
    """One sample as a scrape shows it."""
    (value,) = [
        sample.value
        for family in text_string_to_metric_families(node.metrics.render().decode())
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    return value


def _samples(node: Node) -> int:
    families = text_string_to_metric_families(node.metrics.render().decode())
    return sum(len(family.samples) for family in families)


def test_fleets_are_counted_as_people_see_them(node: Node) -> None:
    scope = admin_scope(node)
    fleets.fill(node, scope, fleets.Situation(40))
    measure(node)
    seen = devices.counts(scope, node)
    shown = {
        name: _value(node, "tidegate_devices", fleet="default", presence=name)
        for name in ("online", "offline", "never")
    }
    assert shown == {"online": seen.online, "offline": seen.offline, "never": seen.never}
    assert sum(shown.values()) == seen.total > 0
    assert _value(node, "tidegate_devices_held", fleet="default") == seen.held
    assert _value(node, "tidegate_devices_drifted", fleet="default") == seen.drifted
    assert _value(node, "tidegate_devices_identity_conflict", fleet="default") == seen.conflict
    states = read.count_states(scope, node)
    for state in ("scheduled", "running", "soaking", "waiting_for_approval", "halted"):
        assert _value(node, "tidegate_rollouts", fleet="default", state=state) == states.get(state, 0)
    with node.db.read() as tx:
        query = sa.select(assignments.c.state, sa.func.count()).join(
            rollouts, rollouts.c.id == assignments.c.rollout_id
        )
        rows = tx.execute(query.where(rollouts.c.state.not_in(ENDED)).group_by(assignments.c.state))
        counted = {state: count for state, count in rows if state != "pending"}
    assert counted
    for state, count in counted.items():
        assert _value(node, "tidegate_assignments", fleet="default", state=state) == count, state


def test_expiry_is_that_of_the_documents_and_certificates(node: Node) -> None:
    measure(node)
    status = trust.status(admin_scope(node), node)
    for role in status.roles:
        name = "tidegate_metadata_expiry_timestamp_seconds"
        assert _value(node, name, fleet="default", role=role.role) == role.expires_at.timestamp()
    for one in status.certificates:
        name = "tidegate_certificate_expiry_timestamp_seconds"
        assert _value(node, name, certificate=one.use) == one.not_after.timestamp()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_scrape_asks_the_database_nothing_and_grows_with_no_fleet(node: Node) -> None:
    measure(node)
    before = _samples(node)
    fleets.fill(node, admin_scope(node), fleets.Situation(40))
    measure(node)
    assert _samples(node) == before
    asked: list[str] = []
    node.db.observer = lambda kind, _seconds, _failed: asked.append(kind)
    assert b"tidegate_devices{" in app._measured(node, {"heartbeats_held": 3}, ["planner"])
    assert asked == []
    assert (_value(node, "tidegate_heartbeats_held"), _value(node, "tidegate_workers_stalled")) == (3, 1)


def test_transactions_are_timed_and_only_the_databases_own_trouble_counts_as_failed(node: Node) -> None:
    count, failed = (
        "tidegate_database_transaction_duration_seconds_count",
        "tidegate_database_transactions_failed_total",
    )
    began = _value(node, count, kind="write")
    with pytest.raises(Conflict), node.db.write():
        raise Conflict("cannot do that twice")
    assert _value(node, failed, kind="write") == 0
    with pytest.raises(sa.exc.DBAPIError), node.db.write() as tx:
        tx.execute(sa.text("SELECT nothing FROM nowhere"))
    assert _value(node, failed, kind="write") == 1
    assert _value(node, count, kind="write") == began + 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_workers_rounds_and_last_success_are_told(node: Node) -> None:
    rounds = threading.Semaphore(0)

    def good(_node: Node) -> None:
        rounds.release()

    def bad(_node: Node) -> None:
        rounds.release()
        raise Unavailable("cannot reach anything")

    runner = Runner(node, [Reconciler("good", 3600, good), Reconciler("bad", 3600, bad)])
    started = node.clock.now().timestamp()
    runner.start()
    assert rounds.acquire(timeout=10)
    assert rounds.acquire(timeout=10)
    assert runner.stop() == []
    assert _value(node, "tidegate_worker_rounds_total", worker="good", outcome="done") == 1
    assert _value(node, "tidegate_worker_rounds_total", worker="bad", outcome="failed") == 1
    assert _value(node, "tidegate_worker_interval_seconds", worker="bad") == 3600
    assert _value(node, "tidegate_worker_last_success_timestamp_seconds", worker="good") >= started
    with pytest.raises(ValueError, match="not enough values"):
        _value(node, "tidegate_worker_last_success_timestamp_seconds", worker="bad")
