"""What somebody changes by hand on a device, though the version is the right one: shown as drift wherever drift is."""

from __future__ import annotations

from tidegate.control.domain.rollouts.model import Verb
from tidegate.control.services import explain, rollouts, work
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import NewRollout, Target
from tidegate.control.services.rollouts.planning import plan_all
from tidegate.testing.fleet import SimDevice, catalog, elapse, enroll, settle
from tidegate.testing.node import admin_scope
from tidegate.wire.device import Installed

CHANGED = "/etc/app/app.conf was changed on the device"


def says(node: Node, device: SimDevice, drift: str) -> None:
    version, sha256 = device.installed["app"]
    assert work.observe(node, device.ref, [Installed("app", version, sha256, None, drift)])


def test_a_hand_on_the_device_is_drift_with_its_words_until_it_is_put_right(node: Node) -> None:
    scope = admin_scope(node)
    catalog(node, scope, "app", "1")
    (device,) = enroll(node, scope, ["gate-1"])
    made = rollouts.create_rollout(
        scope, node, NewRollout("app", "1", Target(everyone=True), {"soak_seconds": 600, "waves": [{"percent": "100"}]})
    )
    settle(node, [device], 2)
    elapse(node, 60)
    assert explain.drifted(scope, node) == ()
    says(node, device, CHANGED)
    (row,) = explain.drifted(scope, node)
    assert (row.device, row.running_version, row.goal_version, row.drift_reason) == ("gate-1", "1", "1", CHANGED)
    told = explain.explain(scope, node, "gate-1", "app")
    assert CHANGED in told.answer
    assert any(CHANGED in fact.text for fact in told.facts)
    (assignment,) = rollouts.list_assignments(scope, node, made.id, rollouts.AssignmentFilter()).items
    assert assignment.drifted
    elapse(node, 60)
    says(node, device, "")
    assert explain.drifted(scope, node) == ()


def test_drift_by_hand_counts_as_a_failure_while_the_wave_soaks(node: Node) -> None:
    scope = admin_scope(node)
    catalog(node, scope, "app", "1")
    fleet = enroll(node, scope, ["gate-1", "gate-2"])
    waves = {"waves": [{"percent": "50"}, {"percent": "100"}], "soak_seconds": 600}
    made = rollouts.create_rollout(scope, node, NewRollout("app", "1", Target(everyone=True), waves))
    settle(node, fleet, 2)
    first = next(device for device in fleet if device.installed)
    elapse(node, 60)
    says(node, first, CHANGED)
    plan_all(node)
    assert rollouts.get_rollout(scope, node, made.id).state == "halted"
    rollouts.command_rollout(scope, node, made.id, Verb.RESUME)
