"""A clean Debian root with its own systemd, and on it all that a device's owner does with the agent, for real."""

from __future__ import annotations

import json
import os
import pty
import shutil
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tidegate
from tidegate import __version__
from tidegate.testing import live
from tidegate.testing.container import Container
from tidegate.testing.ports import free_ports
from tidegate.testing.processes import Processes

AGENT = "tidegate-agent.service"
GREETER = """
import http.server, json, os, signal, sys

CONFIG = "/etc/greeter/greeter.json"

def read():
    with open(CONFIG) as file:
        return json.load(file)

if sys.argv[1:] == ["--check"]:
    try:
        read()["greeting"]
    except (ValueError, KeyError) as error:
        sys.exit(f"greeter: this is no configuration: {error!r}")
    sys.exit()

if sys.argv[1:2] == ["--tell"]:
    os.kill(int(sys.argv[2]), signal.SIGHUP)
    sys.exit()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        greeting = State.config["greeting"]
        self.send_response(500 if greeting == "broken" else 200)
        self.end_headers()
        self.wfile.write(greeting.encode())
    def log_message(self, *_):
        pass

class State:
    config = read()

def reread(*_):
    State.config = read()

signal.signal(signal.SIGHUP, reread)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
#: As a careful service has it: what does not pass its check is not reloaded.
GREETER_UNIT = """
[Service]
Type=exec
ExecStart=/usr/bin/python3 /opt/greeter.py {port}
ExecReload=/usr/bin/python3 /opt/greeter.py --check
ExecReload=/usr/bin/python3 /opt/greeter.py --tell $MAINPID
[Install]
WantedBy=multi-user.target
"""
#: Ends with status 0 as soon as it has read the word: systemd calls that a success.
LEAVER = """
import sys, time
if "leave" in open(sys.argv[1]).read():
    sys.exit()
time.sleep(600)
"""
#: Services of all kinds, by the name of the file that each reads at its start.
UNITS = {
    "leaver.service": "[Service]\nExecStart=/usr/bin/python3 /opt/leaver.py /etc/greeter/leaver\n",
    "returning.service": "[Service]\nExecStart=/usr/bin/python3 /opt/leaver.py /etc/greeter/leaver\nRestart=always\n",
    "kept.service": "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/cp /etc/greeter/kept /run/kept\n",
    "once.service": "[Service]\nType=oneshot\nExecStart=/bin/cp /etc/greeter/once /run/once\n",
    "asked.service": "[Service]\nExecStart=/usr/bin/python3 /opt/leaver.py /etc/greeter/leaver\n",
    "asked.socket": "[Socket]\nListenStream=/run/asked\n",
}
#: The agent's own code, as installed, against this systemd.
TELL = """
import json, subprocess, sys
from pathlib import Path
sys.path.insert(0, str(next(Path("/opt/tidegate/.tidegate-agent").glob("*/lib"))))
from tidegate.agent.payloads.base import NotTaken
from tidegate.agent.program import Runner
from tidegate.agent.reload import Reloader
from tidegate.agent.settings import Allow
from tidegate.clock import SystemClock
from tidegate.wire.config import UnitReload

units = ("leaver", "returning", "kept", "once", "asked")
allow = Allow(units=tuple(f"{unit}.service" for unit in units))
reloader = Reloader(lambda: allow, Runner(SystemClock()))
found = {}

def systemctl(*arguments):
    return subprocess.run(["systemctl", *arguments], capture_output=True, text=True).stdout.strip()

def told(what, unit, text, before=None):
    reload = UnitReload(f"{unit}.service")
    Path(f"/etc/greeter/{'leaver' if unit in ('returning', 'asked') else unit}").write_text(text)
    stood = reloader.before(reload)
    try:
        reloader.reload(reload, before or stood)
        found[what] = "taken"
    except NotTaken as error:
        found[what] = error.detail
    found[what] += "; " + (reloader.ended(reload, stood) or "goes on")

for name in ("leaver", "kept", "once"):
    Path(f"/etc/greeter/{name}").write_text("stay")
