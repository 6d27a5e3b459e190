"""A real node in processes of its own, and a client of its API: for the demo, benchmarks and whole-program tests."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import urllib3

from tidegate.testing.ports import free_ports
from tidegate.testing.processes import Processes

TIDEGATE = (sys.executable, "-m", "tidegate.cli.main")
AGENT = (sys.executable, "-m", "tidegate.agent.run")
READY_SECONDS = 60


class ApiError(Exception):
    """The node answered with a problem."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('type', '')}: {problem.get('detail', '')} {problem.get('errors', '')}")
        self.status = status
        self.problem = problem


class Api:
    """The operator API over verified TLS, as one signed-in person."""

    def __init__(self, url: str, ca: Path, secret: str = "") -> None:
        self.url = url
        self.ca = ca
        self.secret = secret
        self._pool = urllib3.PoolManager(ca_certs=str(ca), timeout=urllib3.Timeout(connect=5, read=60), retries=False)
        self._headers = {"authorization": f"Bearer {secret}"} if secret else {}

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **query: str | int,
    ) -> Any:
        """The decoded answer. Raises `ApiError` on a problem, urllib3's errors when the node is away."""
        sent = {**self._headers, "content-type": "application/json", **(headers or {})}
        data = raw if raw is not None else (msgspec.json.encode(body) if body is not None else None)
        target = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        got = self._pool.request(method, target, body=data, headers=sent)
        if got.status >= 400:
            raise ApiError(got.status, _problem(got.data))
        return msgspec.json.decode(got.data) if got.data else None


def _problem(data: bytes) -> Mapping[str, Any]:
    try:
        return dict(json.loads(data))
    except ValueError:
        return {"detail": data[:200].decode(errors="replace")}


@dataclass(frozen=True, slots=True)
class LiveNode:
    """Where a running node is, and how its first administrator signs in."""

    data_dir: Path
    console_url: str
    channel_url: str
    metrics_url: str
    ca: Path
    admin: str
    password: str

    def sign_in(self) -> Api:
        session = Api(self.console_url, self.ca).call(
            "POST", "/v1/sessions", {"name": self.admin, "password": self.password}
        )
        return Api(self.console_url, self.ca, session["secret"])


def initialise(data_dir: Path, **settings: str | int) -> LiveNode:
    """`tidegate init` with free ports; what it printed is read, so the password is the one it generated."""
    console, device, metrics = free_ports(3)
    values = {
        "console_bind": f"127.0.0.1:{console}",
        "device_bind": f"127.0.0.1:{device}",
        "metrics_bind": f"127.0.0.1:{metrics}",
        **settings,
    }
    options = [part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    made = subprocess.run(
        [*TIDEGATE, "--json", "init", "--data-dir", str(data_dir), *options],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=READY_SECONDS,
    )  # fmt: skip
    if made.returncode != 0:
        raise RuntimeError(f"tidegate init failed with {made.returncode}: {made.stderr}")
    said = json.loads(made.stdout)
    return LiveNode(
        data_dir, f"https://127.0.0.1:{console}", f"https://127.0.0.1:{device}", f"http://127.0.0.1:{metrics}",
        Path(said["server_ca"]), said["admin"], said["password"],
    )  # fmt: skip


def serve(node: LiveNode, processes: Processes, name: str = "node") -> None:
    """Start `tidegate serve` and return when it is ready."""
    processes.start(name, [*TIDEGATE, "serve", "--config", str(node.data_dir / "tidegate.toml")])
    await_ready(node, processes, name)


def await_ready(node: LiveNode, processes: Processes, name: str = "node") -> None:
    pool = urllib3.PoolManager(ca_certs=str(node.ca), timeout=2, retries=False)
    until = time.monotonic() + READY_SECONDS
    while True:
        ended = processes.exit_code(name)
        if ended is not None:
            raise RuntimeError(f"the node ended with {ended}:\n{processes.tail(name)}")
        try:
            if pool.request("GET", f"{node.console_url}/readyz").status == 200:
                return
        except urllib3.exceptions.HTTPError as error:
            if time.monotonic() > until:
                raise RuntimeError(f"the node is not ready: {error}\n{processes.tail(name)}") from error
        if time.monotonic() > until:
            raise RuntimeError(f"the node is not ready\n{processes.tail(name)}")
        time.sleep(0.1)  # between two looks at a condition


@contextmanager
def running(folder: Path, **settings: str | int) -> Iterator[LiveNode]:
    """A node of its own below `folder`, stopped at the end."""
    node = initialise(folder / "node", **settings)
    with Processes(folder / "logs") as processes:
        serve(node, processes)
        yield node


def upload(api: Api, path: Path, chunk_bytes: int = 4 << 20) -> str:
    """Upload one file whole; gives the upload's id."""
    upload_id = str(api.call("POST", "/v1/uploads", {"file_name": path.name, "length": path.stat().st_size})["id"])
    offset = 0
    with path.open("rb") as file:
        while chunk := file.read(chunk_bytes):
            headers = {"content-type": "application/octet-stream"}
            api.call("PATCH", f"/v1/uploads/{upload_id}", raw=chunk, headers=headers, offset=offset)
            offset += len(chunk)
    return upload_id


def publish(api: Api, name: str, version: str, path: Path, manifest: Mapping[str, Any] | None = None) -> Any:
    """Upload and publish one model."""
    file = {"name": path.name, "upload": upload(api, path)}
    body = {"name": name, "version": version, "files": [file], "manifest": manifest or {"framework": "onnx"}}
    return api.call("POST", "/v1/artifacts", body)
