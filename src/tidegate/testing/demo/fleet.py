"""Twelve real agents: each a process with its own folder, token, key, request and certificate."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tidegate.testing.live import AGENT, Api, LiveNode
from tidegate.testing.processes import Processes

PROBE = Path(__file__).with_name("probe_vad.py")
ENROLL_SECONDS = 60

#: Name and tags of each device, as an operator would give them.
FLEET: Mapping[str, Mapping[str, str]] = {
    f"{site}-{role}-{number}": {"site": site, "role": role}
    for site, role, count in (("quay", "camera", 4), ("quay", "gate", 2), ("yard", "camera", 4), ("yard", "crane", 2))
    for number in range(1, count + 1)
}


@dataclass(frozen=True, slots=True)
class Agent:
    """One device's folder and how its program is called."""

    name: str
    folder: Path

    @property
    def argv(self) -> tuple[str, ...]:
        return (*AGENT, "--config", str(self.folder / "agent.toml"))

    def prepare(self) -> None:
        """Write what the device's owner decides: where the agent lives, and the one probe it may run."""
        self.folder.mkdir(parents=True)
        argv = json.dumps([sys.executable, str(PROBE)])
        (self.folder / "agent.toml").write_text(
            f"state_dir = {json.dumps(str(self.folder / 'state'))}\n"
            f"run_dir = {json.dumps(str(self.folder / 'run'))}\n"
            f"backoff_max_seconds = 5\n\n[allow.exec.vad]\nargv = {argv}\n"
        )

    def enroll(self, node: LiveNode, token: str, root_sha256: str) -> None:
        """Raises `RuntimeError` with what the agent said when it is refused."""
        done = subprocess.run(
            [*self.argv, "enroll", "--url", node.console_url, "--token-stdin", "--ca", str(node.ca),
             "--root-sha256", root_sha256],
            input=token, capture_output=True, text=True, check=False, timeout=ENROLL_SECONDS,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{self.name} was not enrolled: {done.stderr.strip()}")

    def wipe(self) -> None:
        """What a re-flashed device is: no key, no certificate, no software, no memory of them."""
        shutil.rmtree(self.folder)
        self.prepare()

    def running(self, artifact: str) -> str:
        """SHA-256 of the model file that a workload would open now; empty when there is none."""
        current = self.folder / "state" / "models" / artifact / "current"
        files = sorted(current.glob("*.onnx")) if current.exists() else []
        return hashlib.sha256(files[0].read_bytes()).hexdigest() if files else ""

    def start(self, processes: Processes) -> None:
        processes.start(self.name, [*self.argv, "run"])


def token_for(api: Api, name: str, tags: Mapping[str, str]) -> tuple[str, str]:
    """Mint a token bound to one device; gives its secret and the trust anchor's hash from the installer command."""
    minted = api.call("POST", "/v1/tokens", {"device_name": name, "tags": dict(tags)})
    return minted["secret"], minted["installer"]["root_sha256"]