systemctl("start", "leaver", "returning", "kept", "asked.socket", "asked.service")
told("stays", "leaver", "stay")
first = systemctl("show", "--value", "--property=MainPID", "leaver")
told("was started meanwhile", "leaver", "stay", before="inactive")
found["read anew"] = systemctl("show", "--value", "--property=MainPID", "leaver") != first
told("comes back", "returning", "stay")
told("keeps coming back", "returning", "leave")
systemctl("stop", "returning")
told("another starts it", "asked", "leave")
told("leaves", "leaver", "leave")
told("was stopped", "leaver", "stay")
told("exited and remains", "kept", "two")
found["has copied"] = Path("/run/kept").read_text()
told("runs when asked to", "once", "two")
Path("/etc/greeter/once").unlink()
systemctl("start", "once")
found["failed"] = systemctl("is-active", "once")
told("is given another start", "once", "three")
found["has copied once"] = Path("/run/once").read_text()
print(json.dumps(found))
"""
CHECK = """
import os, sys
from pathlib import Path
sys.exit(0 if next(Path(os.environ["TIDEGATE_ARTIFACT"]).glob("*.onnx")).read_bytes().startswith(b"good") else 3)
"""
ALLOW = """
[allow]
destination_prefixes = ["/etc/greeter"]
units = ["greeter.service", "leaver.service"]
probe_ports = [{port}]
[allow.exec.content]
argv = ["/usr/bin/python3", "/opt/check.py"]
"""
DESTINATION = "/etc/greeter/greeter.json"


def until(look: Callable[[], Any], what: Callable[[], str] | str, seconds: float = 40) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what() if callable(what) else what}"
        time.sleep(0.1)
    return found


class Device:
    """The container as its owner sees it, and as the node's operator does; `processes` run the node."""

    def __init__(self, container: Container, node: live.LiveNode, processes: Processes) -> None:
        self.container = container
        self.node = node
        self.processes = processes
        self.api = node.sign_in()
        [self.port] = free_ports(1)

    def owner_prepares(self) -> None:
        """What the owner of a device with a service of their own has there before Tidegate comes."""
        put = self.container.write
        put("/opt/greeter.py", GREETER)
        put("/opt/check.py", CHECK)
        put("/etc/greeter/greeter.json", '{"greeting": "from before"}', 0o640)
        put("/etc/systemd/system/greeter.service", GREETER_UNIT.format(port=self.port))
        self.systemctl("enable", "--now", "greeter.service")
        put("/etc/tidegate/agent.d/greeter.toml", ALLOW.format(port=self.port))
        put(f"/etc/systemd/system/{AGENT}.d/greeter.conf", "[Service]\nReadWritePaths=/etc/greeter\n")

    def systemctl(self, *arguments: str) -> str:
        return self.container.run(["systemctl", *arguments], check=True).stdout.strip()

    def shows(self, unit: str, name: str) -> str:
        return self.systemctl("show", "--value", f"--property={name}", unit)

    def journal(self) -> str:
        return self.container.run(["journalctl", "-u", AGENT, "-n", "40", "--no-pager"]).stdout

    def minted(self) -> Any:
        return self.api.call("POST", "/v1/tokens", {"device_name": "cam-7"})

    def install(self, command: str, token: str) -> str:
        done = self.container.run(["sh", "-c", f"cd /root && {command}"], f"{token}\n")
        assert done.returncode == 0, done.stderr
        return done.stderr

    def node_becomes(self, version: str) -> None:
        """The node, stopped and started again as another release of all that it is and serves."""
        release = self.processes.logs.parent / f"release-{version}"
        sources = Path(tidegate.__file__).parent
        shutil.copytree(sources, release / "src/tidegate", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(sources.parents[1] / "deploy", release / "deploy")
        said = release / "src/tidegate/__init__.py"
        said.write_text(said.read_text().replace(f'"{__version__}"', f'"{version}"'))
        unit = release / "deploy/tidegate-agent.service"
        unit.write_text(unit.read_text().replace("[Service]\n", "[Service]\nSyslogIdentifier=upgraded\n"))
        self.processes.stop("node")
        argv = [*live.TIDEGATE, "serve", "--config", str(self.node.data_dir / "tidegate.toml")]
        self.processes.start("node", argv, {"PYTHONPATH": str(release / "src")})
        live.await_ready(self.node, self.processes)

    def keeps(self) -> str:
        """What an upgrade must not change: identity, trust anchor, settings, what is installed."""
        state = "/var/lib/tidegate"
        files = [f"{state}/identity/current.pem", f"{state}/identity/enrollment.json", "/etc/tidegate/agent.toml"]
        text = self.container.run(["sha256sum", *files], check=True).stdout
        text += self.container.run(
            ["sh", "-c", f"find {state}/trust -name *root.json -exec sha256sum {{}} +"], check=True
        ).stdout
        installed = [[one["artifact"], one["version"], one.get("drift", "")] for one in self.status()["installed"]]
        return text + json.dumps(installed)

    def speaks(self, version: str) -> Callable[[], bool]:
        """Whether the agent of this version runs, and the node has heard so."""

        def look() -> bool:
            known = self.api.call("GET", "/v1/devices/cam-7")["device"]["agent_version"]
            said = self.status()
            return (said["agent_version"], said["connection"], known) == (version, "connected", version)

        return look

    def online(self) -> bool:
        return bool(self.api.call("GET", "/v1/devices/cam-7")["device"]["presence"] == "online")

    def status(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.container.run(["tidegate-agent", "status", "--json"], check=True).stdout)
        return said

    def greets(self) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return f"status {error.code}"
        except OSError:
            return "does not answer"

    def publish_config(
        self, folder: Path, version: str, text: str, name: str = "greeter", place: str = DESTINATION
    ) -> None:
        """One that the service of the same name is told to read."""
        file = folder / f"{name}.json"
        file.write_text(text)
        options = {"destination": place, "mode": "0640", "reload": {"kind": "unit", "unit": f"{name}.service"}}
        body = {
            "name": name,
            "version": version,
            "kind": "config",
            "files": [{"name": file.name, "upload": live.upload(self.api, file)}],
            "config": options,
        }
        self.api.call("POST", "/v1/artifacts", body)

    def roll_out(self, artifact: str, version: str, probe: dict[str, Any] | None, ends: str) -> dict[str, Any]:
        """Create a rollout to this device, await the state `ends`; gives its assignment."""
        probes = [{"timeout_seconds": 20, "attempts": 2, "interval_seconds": 0, **probe}] if probe else []
        target = {"devices": ["cam-7"]}
        body = {"artifact": artifact, "version": version, "target": target, "probes": probes}
        number = self.api.call("POST", "/v1/rollouts", body)["id"]
        until(lambda: self.api.call("GET", f"/v1/rollouts/{number}")["state"] == ends, self.journal)
        found: dict[str, Any] = self.api.call("GET", f"/v1/rollouts/{number}/assignments")["items"][0]
        return found


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    node = live.initialise(tmp_path / "node", interval_seconds=2)
    with Processes(tmp_path / "logs") as processes, Container(tmp_path / "device") as container:
        live.serve(node, processes)
        yield Device(container, node, processes)


@pytest.mark.slow
@pytest.mark.timeout(900)  # where the Debian root has to be built first
def test_a_life_on_a_clean_debian(device: Device, tmp_path: Path) -> None:
    container, api = device.container, device.api
    device.owner_prepares()
    minted = device.minted()
    device.install(minted["installer"]["command"], minted["secret"])
    until(device.online, device.journal)
    assert device.shows(AGENT, "UnitFileState") == "enabled"
    assert device.shows(AGENT, "ActiveState") == "active"
    assert [device.shows(AGENT, name) for name in ("NoNewPrivileges", "ProtectSystem")] == ["yes", "strict"]
    assert "device cam-7 of fleet default" in container.run(["tidegate-agent", "status"], check=True).stdout

    model = tmp_path / "vad.onnx"
    model.write_bytes(b"good" * 50_000)
    live.publish(api, "vad", "1", model)
    device.roll_out("vad", "1", {"kind": "exec", "name": "content"}, "completed")

    http = {"kind": "http", "port": device.port}
    before = device.shows("greeter.service", "MainPID")
    device.publish_config(tmp_path, "1", '{"greeting": "hello"}')
    device.roll_out("greeter", "1", http, "completed")
    assert device.greets() == "hello"
    assert container.run(["stat", "-c", "%a %U", DESTINATION], check=True).stdout.split() == ["640", "root"]
    # What the unit's own check refuses is never read by it.
    device.publish_config(tmp_path, "2", "{not json")
    refused = device.roll_out("greeter", "2", http, "halted")
    assert refused["state"] == "rolled_back"
    assert "the reload of greeter.service" in refused["reason"]
    assert (device.greets(), container.read(DESTINATION)) == ("hello", '{"greeting": "hello"}')
    # What passes its check and does not work is found by the probe.
    device.publish_config(tmp_path, "3", '{"greeting": "broken"}')
    assert "probe http" in device.roll_out("greeter", "3", http, "halted")["reason"]
    assert (device.greets(), container.read(DESTINATION)) == ("hello", '{"greeting": "hello"}')
    assert device.shows("greeter.service", "MainPID") == before

    # A service that its owner has stopped is not started by anybody's artifact.
    device.systemctl("stop", "greeter.service")
    device.publish_config(tmp_path, "4", '{"greeting": "four"}')
    device.roll_out("greeter", "4", None, "completed")
    assert device.shows("greeter.service", "ActiveState") == "inactive"
    device.systemctl("start", "greeter.service")
    until(lambda: device.greets() == "four", "the service reads the new file")
    device.roll_out("greeter", "1", http, "completed")
    # A hand on the device is told and not repaired.
    container.run(["sh", "-c", f"echo by hand >{DESTINATION}"], check=True)
    drift = [one.get("drift", "") for one in device.status()["installed"] if one["artifact"] == "greeter"]
    assert drift == [f"{DESTINATION} was changed on the device"]
    device.roll_out("greeter", "1", http, "completed")
    assert container.read(DESTINATION) == '{"greeting": "hello"}'

    services_of_all_kinds(device, tmp_path)

    container.reboot()
    until(device.online, device.journal)
    until(lambda: device.greets() == "hello", "the service is back")
    assert {(one["artifact"], one["version"]) for one in device.status()["installed"]} == {
        ("vad", "1"),
        ("greeter", "1"),
        ("leaver", "1"),
    }

    # The same installer again changes nothing but the process.
    kept, before = device.keeps(), device.shows(AGENT, "MainPID")
    device.install(minted["installer"]["command"], "")
    assert device.shows(AGENT, "MainPID") != before
    until(lambda: device.status()["connection"] == "connected", device.journal)
    assert device.keeps() == kept
    upgrade(device, tmp_path, kept, minted["installer"]["command"])

    api.call("POST", "/v1/devices/cam-7/decommission", {"confirm": "cam-7"})
    until(lambda: device.shows(AGENT, "ActiveState") in ("failed", "inactive"), device.journal)
    assert device.shows(AGENT, "ExecMainStatus") == "78"
    assert container.run(["find", "/var/lib/tidegate/identity", "-name", "*.pem"], check=True).stdout == ""
    assert "decommissioned" in container.run(["tidegate-agent", "status"], check=True).stdout
    container.reboot()
    until(lambda: device.shows(AGENT, "ActiveState") in ("failed", "inactive"), device.journal)
    assert device.shows(AGENT, "NRestarts") == "0"
    assert device.greets() == "hello"


def services_of_all_kinds(device: Device, tmp_path: Path) -> None:
    """What it means for a unit to have taken its new file (docs/design/config.md, Units)."""
    container = device.container
    container.write("/opt/leaver.py", LEAVER)
    container.write("/opt/tell.py", TELL)
    for unit, text in UNITS.items():
        container.write(f"/etc/systemd/system/{unit}", text)
    device.systemctl("daemon-reload")
    found = json.loads(container.run(["/usr/bin/python3", "-I", "/opt/tell.py"], check=True).stdout)
    again = found.pop("keeps coming back")
    assert "returning.service was reloaded" in again
    assert "started it again" in again or "is activating now" in again
    leaves = "leaver.service was reloaded and is inactive now"
    assert found == {
        "stays": "taken; goes on",
        "was started meanwhile": "taken; goes on",
        "read anew": True,
        "comes back": "taken; goes on",
        "another starts it": "taken; goes on",
        "leaves": f"{leaves}; leaver.service was active before and is inactive now",
        "was stopped": "taken; goes on",
        "exited and remains": "taken; goes on",
        "has copied": "two",
        "runs when asked to": "taken; goes on",
        "failed": "failed",
        "is given another start": "taken; goes on",
        "has copied once": "three",
    }

    device.systemctl("start", "leaver.service")
    device.publish_config(tmp_path, "1", "stay", "leaver", "/etc/greeter/leaver")
    device.roll_out("leaver", "1", None, "completed")
    device.publish_config(tmp_path, "2", "leave", "leaver", "/etc/greeter/leaver")
    refused = device.roll_out("leaver", "2", None, "halted")
    assert (refused["state"], leaves in refused["reason"]) == ("rolled_back", True)
    assert device.shows("leaver.service", "ActiveState") == "active"
    assert container.read("/etc/greeter/leaver") == "stay"
    assert container.run(["find", "/etc/greeter", "-name", ".*"], check=True).stdout == ""


def upgrade(device: Device, tmp_path: Path, kept: str, old_command: str) -> None:
    """To the agent of the next release of the node, killed once on the way; then an update by the new agent."""
    container = device.container
    device.node_becomes("0.1.1")
    command = device.minted()["installer"]["command"]
    stale = container.run(["sh", "-c", f"cd /root && {old_command}"])
    assert stale.returncode == 1
    assert "after an upgrade of the node take a new command from it" in stale.stderr
    # Killed just after the new program took its place: the old agent goes on, and after a start the new one does.
    container.write("/usr/local/sbin/mv", KILLING_MV, 0o755)
    killed = container.run(["sh", "-c", f"cd /root && {command}"])
    container.run(["rm", "/usr/local/sbin/mv"], check=True)
    assert killed.returncode != 0
    until(lambda: device.status()["connection"] == "connected", device.journal)
    assert (device.status()["agent_version"], device.keeps()) == (__version__, kept)
    device.systemctl("restart", AGENT)
    until(device.speaks("0.1.1"), device.journal)

    assert "running; see" in device.install(command, "")
    until(device.speaks("0.1.1"), device.journal)
    assert device.keeps() == kept
    assert "SyslogIdentifier=upgraded" in container.read(f"/etc/systemd/system/{AGENT}")
    assert len(container.run(["ls", "/opt/tidegate/.tidegate-agent"], check=True).stdout.split()) == 1
    assert device.greets() == "hello"
    device.publish_config(tmp_path, "5", '{"greeting": "five"}')
    device.roll_out("greeter", "5", {"kind": "http", "port": device.port}, "completed")
    assert device.greets() == "five"
    device.roll_out("greeter", "1", None, "completed")


KILLING_MV = """#!/bin/sh
/usr/bin/mv "$@"
kill -9 $PPID
"""
OLD_PYTHON = """#!/usr/bin/python3 -I
import runpy, sys
sys.implementation.cache_tag = "cpython-39"
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
AS_NOBODY = "setpriv --reuid=65534 --regid=65534 --clear-groups"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_installer_refuses_in_words_and_asks_for_the_token_on_a_terminal(device: Device) -> None:
    """Each refusal comes before anything on the device has changed; then a person types the token."""
    container = device.container
    container.write("/opt/old-python", OLD_PYTHON, 0o755)
    minted = device.minted()
    command = str(minted["installer"]["command"])
    agent_sha256 = command.split("--agent-sha256 ")[1].split()[0]
    read_only = "mount --bind /usr /usr && mount -o remount,bind,ro /usr"
    without_python = "mv /usr/bin/python3 /usr/bin/away"
    for before, tried, words, after in (
        ("true", command.replace(agent_sha256, "0" * 64), "cannot trust the agent program: its SHA-256 is", "true"),
        (without_python, command, "python3 is missing", "mv /usr/bin/away /usr/bin/python3"),
        ("true", f"{command} --python /opt/old-python", "built for cpython-", "true"),
        ("true", command.replace("sudo", AS_NOBODY), "without root; run it as root or give --prefix DIR", "true"),
        (read_only, command, "cannot write to /usr/local/bin (read-only?)", "mount -o remount,bind,rw /usr"),
    ):
        container.run(["sh", "-c", before], check=True)
        done = container.run(["sh", "-c", f"cd /tmp && {tried}"], f"{minted['secret']}\n")
        container.run(["sh", "-c", after], check=True)
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr
        changed = container.run(["sh", "-c", "ls -d /opt/tidegate /etc/tidegate /var/lib/tidegate"]).stdout
        assert changed == "", words

    said = at_a_terminal(container, f"cd /tmp && {command}", str(minted["secret"]))
    assert "enrolled as device cam-7" in said
    assert minted["secret"] not in said
    until(device.online, device.journal)


def at_a_terminal(container: Container, command: str, typed: str) -> str:
    """What a person sees who runs `command` and types a secret when asked; nothing of what is typed may be shown."""
    terminal, inside = pty.openpty()
    process = container.popen(["sh", "-c", command], stdin=inside, stdout=inside, stderr=inside, start_new_session=True)
    os.close(inside)
    said, asked = b"", False
    try:
        while True:
            try:
                part = os.read(terminal, 4096)
            except OSError:
                break  # the last one who had it open has closed it
            said += part
            if not asked and b"Enrollment token: " in said:
                asked = True
                until(lambda: not termios.tcgetattr(terminal)[3] & termios.ECHO, "the terminal stops showing")
                os.write(terminal, f"{typed}\n".encode())
        assert process.wait(60) == 0, said.decode()
    finally:
        os.close(terminal)
    assert asked, said.decode()
    return said.decode()
