"""The real agent as a process of its own, against a node that the test plays over real TLS."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tidegate.agent import enroll, settings
from tidegate.testing.played_node import TOKEN, PlayedNode
from tidegate.testing.tls_server import Asked, Pki, TlsServer, answer, http, refusal
from tidegate.wire import device as wire

AGENT = (sys.executable, "-m", "tidegate.agent.run")
PROBE = wire.ExecProbe("content", timeout_seconds=10, attempts=2, interval_seconds=0)


@dataclass
class Device:
    """One device's folders and its agent."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def run(self, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [*AGENT, "--config", str(self.folder / "agent.toml"), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
        if check:
            assert done.returncode == 0, done.stderr
        return done

    def enroll(self, node: PlayedNode) -> None:
        """Without starting a process for it."""
        found = settings.load(settings.Source(self.folder / "agent.toml", {}, {})).settings
        enroll.enroll(found, enroll.Request(node.server.url, node.pki.ca_pem, node.root_sha256), TOKEN)

    def enroll_as_people_do(self, node: PlayedNode) -> subprocess.CompletedProcess[str]:
        ca = self.folder / "ca.pem"
        ca.write_text(node.pki.ca_pem)
        arguments = ("--url", node.server.url, "--token-stdin", "--ca", str(ca), "--root-sha256", node.root_sha256)
        return self.run("enroll", *arguments, stdin=f"{TOKEN}\n")

    def start(self, **more: Any) -> None:
        with (self.folder / "agent.log").open("ab") as log:
            command = [*AGENT, "--config", str(self.folder / "agent.toml"), "run"]
            process: subprocess.Popen[bytes] = subprocess.Popen(command, **{"stderr": log} | more)
            self.process = process

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        assert self.process is not None
        status = self.process.wait(60)
        self.process = None
        return status

    def status(self) -> dict[str, object]:
        return dict(json.loads(self.run("status", "--json").stdout))

    def log(self) -> str:
        return (self.folder / "agent.log").read_text()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[PlayedNode]:
    (tmp_path / "node").mkdir()
    with PlayedNode(tmp_path / "node", interval_seconds=1) as played:
        yield played


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    folder = tmp_path / "device"
    folder.mkdir()
    check = folder / "probe.py"
    check.write_text(
        "import os, sys\n"
        "from pathlib import Path\n"
        "data = (Path(os.environ['TIDEGATE_ARTIFACT']) / 'model.bin').read_bytes()\n"
        "print('found', data[:20])\n"
        "sys.exit(0 if data.startswith(b'good') else 3)\n"
    )
    (folder / "agent.toml").write_text(
        f'state_dir = "{folder}/state"\nrun_dir = "{folder}/run"\nrequest_timeout_seconds = 10\n'
        f'[allow.exec.content]\nargv = ["{sys.executable}", "{check}"]\n'
    )
    found = Device(folder)
    yield found
    if found.process is not None:
        found.process.kill()
        found.process.wait(10)


def installing(work: wire.Work) -> wire.Work:
    return msgspec.structs.replace(work, probes=(PROBE,))


def test_installs_a_good_version_and_takes_a_bad_one_back(node: PlayedNode, device: Device) -> None:
    device.enroll(node)
    device.start()
    first = installing(node.publish("vad", "1", b"good" * 100_000))
    node.desire(first)
    assert node.outcome("r1").state == "healthy"
    node.wait_for(lambda: any(one.artifact == "vad" and one.version == "1" for one in node.heartbeats[-1].installed))
    second = installing(node.publish("vad", "2", b"bad" * 100_000))
    node.desire(second)
    told = node.outcome("r2")
    assert (told.state, told.running_version) == ("rolled_back", "1")
    assert "content" in told.reason
    assert "found" in told.output
    assert (device.state / "models/vad/current/model.bin").read_bytes().startswith(b"good")
    states = [report.state for report in node.reports if report.work == "r1"]
    assert states == ["downloading", "verifying", "ready", "applying", "probing", "healthy"]
    assert [report.sequence for report in node.reports] == list(range(1, len(node.reports) + 1))
    status = device.status()
    assert (status["running"], status["connection"], status["device"]) == (True, "connected", "cam-7")
    assert device.stop() == 0
    assert not (device.folder / "run/agent.sock").exists()


def test_the_token_is_nowhere_after_enrollment(node: PlayedNode, device: Device) -> None:
    told = device.enroll_as_people_do(node)
    device.start()
    node.wait_for(lambda: node.heartbeats)
    device.stop()
    for path in device.folder.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path
    assert TOKEN not in told.stdout + told.stderr
    assert node.enrolls[0].token == TOKEN


