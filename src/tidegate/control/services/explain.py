"""Why a device runs what it runs; what runs where."""

from __future__ import annotations

from sqlalchemy import Connection

from tidegate.control.domain.access import Scope
from tidegate.control.domain.devices import Device, DeviceRef
from tidegate.control.domain.rollouts.explain import Explanation, Fact, explanation
from tidegate.control.services.node import Node
from tidegate.control.services.work.view import load
from tidegate.control.store import devices, engine, running, work
from tidegate.control.store.running import Installed, InTheField
from tidegate.errors import NotFound

__all__ = ["Explanation", "Fact", "InTheField", "Installed", "drifted", "explain", "installed", "versions_in_the_field"]


def explain(scope: Scope, node: Node, device_name: str, artifact_name: str) -> Explanation:
    """Why the device runs what it runs of this name and nothing else, by the functions that decide.

    Raises:
        NotFound: the fleet has no such device.
    """
    scope.require("rollouts.read")
    with node.db.read() as tx:
        device = _device(tx, scope, device_name)
        ref = DeviceRef(device.id, device.name, scope.fleet_id, scope.fleet)
        view, _ = load(tx, ref, engine.now(tx))
        versions = work.versions(tx, view.withdrawn.keys())
    return explanation(view, artifact_name, {one: version.version for one, version in versions.items()})


def installed(scope: Scope, node: Node, device_name: str) -> tuple[Installed, ...]:
    """What one device runs and should run, by artifact name.

    Raises:
        NotFound: the fleet has no such device.
    """
    scope.require("devices.read")
    with node.db.read() as tx:
        found = devices.ids_by_names(tx, scope.fleet_id, [device_name])
        if device_name in found:
            return running.installed(tx, found[device_name])
        return running.installed(tx, _device(tx, scope, device_name).id)  # decommissioned, or never there


def drifted(scope: Scope, node: Node, limit: int = 50) -> tuple[Installed, ...]:
    """Where something else runs than a rollout left there, the latest first."""
    scope.require("devices.read")
    with node.db.read() as tx:
        return running.drifted(tx, scope.fleet_id, limit)


def versions_in_the_field(scope: Scope, node: Node) -> tuple[InTheField, ...]:
    """How many living devices run each version."""
    scope.require("devices.read")
    with node.db.read() as tx:
        return running.in_the_field(tx, scope.fleet_id)


def _device(tx: Connection, scope: Scope, name: str) -> Device:
    device = devices.find(tx, scope.fleet_id, name)
    if device is None:
        raise NotFound(f"cannot find device {name} in fleet {scope.fleet}")
    return device
