"""What people keep on a node besides devices and rollouts: versions with SBOMs, channels, accounts, keys, logs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from datetime import timedelta

from tidegate.control.domain.access import EVERY_FLEET, Grant, Scope
from tidegate.control.domain.devices import DeviceRef
from tidegate.control.services import (
    api_keys,
    artifacts,
    channels,
    fleets,
    groups,
    logs,
    people,
    registration,
    roles,
    sboms,
    tokens,
    uploads,
)
from tidegate.control.services.node import Node
from tidegate.control.services.people import NamedGrant
from tidegate.control.services.tokens import TokenTerms
from tidegate.control.store import engine
from tidegate.control.store import people as people_store
from tidegate.ids import DeviceId
from tidegate.wire.config import ConfigOptions, UnitReload
from tidegate.wire.descriptor import ModelManifest
from tidegate.wire.device import HardwareProfile, Register
from tidegate.wire.operator.artifacts import NewFile, PublishArtifact

PASSWORD = "correct horse battery staple"  # noqa: S105 - of a node that lives as long as the walk
SELECTOR = 'arch == "arm64" and ram_bytes >= 8GiB and tags.site in ("plant-7", "plant-8")'
SELECTED = "arm64-with-8-gib"
#: An operator who may only look, and one whom an OpenID provider vouches for.
VIEWER, SIGNED_ON = "night-desk", "plant-7-desk"
MODEL, CONFIG = "surface-inspector", "opc-endpoints"
LICENSES = ("Apache-2.0", "MIT", "BSD-3-Clause", "LGPL-2.1-or-later", "")


def furnish(node: Node, scope: Scope, devices: Sequence[tuple[DeviceId, str]], longer: str) -> None:
    """Everything through the services, as people do it; `longer` is put behind names that may be long."""
    _publish(node, scope, longer)
    _channels(node, scope, (MODEL + longer)[:100])
    _people(node, scope, longer)
    groups.create(scope, node, (SELECTED + longer)[:63], selector=SELECTOR)
    for terms in (TokenTerms(uses=40, tags={"site": "plant-8"}), TokenTerms(device_name=devices[0][1])):
        tokens.mint(scope, node, terms)
    fleets.create_fleet(scope, node, name=("harbour-south" + longer)[:63].rstrip("-"), interval_seconds=300)
    uploads.create(scope, node, "weld-seam-detector-2.5.0.onnx", 412 << 20)
    _logs(node, scope, devices[0])


def _upload(node: Node, scope: Scope, name: str, content: bytes) -> str:
    return uploads.upload_stream(scope, node, name, len(content), [content]).id


def _publish(node: Node, scope: Scope, longer: str) -> None:
    name = (MODEL + longer)[:100]
    for version, recall, count in (("3.1.0", 0.881, 180), ("3.2.0", 0.914, 212)):
        manifest = ModelManifest(
            framework="onnx",
            input={"image": [1, 3, 512, 512], "dtype": "float16"},
            metrics={"recall": recall, "precision": 0.942, "latency_ms": 18.4},
            license="Apache-2.0",
            description="Finds scratches and pores on painted sheet; trained on plant-7 and plant-8, all three lines.",
        )
        file = NewFile(name="model.onnx", upload=_upload(node, scope, "model.onnx", version.encode() * 90_000))
        artifacts.publish(
            scope, node,
            PublishArtifact(
                name=name, version=version, files=(file,), manifest=manifest,
                target_hardware='arch == "arm64" and ram_bytes >= 8GiB',
            ),
        )  # fmt: skip
        sboms.attach(scope, node, name, version, _upload(node, scope, "bom.json", _bom(count)))
    while sboms.check_next(node):
        pass
    file = NewFile(name="endpoints.yaml", upload=_upload(node, scope, "endpoints.yaml", b"endpoints: []\n" * 40))
    options = ConfigOptions(
        destination="/etc/opc/endpoints.yaml", mode="0640", reload=UnitReload(unit="opc-bridge.service")
    )
    request = PublishArtifact(name=CONFIG, version="2026.11.2", kind="config", files=(file,), config=options)
    artifacts.publish(scope, node, request)


def _bom(count: int) -> bytes:
    parts = []
    for number in range(count):
        license_ = LICENSES[number % len(LICENSES)]
        parts.append(
            {
                "type": "library", "name": f"component-{number:03d}", "version": f"{number % 7}.{number % 13}.0",
                "purl": f"pkg:pypi/component-{number:03d}@{number % 7}.{number % 13}.0",
                **({"licenses": [{"license": {"id": license_}}]} if license_ else {}),
            }
        )  # fmt: skip
    return json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": parts}).encode()


def _channels(node: Node, scope: Scope, name: str) -> None:
    for channel, version, reason in (
        ("stable", "3.1.0", "passed acceptance on line 4"),
        ("canary", "3.1.0", "first try"),
        ("canary", "3.2.0", "better recall on matt paint"),
        ("canary", "3.1.0", "latency above 20 ms on plant-8, back until it is understood"),
        ("canary", "3.2.0", "the camera's exposure was it"),
    ):
        channels.move(scope, node, name, channel, version, reason)


def _people(node: Node, scope: Scope, longer: str) -> None:
    own = ("release-crew" + longer)[:63]
    allowed = ("devices.read", "rollouts.read", "rollouts.write", "artifacts.read", "artifacts.publish", "audit.read")
    roles.create_role(
        scope, node, name=own, description="Publishes and rolls out; approves nothing", permissions=allowed
    )
    for name, role, fleet in (
        (VIEWER, "viewer", scope.fleet),
        ("shift-lead", "approver", scope.fleet),
        (("release-desk" + longer)[:63], own, scope.fleet),
        ("former-desk", "operator", "*"),
    ):
        people.create_operator(scope, node, name=name, roles=[NamedGrant(role, fleet)], password=PASSWORD)
    people.disable_operator(scope, node, "former-desk")
    with node.db.write() as tx:
        issuer = "https://login.harbour.example/realms/plants"
        made = people_store.insert_operator(tx, SIGNED_ON, "", engine.now(tx), sign_on=(issuer, "6f1d-plant-7-desk"))
        people_store.replace_grants(tx, made, [Grant("operator", scope.fleet_id), Grant("viewer", EVERY_FLEET)])
    api_keys.create_api_key(scope, node, name="build-server", role="operator", every_fleet=False, expires_days=90)
    api_keys.create_api_key(scope, node, name="dashboard", role="viewer", every_fleet=True, expires_days=None)
    gone, _ = api_keys.create_api_key(scope, node, name="old-build", role="operator", every_fleet=False, expires_days=1)
    api_keys.revoke_api_key(scope, node, gone.id)


def _logs(node: Node, scope: Scope, device: tuple[DeviceId, str]) -> None:
    """One log that came, one that was refused, one that is waited for."""
    ref = DeviceRef(device[0], device[1], scope.fleet_id, scope.fleet)
    profile = HardwareProfile(
        board="NVIDIA Jetson Orin NX", arch="arm64", os="debian", os_version="12.7", cpu_count=8, ram_bytes=16 << 30
    )
    registration.register(node, ref, Register(profile, "0.9.4", log_sources=("agent", "inspector", "kernel")))
    came, refused = (logs.ask(scope, node, device[1], source, 65_536) for source in ("agent", "kernel"))
    at = node.clock.now()
    lines = "".join(
        f"{(at + timedelta(seconds=step)).isoformat(timespec='seconds')} tidegate-agent[612]: heartbeat answered, "
        f"nothing new, next in 30 s; report {step} acknowledged\n"
        for step in range(120)
    )
    logs.received(node, ref, came.id, gzip.compress(lines.encode()))
    logs.refused(node, ref, refused.id, "cannot read the log kernel: permission denied")
    logs.ask(scope, node, device[1], "inspector", 65_536)