def test_keys_are_private_and_stay_on_the_device(node: PlayedNode, device: Device) -> None:
    device.enroll(node)
    current = device.state / "identity/current.pem"
    assert stat.S_IMODE(current.stat().st_mode) == 0o600
    assert stat.S_IMODE(current.parent.stat().st_mode) == 0o700
    key = current.read_bytes().split(b"-----")[2]
    assert all(key not in asked.body for asked in node.server.asked)


def test_decommissioning_wipes_the_keys_and_is_final(node: PlayedNode, device: Device) -> None:
    device.enroll(node)
    device.start()
    node.wait_for(lambda: node.heartbeats)
    node.refuse["/v1/device/heartbeat"] = lambda _: refusal("device-decommissioned", stop_workloads=True)
    node.desire(wire.Work("r9", "remove", "vad"))
    assert device.ended() == 78
    assert [path.name for path in (device.state / "identity").glob("*.pem")] == []
    device.start()
    assert device.ended() == 78
    assert "decommissioned" in str(device.status()["connection"])


def decommissioned(node: PlayedNode, device: Device) -> None:
    """The agent runs a version of vad, and the node now answers that it is decommissioned, to stop its workloads."""
    device.enroll(node)
    device.start()
    node.desire(installing(node.publish("vad", "1", b"good" * 1000)))
    assert node.outcome("r1").state == "healthy"
    node.refuse["/v1/device/heartbeat"] = lambda _: refusal("device-decommissioned", stop_workloads=True)


def test_decommissioning_with_its_workloads_leaves_nothing_in_force(node: PlayedNode, device: Device) -> None:
    decommissioned(node, device)
    node.desire()
    assert device.ended() == 78
    assert list((device.state / "identity").glob("*.pem")) == []
    assert list((device.state / "models/vad").rglob("*.bin")) == []
    assert not (device.state / "models/vad/current").is_symlink()
    assert "installed" not in device.status()
    assert "took vad out of force" in device.log()
    asked = len(node.server.asked)
    device.start()
    assert device.ended() == 78
    assert len(node.server.asked) == asked, "a decommissioned agent asks nobody"


def test_workloads_are_stopped_by_a_later_start_where_the_power_went(node: PlayedNode, device: Device) -> None:
    """Killed while the owner's inhibitor holds the removal: the keys are gone by then; later starts go on with it."""
    inhibit = device.folder / "run/inhibit"
    decommissioned(node, device)
    inhibit.write_text("belt is running\n")
    node.desire()
    wait_for_words(device, "stopping the workloads waits: held on the device")
    assert device.stop(signal.SIGKILL) == -signal.SIGKILL
    assert list((device.state / "identity").glob("*.pem")) == []
    assert (device.state / "models/vad/current/model.bin").exists()
    assert "still in force: vad" in device.run("status").stdout
    (device.folder / "agent.log").write_text("")
    device.start()
    wait_for_words(device, "belt is running")
    assert device.stop() == 0, "asked to stop, it does not insist"
    inhibit.unlink()
    device.start()
    assert device.ended() == 78
    assert not (device.state / "models/vad/current").is_symlink()
    assert "still in force" not in device.run("status").stdout


def test_a_journal_that_is_damaged_puts_off_the_removal_and_not_the_wipe(node: PlayedNode, device: Device) -> None:
    decommissioned(node, device)
    (device.state / "journal").write_bytes(b"damaged")
    node.desire()
    assert device.ended() == 78
    assert list((device.state / "identity").glob("*.pem")) == []
    assert "tidegate-agent repair" in device.log()
    assert (device.state / "models/vad/current/model.bin").exists()
    device.run("repair")
    device.start()
    assert device.ended() == 78
    assert not (device.state / "models/vad/current").is_symlink()


def test_a_foreign_server_cannot_decommission(node: PlayedNode, device: Device, tmp_path: Path) -> None:
    """Whoever takes the node's address over, without its key, is not believed."""
    device.enroll(node)
    (tmp_path / "foreign").mkdir()
    with TlsServer(Pki(tmp_path / "foreign"), lambda _: refusal("device-decommissioned")) as foreign:
        enrollment = device.state / "identity/enrollment.json"
        known = json.loads(enrollment.read_text())
        enrollment.write_text(json.dumps(known | {"channel_url": foreign.url}))
        device.start()
        wait_for_words(device, "cannot verify the server")
        assert device.stop() == 0
    assert (device.state / "identity/current.pem").exists()


def test_a_replaced_certificate_stops_quietly_and_says_so(node: PlayedNode, device: Device) -> None:
    device.enroll(node)
    node.refuse["/v1/device/register"] = lambda _: refusal("certificate-replaced")
    device.start()
    assert device.ended() == 78
    assert (device.state / "identity/current.pem").exists()
    assert "another certificate has taken this device's name" in str(device.status()["connection"])
    del node.refuse["/v1/device/register"]
    device.enroll_as_people_do(node)
    device.start()
    node.wait_for(lambda: node.heartbeats)
    assert device.stop() == 0


