"""Devices on a stage: each a real agent in a folder laid out as the installer does it, and what can befall it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tidegate.testing.live import AGENT, Api, LiveNode
from tidegate.testing.processes import Processes

SECONDS = 45
#: The owner's probe: a few milliseconds, and it fails when the device is said to have trouble.
PROBE = (
    'if [ -e "$0.trouble" ]; then echo "no camera at /dev/video0" >&2; exit 1; fi; exec test -e "$TIDEGATE_ARTIFACT"'
)


def until(what: str, holds: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, f"{what}: not after {SECONDS} s"
        time.sleep(0.1)  # between two looks at a condition


@dataclass(frozen=True, slots=True)
class Device:
    name: str
    folder: Path
    processes: Processes

    @property
    def program(self) -> tuple[str, ...]:
        """The installed one where there is one, else that of this checkout."""
        installed = self.folder / "bin" / "tidegate-agent"
        return (str(installed),) if installed.exists() else (*AGENT, "--config", str(self.folder / "etc/agent.toml"))

    def image(self) -> None:
        """What its owner put on the disk: settings with one probe and one log allowed; no identity, no software."""
        (self.folder / "etc").mkdir(parents=True)
        argv = json.dumps(["/bin/sh", "-c", PROBE, str(self.folder / "camera")])
        (self.folder / "etc" / "agent.toml").write_text(
            f'state_dir = "{self.folder}/state"\nrun_dir = "{self.folder}/run"\nbackoff_max_seconds = 2\n\n'
            f"[allow.exec.check]\nargv = {argv}\n"
            f'[allow.log_sources]\ncamera = "{self.folder}/camera.log"\n'
        )

    def enroll(self, node: LiveNode, token: str, root_sha256: str) -> None:
        done = subprocess.run(
            [*self.program, "enroll", "--url", node.console_url, "--token-stdin", "--ca", str(node.ca),
             "--root-sha256", root_sha256],
            input=token, capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def install(self, command: str, token: str) -> None:
        """The command that the node printed, as it is; `sudo` is one that stays inside this device's folder."""
        sudo = self.folder / "sudo" / "sudo"
        sudo.parent.mkdir(exist_ok=True)
        sudo.write_text(f'#!/bin/sh\nexec "$@" --prefix {self.folder}\n')
        sudo.chmod(0o755)
        done = subprocess.run(
            ["bash", "-c", command], input=token, capture_output=True, text=True, check=False, timeout=60,
            cwd=self.folder, env={**os.environ, "PATH": f"{sudo.parent}:{os.environ['PATH']}"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        self.start()

    def start(self) -> None:
        self.processes.start(str(self.folder.name), [*self.program, "run"])

    def stop(self) -> None:
        self.processes.stop(str(self.folder.name))

    def wipe(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)
        self.image()

    def swap(self) -> Device:
        """Another board in its place; gives the old one, whose disk is as it was."""
        self.stop()
        old = Device(self.name, self.folder.with_name(f"old-{self.folder.name}"), self.processes)
        shutil.copytree(self.folder, old.folder, symlinks=True, ignore=shutil.ignore_patterns("run"))
        for file in (*old.folder.glob("etc/*.toml"), *old.folder.glob("bin/*")):
            file.write_text(file.read_text().replace(str(self.folder), str(old.folder)))
        shutil.rmtree(self.folder)
        self.image()
        return old

    def busy(self, yes: bool) -> None:
        """Its owner's "not now"."""
        file = self.folder / "run" / "inhibit"
        file.parent.mkdir(exist_ok=True)
        file.write_text("a shift is running\n") if yes else file.unlink()

    def trouble(self, yes: bool) -> None:
        file = self.folder / "camera.trouble"
        file.touch() if yes else file.unlink()

    def logs(self, line: str) -> None:
        with (self.folder / "camera.log").open("a") as file:
            file.write(f"{line}\n")

    def runs(self, artifact: str) -> str:
        """What a workload would open now, from the device's own disk."""
        current = self.folder / "state" / "models" / artifact / "current"
        files = list(current.glob("*.onnx")) if current.exists() else []
        return files[0].read_text().strip() if files else ""

    def has_key(self) -> bool:
        return any((self.folder / "state" / "identity").glob("*.pem"))

    def status(self) -> str:
        asked = [*self.program, "status"]
        return subprocess.run(asked, capture_output=True, text=True, check=False, timeout=SECONDS).stdout

    def online(self, api: Api) -> bool:
        found = api.call("GET", f"/v1/devices/{self.name}")
        return bool(found["device"]["presence"] == "online")
