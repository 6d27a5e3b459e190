"""What a held heartbeat costs: CPU of the node per heartbeat that waits a second, and memory per device that is held.

The peer in the same run is the same number of devices asking without waiting, from the same node.
"""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

import msgspec

from bench import cpu
from bench.devices import Device, enroll
from bench.heartbeat import request
from bench.load import Client, run
from bench.table import table
from tidegate.control.settings import split_bind
from tidegate.testing.live import LiveNode, initialise, serve
from tidegate.testing.processes import Processes
from tidegate.wire.device import Heartbeat

DEVICES = 300
ROUNDS = 12


def _client(node: LiveNode, device: Device, wait_seconds: int) -> Client:
    installation = secrets.token_hex(16)
    first = device.heartbeat(node, request("/v1/device/heartbeat", _beat(installation, "", 0)))
    body = _beat(installation, first["desired_digest"], wait_seconds)
    return Client(device.client.certificate, device.client.key, request("/v1/device/heartbeat", body))


def _beat(installation: str, seen: str, wait_seconds: int) -> bytes:
    return msgspec.json.encode(Heartbeat(installation=installation, seen=seen, wait_seconds=wait_seconds))


def measure(node: LiveNode, processes: Processes, folder: Path) -> str:
    api = node.sign_in()
    port = split_bind(node.channel_url.removeprefix("https://"))[1]
    pid = processes.pid("node")
    devices = [enroll(node, api, folder / "devices", f"bench-{number}") for number in range(DEVICES)]
    rows = []
    for words, wait_seconds in (("answered at once", 0), ("held for a second", 1)):
        clients = [_client(node, device, wait_seconds) for device in devices]
        run("127.0.0.1", port, node.ca, clients, DEVICES)  # connections and caches are warm from here on
        before, memory = cpu.seconds([pid]), cpu.resident_bytes(pid)
        result = run("127.0.0.1", port, node.ca, clients, DEVICES * ROUNDS)
        spent = (cpu.seconds([pid]) - before) / result.requests
        grown = max(0, cpu.resident_bytes(pid) - memory) / DEVICES
        kib = f"{grown / 1024:.1f} KiB"
        rows.append((words, f"{spent * 1e6:.0f} µs", f"{result.wall_seconds:.1f} s", kib, str(result.statuses)))
    rows.append(("resident, whole node", f"{cpu.resident_bytes(pid) / 2**20:.0f} MiB", "", "", ""))
    title = f"Heartbeats of {DEVICES} devices, {ROUNDS} each; their full handshakes and the node's idle work included"
    return table(title, ("", "CPU per heartbeat", "wall", "growth per device", "statuses"), rows)


def main() -> str:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        node = initialise(folder / "node", interval_seconds=60)
        with Processes(folder / "logs") as processes:
            serve(node, processes)
            return measure(node, processes, folder)