def test_renews_with_a_new_key_and_goes_on_with_it(node: PlayedNode, device: Device) -> None:
    device.enroll(node)
    before = (device.state / "identity/current.pem").read_bytes()
    node.renew_now = True
    device.start()
    node.wait_for(lambda: len({asked.certificate for asked in node.server.asked if asked.certificate}) >= 2)
    node.renew_now = False
    count = len(node.heartbeats)
    node.wait_for(lambda: len(node.heartbeats) >= count + 2)
    assert (device.state / "identity/current.pem").read_bytes() != before
    assert not (device.state / "identity/pending.pem").exists()
    assert device.stop() == 0


def test_the_inhibitor_keeps_an_update_ready_and_says_so(node: PlayedNode, device: Device) -> None:
    device.enroll(node)
    inhibit = device.folder / "run/inhibit"
    inhibit.parent.mkdir()
    inhibit.write_text("belt is running\n")
    device.start()
    node.desire(installing(node.publish("vad", "1", b"good" * 1000)))
    node.wait_for(lambda: "belt is running" in node.heartbeats[-1].waiting_on if node.heartbeats else None)
    node.wait_for(lambda: any(report.state == "ready" for report in node.reports))
    assert "belt is running" in device.run("status").stdout
    inhibit.unlink()
    assert node.outcome("r1").state == "healthy"
    device.stop()


def test_a_killed_agent_goes_on_where_it_was(node: PlayedNode, device: Device) -> None:
    device.enroll(node)
    device.start()
    node.leave = wire.LeaveAnswer(granted=False, reason="the rollout is halted", retry_after_seconds=1)
    node.desire(installing(node.publish("vad", "1", b"good" * 1000)))
    node.wait_for(lambda: any(report.state == "ready" for report in node.reports))
    assert device.stop(signal.SIGKILL) == -signal.SIGKILL
    node.leave = wire.LeaveAnswer(granted=True)
    device.start()
    assert node.outcome("r1").state == "healthy"
    device.stop()


def test_an_invalid_fragment_is_reported_and_changes_nothing(node: PlayedNode, device: Device) -> None:
    device.enroll(node)
    fragments = device.folder / "agent.d"
    fragments.mkdir()
    (fragments / "10-bad.toml").write_text("[allow]\nprobe_prots = [1]\n")
    device.start()
    node.wait_for(lambda: "probe_prots" in node.heartbeats[-1].waiting_on if node.heartbeats else None)
    node.desire(installing(node.publish("vad", "1", b"good" * 1000)))
    assert node.outcome("r1").state == "healthy"
    device.stop()


def test_one_agent_per_state_folder(node: PlayedNode, device: Device) -> None:
    device.enroll(node)
    device.start()
    node.wait_for(lambda: node.heartbeats)
    second = device.run("run", check=False)
    assert second.returncode == 2
    assert "another agent runs" in second.stderr
    device.stop()


def test_a_lost_first_answer_on_the_new_certificate_ends_nothing(node: PlayedNode, device: Device) -> None:
    """The node sees the new certificate and retires the old one; its answer is lost on the way. Nobody is stopped."""
    device.enroll(node)
    node.renew_now = True
    old: set[bytes | None] = set()
    lost: list[bytes | None] = []

    def register(asked: Asked) -> bytes | None:
        if not old or (asked.certificate in old and not lost):
            old.add(asked.certificate)
            return answer(wire.Registered("cam-7", "default", node.interval_seconds))
        if asked.certificate in old:
            return refusal("certificate-replaced")
        if not lost:
            lost.append(asked.certificate)
            return None
        return answer(wire.Registered("cam-7", "default", node.interval_seconds))

    node.refuse["/v1/device/register"] = register
    device.start()
    node.wait_for(lambda: lost)
    node.renew_now = False
    count = len(node.heartbeats)
    node.wait_for(lambda: len(node.heartbeats) > count)
    assert not (device.state / "identity/final.json").exists()
    assert not (device.state / "identity/pending.pem").exists()
    assert device.stop() == 0


