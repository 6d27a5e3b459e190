"""Publish → visible: from the publish call to a device that has found the new version in verified metadata.

The floor in the same run is what any publisher must do: hash the same file, copy it with fsync, commit one durable row.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

import urllib3

from bench.devices import Device, enroll
from bench.table import table
from tidegate.testing.live import Api, LiveNode, initialise, serve, upload
from tidegate.testing.processes import Processes
from tidegate.trust.tuf.client import Client, Fetch, NotServed
from tidegate.trust.tuf.target import Policy

FILE_BYTES = 2_327_524  # as large as the demo's model
ROUNDS = 15
PARTS = (
    ("floor: hash, copy with fsync, one durable row", "floor"),
    ("upload over TLS, hashed, stored durably", "upload"),
    ("publish: sign, catalog, audit, one transaction", "publish"),
    ("publish → found by a device in verified metadata", "visible"),
)


def _fetch(node: LiveNode, device: Device) -> Fetch:
    pool = urllib3.PoolManager(
        ca_certs=str(node.ca), cert_file=str(device.client.certificate), key_file=str(device.client.key), retries=False
    )

    def fetch(path: str, max_bytes: int) -> bytes:
        answer = pool.request("GET", f"{node.channel_url}/repository/{path}", timeout=30)
        if answer.status == 404:
            raise NotServed(f"cannot find {path}")
        if answer.status != 200 or len(answer.data) > max_bytes:
            raise RuntimeError(f"{path}: {answer.status}, {len(answer.data)} bytes")
        return answer.data

    return fetch


def _floor(source: Path, folder: Path, database: sqlite3.Connection) -> float:
    started = time.perf_counter()
    digest = hashlib.sha256()
    with source.open("rb") as read, (folder / "copy").open("wb") as write:
        while block := read.read(1 << 20):
            digest.update(block)
            write.write(block)
        write.flush()
        os.fsync(write.fileno())
    with database:
        database.execute("INSERT INTO published VALUES (?)", (digest.hexdigest(),))
    return time.perf_counter() - started


def _publish(api: Api, client: Client, source: Path, version: str) -> dict[str, float]:
    started = time.perf_counter()
    upload_id = upload(api, source)
    uploaded = time.perf_counter()
    file = {"name": "model.onnx", "upload": upload_id}
    body = {"name": "bench", "version": version, "files": [file], "manifest": {"framework": "onnx"}}
    api.call("POST", "/v1/artifacts", body)
    published = time.perf_counter()
    client.refresh()
    client.find(f"default/bench/{version}/descriptor.json")
    visible = time.perf_counter()
    return {"upload": uploaded - started, "publish": published - uploaded, "visible": visible - uploaded}


def measure(node: LiveNode, folder: Path) -> str:
    api = node.sign_in()
    device = enroll(node, api, folder / "devices", "bench-publish")
    client = Client(folder / "trust", _fetch(node, device), Policy("default"))
    client.anchor(device.root)
    database = sqlite3.connect(folder / "floor.db")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE published (sha256 TEXT)")
    seconds: dict[str, list[float]] = {name: [] for _, name in PARTS}
    for number in range(ROUNDS):
        source = folder / f"model-{number}.onnx"
        source.write_bytes(secrets.token_bytes(FILE_BYTES))
        seconds["floor"].append(_floor(source, folder, database))
        for name, value in _publish(api, client, source, f"1.0.{number}").items():
            seconds[name].append(value)
    floor = statistics.median(seconds["floor"])
    rows = []
    for words, name in PARTS:
        middle = statistics.median(seconds[name])
        spread = f"{min(seconds[name]) * 1e3:.1f} to {max(seconds[name]) * 1e3:.1f} ms"
        rows.append((words, f"{middle * 1e3:.1f} ms", spread, f"{middle / floor:.1f} x"))
    title = f"Publishing a model of {FILE_BYTES / 1e6:.1f} MB, {ROUNDS} rounds"
    return table(title, ("part", "median", "min to max", "of the floor"), rows)


def main() -> str:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        node = initialise(folder / "node")
        with Processes(folder / "logs") as processes:
            serve(node, processes)
            return measure(node, folder)
