"""A real node and a real agent, each in processes of its own, over the real installer: the whole loop on one device."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
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


def settings(prefix: Path, python: Path) -> None:
    """The device's owner writes the agent's settings before installing it."""
    check = prefix / "check.py"
    check.write_text(CHECK)
    (prefix / "etc").mkdir()
    (prefix / "app.log").write_text("camera started\n")
    (prefix / "etc/agent.toml").write_text(
        f'state_dir = "{prefix}/state"\nrun_dir = "{prefix}/run"\n'
        f'[allow.exec.content]\nargv = ["{python}", "{check}"]\n'
        f'[allow.log_sources]\napp = "{prefix}/app.log"\n'
    )


@dataclass(frozen=True)
class Person:
    """Whoever installs: never root. `python` is one that they can run."""

    python: Path
    user: int | None

    def run(self, command: list[str], stdin: str = "", *, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=100, check=False, cwd=cwd or "/",
            user=self.user, group=self.user, extra_groups=None if self.user is None else [],
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        )  # fmt: skip


def somebody() -> Person:
    """The one who runs the tests; for root, a user without rights where the system's Python fits the program."""
    own = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    system = Path("/usr/bin/python3")
    fits = [str(system), "-c", "import sys; sys.exit(sys.implementation.cache_tag != sys.argv[1])"]
    nobody = os.geteuid() == 0 and system.exists()
    if nobody and subprocess.run([*fits, str(sys.implementation.cache_tag)], check=False).returncode == 0:
        return Person(system, 65534)
    return Person(own, None)


@pytest.fixture
def prefix() -> Iterator[Path]:
    """A folder that belongs to the person, below one that everybody may pass."""
    folder = Path(tempfile.mkdtemp(prefix="tidegate-device-"))
    person = somebody()
    settings(folder, person.python)
    folder.chmod(0o755)
    if person.user is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, person.user, person.user)
    yield folder
    shutil.rmtree(folder)


def install(command: str, token: str, prefix: Path) -> None:
    """Run the printed command as a person without root does: the same, with a prefix."""
    person = somebody()
    more = f" --prefix {shlex.quote(str(prefix))} --python {shlex.quote(str(person.python))}"
    done = person.run(["sh", "-c", command.replace("sudo ", "") + more], f"{token}\n", cwd=prefix)
    assert done.returncode == 0, done.stderr
    assert "start it yourself" in done.stderr


def _ended(request: dict[str, Any]) -> dict[str, Any] | None:
    return None if request["state"] == "waiting" else request


def roll_out(api: live.Api, version: str) -> int:
    target = {"devices": ["cam-7"]}
    body = {"artifact": "vad", "version": version, "target": target, "probes": [PROBE]}
    return int(api.call("POST", "/v1/rollouts", body)["id"])


@pytest.mark.slow
def test_one_device_from_the_printed_command_to_its_decommissioning(tmp_path: Path, prefix: Path) -> None:
    """Installs a good version, takes a bad one back by itself, is upgraded, says how it stands, and ends for good."""
    with live.running(tmp_path, interval_seconds=2) as node, Processes(tmp_path / "device-logs") as processes:
        api = node.sign_in()
        minted = api.call("POST", "/v1/tokens", {"device_name": "cam-7"})
        install(minted["installer"]["command"], minted["secret"], prefix)
        person, agent = somebody(), str(prefix / "bin/tidegate-agent")
        as_them = [] if person.user is None else ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        processes.start("agent", [*as_them, agent, "run"])

        for version, content in (("1", b"good" * 50_000), ("2", b"bad!" * 50_000)):
            model = tmp_path / f"model-{version}.onnx"
            model.write_bytes(content)
            live.publish(api, "vad", version, model)
        first = roll_out(api, "1")
        until(lambda: api.call("GET", f"/v1/rollouts/{first}")["state"] == "completed", processes.tail("agent"))
        second = roll_out(api, "2")
        until(lambda: api.call("GET", f"/v1/rollouts/{second}")["state"] == "halted", "halt itself")
        assert next((prefix / "state/models/vad/current").glob("*.onnx")).read_bytes().startswith(b"good")
        devices = api.call("GET", f"/v1/rollouts/{second}/assignments")["items"]
        assert [one["state"] for one in devices] == ["rolled_back"]
        assert "content" in json.dumps(devices)
        with closing(sqlite3.connect(f"file:{node.data_dir}/tidegate.db?mode=ro", uri=True)) as database:
            kinds = [kind for (kind,) in database.execute("SELECT kind || ' ' || detail FROM device_events")]
        assert kinds
        assert not any("without leave" in kind for kind in kinds), "a report came after the leave that it gives back"

        device = api.call("GET", "/v1/devices/cam-7")
        assert device["log_sources"] == ["app"]
        for source, state in (("app", "received"), ("kernel", "refused")):
            asked = api.call("POST", "/v1/devices/cam-7/logs", {"source": source})["id"]
            path = f"/v1/devices/cam-7/logs/{asked}"
            ended = until(lambda path=path: _ended(api.call("GET", path)), processes.tail("agent"))
            assert ended["state"] == state, ended
        assert "allowlist has no log source" in ended["reason"]
        key_file = tmp_path / "admin.session"
        key_file.write_text(str(api.secret))
        pulled = subprocess.run(
            [*live.TIDEGATE, "--url", node.console_url, "--ca", str(node.ca), "--key-file", str(key_file),
             "device", "logs", "cam-7", "app"],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert (pulled.stdout, pulled.returncode) == ("camera started\n", 0), pulled.stderr
        said = processes.tail("agent")
        for line in ("connected to", "install of vad, goal 1: healthy", "install of vad, goal 2: rolled_back: "):
            assert line in said

        key = (prefix / "state/identity/current.pem").read_bytes()
        install(minted["installer"]["command"], "", prefix)
        assert (prefix / "state/identity/current.pem").read_bytes() == key
        said = json.loads(person.run([agent, "status", "--json"]).stdout)
        assert [(item["artifact"], item["version"]) for item in said["installed"]] == [("vad", "1")]
        assert (said["running"], said["connection"], said["device"]) == (True, "connected", "cam-7")

        api.call("POST", "/v1/devices/cam-7/decommission", {"confirm": "cam-7"})
        assert until(lambda: processes.exit_code("agent"), "the agent ends") == 78
        assert list((prefix / "state/identity").glob("*.pem")) == []
        assert "decommissioned" in person.run([agent, "status"]).stdout
        assert person.run([agent, "run"]).returncode == 78
        for path in prefix.rglob("*"):
            if path.is_file() and path.stat().st_size < 1_000_000:
                assert minted["secret"].encode() not in path.read_bytes(), path