def test_a_disk_that_takes_nothing_more_does_not_silence_the_device(node: PlayedNode, device: Device) -> None:
    """No file can grow any more (RLIMIT_FSIZE 0, for everything that the agent does): heartbeats go on, and say so."""
    device.enroll(node)
    device.start()
    node.wait_for(lambda: node.heartbeats)
    assert device.stop() == 0
    (device.folder / "agent.d").mkdir()
    node.ca_bundle = node.pki.ca_pem + "\n"
    device.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)), stderr=subprocess.DEVNULL)
    count = len(node.heartbeats)
    node.wait_for(lambda: len(node.heartbeats) >= count + 2)
    node.desire(installing(node.publish("vad", "1", b"good" * 1000)))
    node.wait_for(lambda: "cannot" in node.heartbeats[-1].waiting_on)
    assert device.status()["running"] is True
    assert device.stop() == 0


def test_other_folders_in_the_settings_wait_for_a_restart(node: PlayedNode, device: Device) -> None:
    device.enroll(node)
    device.start()
    node.wait_for(lambda: node.heartbeats)
    file = device.folder / "agent.toml"
    file.write_text(file.read_text().replace(f"{device.folder}/state", f"{device.folder}/elsewhere"))
    node.wait_for(lambda: "restart the agent" in node.heartbeats[-1].waiting_on)
    node.desire(installing(node.publish("vad", "1", b"good" * 1000)))
    assert node.outcome("r1").state == "healthy"
    assert (device.state / "models/vad/current/model.bin").exists()
    assert device.stop() == 0


def test_what_the_owner_takes_back_holds_for_a_child_at_work(node: PlayedNode, device: Device) -> None:
    """The allowlist loses its entry while the child waits for leave: the probe is not run."""
    device.enroll(node)
    device.start()
    node.leave = wire.LeaveAnswer(granted=False, reason="the rollout is halted", retry_after_seconds=1)
    node.desire(installing(node.publish("vad", "1", b"good" * 1000)))
    node.wait_for(lambda: any(asked.path == "/v1/device/leave" for asked in node.server.asked))
    file = device.folder / "agent.toml"
    file.write_text(file.read_text().partition("[allow")[0])
    node.leave = wire.LeaveAnswer(granted=True)
    told = node.outcome("r1")
    assert told.state == "failed"
    assert "content" in told.reason
    assert "allowlist" in told.reason
    assert not any(report.state == "applying" for report in node.reports), "it must end before the switch"
    assert device.stop() == 0


def test_stopping_does_not_wait_for_a_download(node: PlayedNode, device: Device) -> None:
    device.enroll(node)
    work = node.publish("vad", "1", b"good" * 1_000_000)
    path = next(path for path in node.files if path.endswith(".model.bin"))
    over = threading.Event()

    def drip(asked: Asked) -> None:
        body = node.files[path]
        asked.connection.sendall(http(200, body)[: -len(body)])
        for at in range(0, len(body), 300_000):
            if over.wait(0.5):
                return
            asked.connection.sendall(body[at : at + 300_000])

    node.refuse[f"/repository/{path}"] = drip
    device.start()
    node.desire(installing(work))
    node.wait_for(lambda: any(asked.path.endswith(path) for asked in node.server.asked))
    began = time.monotonic()
    assert device.stop() == 0
    assert time.monotonic() - began < 12, "it waited for the download"
    over.set()


def test_a_ca_bundle_without_the_ca_in_use_locks_nobody_out(node: PlayedNode, device: Device, tmp_path: Path) -> None:
    device.enroll(node)
    (tmp_path / "foreign").mkdir()
    node.ca_bundle = Pki(tmp_path / "foreign").ca_pem
    device.start()
    node.wait_for(lambda: len(node.heartbeats) >= 3)
    assert "does not verify the node" in device.log()
    node.desire(installing(node.publish("vad", "1", b"good" * 1000)))
    assert node.outcome("r1").state == "healthy"
    assert device.stop() == 0
    assert json.loads((device.state / "identity/enrollment.json").read_text())["ca_bundle_pem"] == node.pki.ca_pem


def test_an_idle_agent_sleeps(node: PlayedNode, device: Device) -> None:
    """CPU of the process over some heartbeats: it must not spin, whatever the clock does."""
    node.interval_seconds = 1
    device.enroll(node)
    device.start()
    node.wait_for(lambda: len(node.heartbeats) >= 2)
    assert device.process is not None
    before, count = cpu_seconds(device.process.pid), len(node.heartbeats)
    node.wait_for(lambda: len(node.heartbeats) >= count + 3)
    assert cpu_seconds(device.process.pid) - before < 0.3
    device.stop()


def test_not_enrolled_is_final_and_said(device: Device) -> None:
    device.start()
    assert device.ended() == 78
    assert "not enrolled" in device.log()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for_words(device: Device, words: str) -> None:
    """Until the agent's log has them; it is a pipe to nobody, so it is looked at again and again."""
    deadline = time.monotonic() + 20
    while words not in device.log():
        assert time.monotonic() < deadline, device.log()
        time.sleep(0.05)
