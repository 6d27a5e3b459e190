"""A real node and a real agent, each in processes of its own, over the real installer: the whole loop on one device."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidegate.testing import live
from tidegate.testing.processes import Processes

CHECK = """
import os, sys
from pathlib import Path
model = next(Path(os.environ["TIDEGATE_ARTIFACT"]).glob("*.onnx"))
print("found", model.read_bytes()[:4])
sys.exit(0 if model.read_bytes().startswith(b"good") else 3)
"""
PROBE = {"kind": "exec", "name": "content", "timeout_seconds": 20, "attempts": 2, "interval_seconds": 0}


def until(look: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """What `look` gives as soon as it is true; the API has no way to be told."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)
    return found


def settings(prefix: Path) -> None:
    """The device's owner writes the agent's settings before installing it."""
    check = prefix / "check.py"
    check.write_text(CHECK)
    (prefix / "etc").mkdir()
    (prefix / "etc/agent.toml").write_text(
        f'state_dir = "{prefix}/state"\nrun_dir = "{prefix}/run"\n'
        f'[allow.exec.content]\nargv = ["{sys.executable}", "{check}"]\n'
    )


def install(command: str, token: str, prefix: Path) -> None:
    """Run the printed command as a person without root does: the same, with a prefix."""
    python = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    more = f" --prefix {shlex.quote(str(prefix))} --python {shlex.quote(str(python))}"
    done = subprocess.run(
        ["sh", "-c", command.replace("sudo ", "") + more],
        input=f"{token}\n", capture_output=True, text=True, timeout=100, check=False, cwd=prefix,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def roll_out(api: live.Api, version: str) -> int:
    target = {"devices": ["cam-7"]}
    body = {"artifact": "vad", "version": version, "target": target, "probes": [PROBE]}
    return int(api.call("POST", "/v1/rollouts", body)["id"])


@pytest.mark.slow
def test_one_device_enrolls_installs_and_takes_a_bad_version_back_by_itself(tmp_path: Path) -> None:
    prefix = tmp_path / "device"
    prefix.mkdir()
    settings(prefix)
    with live.running(tmp_path, interval_seconds=2) as node, Processes(tmp_path / "device-logs") as processes:
        api = node.sign_in()
        minted = api.call("POST", "/v1/tokens", {"device_name": "cam-7"})
        install(minted["installer"]["command"], minted["secret"], prefix)
        agent = [str(prefix / "bin/tidegate-agent")]
        processes.start("agent", [*agent, "run"])

        for version, content in (("1", b"good" * 50_000), ("2", b"bad!" * 50_000)):
            model = tmp_path / f"model-{version}.onnx"
            model.write_bytes(content)
            live.publish(api, "vad", version, model)
        first = roll_out(api, "1")
        until(lambda: api.call("GET", f"/v1/rollouts/{first}")["state"] == "completed", processes.tail("agent"))
        second = roll_out(api, "2")
        halted = until(
            lambda: (found := api.call("GET", f"/v1/rollouts/{second}"))["state"] == "halted" and found, "halt itself"
        )
        assert halted
        current = prefix / "state/models/vad/current"
        assert next(current.glob("*.onnx")).read_bytes().startswith(b"good")
        said = json.loads(subprocess.run([*agent, "status", "--json"], capture_output=True, check=True).stdout)
        assert [(item["artifact"], item["version"]) for item in said["installed"]] == [("vad", "1")]
        assert said["connection"] == "connected"
        devices = api.call("GET", f"/v1/rollouts/{second}/assignments")["items"]
        assert [one["state"] for one in devices] == ["rolled_back"]
        assert re.search("content", json.dumps(devices))
        processes.stop("agent")
        for path in prefix.rglob("*"):
            if path.is_file() and path.stat().st_size < 1_000_000:
                assert minted["secret"].encode() not in path.read_bytes(), path
