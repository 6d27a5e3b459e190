"""A clean Debian root with its own systemd, and on it all that a device's owner does with the agent, for real."""

from __future__ import annotations

import json
import os
import pty
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tidegate.testing import live
from tidegate.testing.container import Container

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
CHECK = """
import os, sys
from pathlib import Path
sys.exit(0 if next(Path(os.environ["TIDEGATE_ARTIFACT"]).glob("*.onnx")).read_bytes().startswith(b"good") else 3)
"""
ALLOW = """
[allow]
destination_prefixes = ["/etc/greeter"]
units = ["greeter.service"]
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
    """The container as its owner sees it, and as the node's operator does."""

    def __init__(self, container: Container, node: live.LiveNode) -> None:
        self.container = container
        self.node = node
        self.api = node.sign_in()
        self.port = live.free_ports(1)[0]

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

    def publish_config(self, folder: Path, version: str, text: str) -> None:
        file = folder / "greeter.json"
        file.write_text(text)
        options = {"destination": DESTINATION, "mode": "0640", "reload": {"kind": "unit", "unit": "greeter.service"}}
        body = {
            "name": "greeter",
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
    with live.running(tmp_path, interval_seconds=2) as node, Container(tmp_path / "device") as container:
        yield Device(container, node)


@pytest.mark.slow
@pytest.mark.timeout(400)  # where the Debian root has to be built first
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

    container.reboot()
    until(device.online, device.journal)
    until(lambda: device.greets() == "hello", "the service is back")
    assert {(one["artifact"], one["version"]) for one in device.status()["installed"]} == {
        ("vad", "1"),
        ("greeter", "1"),
    }

    key = container.run(["sha256sum", "/var/lib/tidegate/identity/current.pem"], check=True).stdout
    before = device.shows(AGENT, "MainPID")
    device.install(minted["installer"]["command"], "")
    assert device.shows(AGENT, "MainPID") != before
    assert container.run(["sha256sum", "/var/lib/tidegate/identity/current.pem"], check=True).stdout == key
    until(lambda: device.status()["connection"] == "connected", device.journal)

    api.call("POST", "/v1/devices/cam-7/decommission", {"confirm": "cam-7"})
    until(lambda: device.shows(AGENT, "ActiveState") in ("failed", "inactive"), device.journal)
    assert device.shows(AGENT, "ExecMainStatus") == "78"
    assert container.run(["find", "/var/lib/tidegate/identity", "-name", "*.pem"], check=True).stdout == ""
    assert "decommissioned" in container.run(["tidegate-agent", "status"], check=True).stdout
    container.reboot()
    until(lambda: device.shows(AGENT, "ActiveState") in ("failed", "inactive"), device.journal)
    assert device.shows(AGENT, "NRestarts") == "0"
    assert device.greets() == "hello"


OLD_PYTHON = """#!/usr/bin/python3 -I
import runpy, sys
sys.implementation.cache_tag = "cpython-39"
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
AS_NOBODY = "setpriv --reuid=65534 --regid=65534 --clear-groups"


@pytest.mark.slow
@pytest.mark.timeout(400)
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
