"""A rollout from creation to completion, with simulated devices, on both databases."""

from __future__ import annotations

from tidegate.control.domain.rollouts.model import RolloutState
from tidegate.control.services import rollouts
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import NewRollout, Target
from tidegate.testing.fleet import catalog, enroll, settle
from tidegate.testing.node import admin_scope

WAVES = {"waves": [{"percent": 10}, {"percent": 50}, {"percent": 100}]}


def test_every_device_gets_the_version_wave_after_wave(node: Node) -> None:
    scope = admin_scope(node)
    catalog(node, scope, "vad", "5")
    fleet = enroll(node, scope, [f"cam-{n}" for n in range(12)])
    made = rollouts.create_rollout(scope, node, NewRollout("vad", "5", Target(everyone=True), WAVES))
    assert made.state is RolloutState.RUNNING
    assert [wave.size for wave in made.waves] == [2, 4, 6]
    assert made.released_wave == 1
    settle(node, fleet, 8)
    done = rollouts.get_rollout(scope, node, made.id)
    assert done.state is RolloutState.COMPLETED
    assert all(device.runs == {"vad": "5"} for device in fleet)
    assert done.waiting_on == "Waiting on nothing"
