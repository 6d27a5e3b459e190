"""Fleets to look at: a real node's database filled quickly with devices in every state and rollouts in each of theirs.

What people do is done through the services, as in the program; what thousands of devices would have reported is written
as their reports leave it there, set by set. Nothing of it calls: the fleet's interval is set so that presence stays as
it was made for hours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from tidegate.control.domain.access import Scope
from tidegate.control.domain.devices import ChannelUp
from tidegate.control.services import audit, devices, holds
from tidegate.control.services.holds import HeldDevice, HeldGroup
from tidegate.control.services.node import Node
from tidegate.control.store import devices as device_store
from tidegate.control.store import engine
from tidegate.control.store import groups as group_store
from tidegate.control.store.schema import device_certificates, device_events, device_tags, group_members
from tidegate.control.store.schema import devices as device_table
from tidegate.control.store.schema import fleets as fleet_table
from tidegate.ids import DeviceId, GroupId
from tidegate.testing.fleet import catalog
from tidegate.testing.furnished import furnish
from tidegate.testing.played import Played, play

INTERVAL_SECONDS = 86_400
GROUPS = ("presses-arm64", "line-controllers", "gateways", "os-canary")
#: As long as a name may be: 63 characters.
LONG = "-of-the-second-hall-behind-the-paint-shop-on-the-northern-quay"
_BOARDS: tuple[tuple[str, str, int, list[str]], ...] = (
    ("NVIDIA Jetson Orin NX", "arm64", 16, ["nvidia-gpu"]),
    ("Raspberry Pi Compute Module 4", "arm64", 4, []),
    ("UP Squared Pro 7000", "amd64", 8, ["intel-gpu"]),
    ("phyBOARD-Pollux i.MX 8M Plus", "arm64", 2, ["npu"]),
)
_SITES = ("plant-7", "plant-8", "depot-4")


@dataclass(frozen=True, slots=True)
class Situation:
    """What to fill a node with. `failing`: every device that is given something fails at it; `furnished`: whatever else
    people make on a node is there too (people, channels, keys, logs, another fleet)."""

    size: int
    long_names: bool = False
    failing: bool = False
    furnished: bool = False
    records: int = 0  # audit records besides those of what is done here


SITUATIONS: dict[str, Situation | None] = {
    "nothing": None,
    "three": Situation(3, furnished=True),
    "hundreds": Situation(300, furnished=True),
    "long": Situation(40, long_names=True, furnished=True),
    "failing": Situation(60, failing=True, furnished=True),
    "vast": Situation(30_000, records=3_000, furnished=True),
}


def fill(node: Node, scope: Scope, wanted: Situation) -> dict[str, int]:
    """Fill a fleet that is empty; gives the rollouts made, by what they show."""
    made = _devices(node, scope, wanted)
    versions = _catalog(node, scope, wanted)
    shown = {}
    for name, played in _rollouts(wanted, versions).items():
        shown[name] = play(node, scope, played)
    if wanted.furnished:
        furnish(node, scope, made, LONG if wanted.long_names else "")
    _trouble(node, scope, wanted, made)
    with node.db.write() as tx:
        for number in range(wanted.records):
            audit.record(tx, scope, action="device.tags", subject=f"device:{made[number % len(made)][1]}", data={})
    return shown


def _name(number: int, wanted: Situation) -> str:
    kind = ("press", "gateway", "camera", "line")[number % 4]
    short = f"p{7 + number % 3}-{kind}-{number:05d}" if wanted.size > 999 else f"p{7 + number % 3}-{kind}-{number:03d}"
    return (short + LONG)[:63] if wanted.long_names else short


def _devices(node: Node, scope: Scope, wanted: Situation) -> list[tuple[DeviceId, str]]:
    """Enrolled devices with hardware, tags, groups and certificates; most of them called just now, some never."""
    with node.db.write() as tx:
        now = engine.now(tx)
        tx.execute(fleet_table.update().values(interval_seconds=INTERVAL_SECONDS))
        device_store.record_channel_up(tx, ChannelUp(now - timedelta(days=400), now))
        rows = [_device(number, wanted, scope, now) for number in range(wanted.size)]
        tx.execute(device_table.insert(), rows)
        ids = device_store.ids_by_names(tx, scope.fleet_id, {str(row["name"]) for row in rows})
        made = [(ids[str(row["name"])], str(row["name"])) for row in rows]
        tx.execute(device_tags.insert(), list(_tags(made, wanted)))
        tx.execute(device_certificates.insert(), [_certificate(one, now) for one, _ in made])
        tx.execute(device_events.insert(), [_event(scope, one, "enrolled", "with a token", now) for one, _ in made])
        _groups(tx, scope, made, wanted, now)
    return made


def _device(number: int, wanted: Situation, scope: Scope, now: datetime) -> dict[str, object]:
    board, arch, memory, accelerators = _BOARDS[number % len(_BOARDS)]
    away = {7: timedelta(days=5), 13: timedelta(days=40)}.get(number % 29)
    seen = None if number % 53 == 17 else now - (away or timedelta(seconds=number % 30))
    hardware = {
        "board": board, "arch": arch, "os": "debian", "os_version": "12.7", "kernel": "6.1.0-26", "cpu_count": 8,
        "ram_bytes": memory << 30, "disk_bytes": 64 << 30, "accelerators": accelerators, "runtimes": ["podman"],
    }  # fmt: skip
    return {
        "fleet_id": scope.fleet_id,
        "name": _name(number, wanted),
        "state": "active",
        "created_at": now - timedelta(days=90),
        "enrolled_at": now - timedelta(days=90),
        "last_seen_at": seen,
        "agent_version": "0.9.4",
        "hardware": json.dumps(hardware),
    }


def _tags(made: list[tuple[DeviceId, str]], wanted: Situation) -> Iterator[dict[str, object]]:
    for number, (one, _) in enumerate(made):
        yield {"device_id": one, "key": "site", "value": _SITES[number % 3]}
        yield {"device_id": one, "key": "line", "value": ("press", "paint", "assembly")[number % 3]}
        if wanted.long_names:
            yield {"device_id": one, "key": "maintained-by-the-crew-of", "value": "hall-2" + LONG * 2}


def _certificate(device: DeviceId, now: datetime) -> dict[str, object]:
    digest = hashlib.sha256(f"certificate {device}".encode()).hexdigest()
    return {
        "fingerprint": digest, "device_id": device, "state": "current", "public_key_sha256": digest[::-1],
        "serial": digest[:32], "not_before": now - timedelta(days=30), "not_after": now + timedelta(days=60),
        "issued_at": now - timedelta(days=30),
    }  # fmt: skip


def _event(scope: Scope, device: DeviceId, kind: str, detail: str, at: datetime) -> dict[str, object]:
    return {"fleet_id": scope.fleet_id, "device_id": device, "at": at, "kind": kind, "detail": detail}


def _groups(
    tx: Connection, scope: Scope, made: list[tuple[DeviceId, str]], wanted: Situation, now: datetime
) -> dict[str, GroupId]:
    found = {}
    for place, name in enumerate(GROUPS):
        full = (name + LONG)[:63] if wanted.long_names else name
        found[name] = group_store.insert(tx, scope.fleet_id, full, now)
        members = [one for number, (one, _) in enumerate(made) if number % len(GROUPS) == place or wanted.size < 10]
        tx.execute(group_members.insert(), [{"group_id": found[name], "device_id": one} for one in members])
    return found


def _catalog(node: Node, scope: Scope, wanted: Situation) -> dict[str, str]:
    """Several versions of several names; gives what each short name is called here."""
    called = {
        name: (name + LONG)[:100] if wanted.long_names else name
        for name in ("weld-seam-detector", "modbus-map", "line-gateway", "edge-os", "paint-scanner", "press-safety")
    }
    for name in tuple(called.values()):
        for version in ("2.2.4", "2.3.0", "2.4.1"):
            longer = f"{version}-rc.1+build.20261123.{'0123456789abcdef' * 5}" if wanted.long_names else version
            catalog(node, scope, name, longer)
            called[version] = longer
    return called


def _rollouts(wanted: Situation, called: dict[str, str]) -> dict[str, Played]:
    """One rollout for every state, and some that ended."""
    fails = wanted.failing
    good = {"failed": 0.5, "rolled_back": 0.5} if fails else {"healthy": 1.0}
    mostly = good if fails else {"healthy": 0.97, "rolled_back": 0.02, "failed": 0.01}
    busy = good if fails else {
        "healthy": 0.5, "probing": 0.1, "applying": 0.1, "downloading": 0.1, "verifying": 0.05, "assigned": 0.05,
        "rolled_back": 0.01,
    }  # fmt: skip
    bad = {"healthy": 0.3, "rolled_back": 0.3, "failed": 0.2, "probing": 0.1}
    suffix = LONG if wanted.long_names else ""

    def group(name: str) -> str:
        return (name + suffix)[:63]

    def waves(*percents: int, **others: object) -> list[dict[str, object]]:
        return [{"percent": percent, **(others if percent != percents[0] else {})} for percent in percents]

    new, old, older = called["2.4.1"], called["2.3.0"], called["2.2.4"]
    detector, gateway, modbus = called["weld-seam-detector"], called["line-gateway"], called["modbus-map"]
    system, scanner, safety = called["edge-os"], called["paint-scanner"], called["press-safety"]
    ten = waves(*range(10, 101, 10))
    return {
        "completed": Played(detector, old, None, waves(100), [good], rate="0.1"),
        "completed in ten waves": Played(gateway, old, None, ten, [mostly] * 10, rate="0.2"),
        "aborted": Played(scanner, older, group(GROUPS[0]), waves(5, 100), [good], abort="keep"),
        "reverting": Played(scanner, old, group(GROUPS[1]), waves(50, 100), [good, good], abort="revert"),
        "running": Played(detector, new, group(GROUPS[0]), waves(1, 10, 40, 100), [good, mostly, busy], rate="0.1"),
        "halted": Played(modbus, new, group(GROUPS[1]), waves(2, 25, 100), [good, bad], rate="0.05"),
        "waiting": Played(
            gateway, new, group(GROUPS[2]), waves(5, 25, 100, approval="manual"), [good, mostly], rate="0.1"
        ),
        "soaking": Played(
            system, new, group(GROUPS[3]), [{"percent": 50, "soak_seconds": 86_400}, {"percent": 100}], [good]
        ),
        "scheduled": Played(safety, new, None, waves(1, 5, 20, 50, 100), [], start_in=timedelta(hours=7)),
    }


_WHY = (
    "operator asked for it: the press is under maintenance, line 4 stands still until the crew is back",
    "spare part on its way",
)


def _trouble(node: Node, scope: Scope, wanted: Situation, made: list[tuple[DeviceId, str]]) -> None:
    """Holds of devices and a group, a conflict of identities, something decommissioned."""
    for number in range(1, min(wanted.size, 400), 11):
        until = node.clock.now() + timedelta(hours=8) if number % 2 else None
        holds.hold(scope, node, HeldDevice(made[number][1]), _WHY[number % 2], until)
    group = GROUPS[3] + (LONG if wanted.long_names else "")
    if wanted.size > 10:
        holds.hold(scope, node, HeldGroup(group[:63]), _WHY[0])
        for number in range(5, min(wanted.size, 60), 18):
            devices.decommission(scope, node, made[number][1])
    with node.db.write() as tx:
        device_store.update(tx, made[0][0], identity_conflict_at=engine.now(tx))
