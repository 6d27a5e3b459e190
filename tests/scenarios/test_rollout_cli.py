"""Rollouts on the command line, against a served node with devices on its channel: answers, questions, refusals."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import urllib3
from cryptography.hazmat.primitives import serialization

from tidegate.cli import main as cli
from tidegate.testing import live
from tidegate.testing.channel import csr, new_key
from tidegate.testing.live import Api, LiveNode
from tidegate.testing.processes import Processes

OK, REFUSED, USAGE, NOT_FOUND = range(4)


@dataclass
class OnChannel:
    """A device that takes up what it is told, over mutual TLS; `outcome` is how its updates end."""

    node: LiveNode
    name: str
    pool: urllib3.PoolManager
    outcome: str = "healthy"
    installed: dict[str, dict[str, str]] = field(default_factory=dict)
    sequence: int = 0
    seen: str = ""
    tasks: list[Any] = field(default_factory=list)

    def post(self, call: str, body: dict[str, Any]) -> Any:
        answer = self.pool.request("POST", f"{self.node.channel_url}/v1/device/{call}", json=body, timeout=30)
        assert answer.status == 200, answer.data
        return answer.json()

    def round(self, wait_seconds: int) -> None:
        beat = {"installation": "1" * 32, "installed": list(self.installed.values())}
        known = {"seen": self.seen} if self.seen else {}
        answer = self.post("heartbeat", beat | known | {"wait_seconds": wait_seconds})
        self.seen = answer["desired_digest"]
        self.tasks = answer.get("desired", {}).get("work", []) if "desired" in answer else self.tasks
        for task in self.tasks:
            self.take_up(task)

    def take_up(self, task: dict[str, Any]) -> None:
        running = self.installed.get(task["artifact"], {}).get("version")
        self.tell(task, "ready")
        asked = {"work": task["id"]} | ({"running": running} if running else {})
        if not self.post("leave", asked)["granted"]:
            return
        back = task["kind"] in ("revert", "remove")
        if back or self.outcome == "healthy":
            self.installed.pop(task["artifact"], None)
            if "version" in task:
                self.installed[task["artifact"]] = {
                    "artifact": task["artifact"],
                    "version": task["version"],
                    "descriptor_sha256": task["descriptor_sha256"],
                }
        self.tell(task, "reverted" if back else self.outcome)

    def tell(self, task: dict[str, Any], state: str) -> None:
        self.sequence += 1
        fact = {"sequence": self.sequence, "work": task["id"], "state": state, "at": datetime.now(UTC).isoformat()}
        answer = self.post("reports", {"installation": "1" * 32, "items": [fact]})
        assert answer["results"][0]["status"] == "accepted"


@dataclass
class Site:
    """A served node with a catalog of vad 1 to 3, and a fleet that answers until the end."""

    node: LiveNode
    api: Api
    fleet: dict[str, OnChannel]


def _enroll(node: LiveNode, api: Api, folder: Path, name: str) -> OnChannel:
    key = new_key()
    token = api.call("POST", "/v1/tokens", {"device_name": name, "groups": ["lab"] if name == "cam-0" else []})
    body = {"token": token["secret"], "device": name, "csr_pem": csr(key), "agent_version": "1"}
    given = Api(node.console_url, node.ca).call("POST", "/v1/enroll", body)
    (folder / f"{name}.pem").write_text(given["certificate_chain_pem"])
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / f"{name}.key").write_bytes(private)
    pool = urllib3.PoolManager(
        ca_certs=str(node.ca), cert_file=str(folder / f"{name}.pem"), key_file=str(folder / f"{name}.key"),
        retries=False,
    )  # fmt: skip
    return OnChannel(node, name, pool)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("rollouts")
    node = live.initialise(folder / "data", interval_seconds=1)
    with Processes(folder / "logs") as processes:
        live.serve(node, processes)
        api = node.sign_in()
        (folder / "model.onnx").write_bytes(b"model")
        for version in ("1", "2", "3"):
            live.publish(api, "vad", version, folder / "model.onnx")
        api.call("POST", "/v1/groups", {"name": "lab"})
        fleet = {name: _enroll(node, api, folder, name) for name in ("cam-0", "cam-1", "cam-2")}
        stop = threading.Event()
        broken: list[Exception] = []

        def lives(device: OnChannel) -> None:
            try:
                while not stop.is_set():
                    device.round(1)
            except Exception as error:
                broken.append(error)

        threads = [threading.Thread(target=lives, args=(device,)) for device in fleet.values()]
        for thread in threads:
            thread.start()
        yield Site(node, api, fleet)
        stop.set()
        for thread in threads:
            thread.join(30)
        assert not broken
        assert "internal error" not in (folder / "logs" / "node.log").read_text()


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


class Operator:
    def __init__(self, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
        self._reach = ("--url", site.node.console_url, "--ca", str(site.node.ca))
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Done:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([*self._reach, *arguments])
        said = self._capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, said.out, said.err)

    def json(self, *arguments: str) -> Any:
        done = self("--json", "rollout", *arguments)
        assert done.code == OK, done.err
        return json.loads(done.out)


@pytest.fixture
def run(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operator:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO())  # nobody answers questions
    (tmp_path / "password").write_text(site.node.password + "\n")
    run = Operator(site, capsys)
    assert run("login", "--name", site.node.admin, "--password-file", str(tmp_path / "password")).code == OK
    return run


def _watched(run: Operator, rollout: str, *more: str) -> Done:
    return run("rollout", "watch", rollout, "--interval-seconds", "0.2", "--timeout-seconds", "60", *more)


def test_from_preview_to_revert(run: Operator, site: Site) -> None:
    preview = run("rollout", "preview", "vad", "1", "--all", "--waves", "34,100")
    assert (preview.code, "wave 1 to 34 %: 2 devices" in preview.out) == (OK, True)
    assert run.json("list")["total"] == 0
    unasked = run("rollout", "create", "vad", "1", "--all")
    assert (unasked.code, unasked.out) == (REFUSED, ""), "nobody answers the question, nothing is created"
    assert run.json("list")["total"] == 0
    first = run.json("create", "vad", "1", "--all", "--yes")["id"]
    watched = _watched(run, str(first))
    assert (watched.code, f"rollout {first} is completed" in watched.out) == (OK, True)
    assert "running: Waiting on" in watched.err or "completed" in watched.err

    second = run.json("create", "vad", "2", "--all", "--waves", "34,100", "--approval", "manual", "--yes")
    number = str(second["id"])
    assert second["state"] == "waiting_for_approval"
    assert run("rollout", "resume", number).code == REFUSED
    run.json("approve", number, "--reason", "looks good")
    assert _watched(run, number, "--until", "waiting_for_approval").code == OK
    halted = run.json("halt", number, "--reason", "lunch")
    assert (halted["state"], halted["reason"]) == ("halted", "lunch")
    again = run("rollout", "halt", number)
    assert (again.code, "cannot halt a rollout that is halted" in again.err) == (REFUSED, True)
    assert run.json("resume", number)["state"] == "waiting_for_approval"
    shown = run("rollout", "show", number)
    assert f"rollout {number}: vad 2 to the whole fleet, waiting_for_approval" in shown.out
    assert "2 healthy (released)" in shown.out
    assert "[####" in shown.out
    listed = run.json("devices", number, "--show", "healthy")
    assert listed["total"] == 2
    why = run.json("explain", listed["items"][0]["device"], "vad")
    assert why["answer"] == f"It runs 2 because rollout {number} put it there and its probes passed"

    asked = run("rollout", "abort", number, "--policy", "revert")
    assert (asked.code, "2 devices go back to 1" in asked.err) == (REFUSED, True)
    assert run.json("show", number)["state"] == "waiting_for_approval"
    assert run.json("abort", number, "--policy", "revert", "--reason", "slow", "--yes")["state"] == "aborted"
    assert _watched(run, number).code == REFUSED, "it ended, but not well"
    for _ in range(300):
        if run.json("show", number)["counts"] == {"reverted": 2, "skipped": 1}:
            break
        threading.Event().wait(0.1)
    assert run.json("show", number)["waiting_on"] == "Waiting on nothing"
    assert {device.installed["vad"]["version"] for device in site.fleet.values()} == {"1"}


def test_a_canary_that_fails_halts_by_itself(run: Operator, site: Site) -> None:
    for device in site.fleet.values():
        device.outcome = "rolled_back"
    made = run.json("create", "vad", "3", "--all", "--waves", "34,100", "--yes")
    ended = _watched(run, str(made["id"]), "--until", "halted")
    assert ended.code == OK
    assert "0 are tolerated" in run("rollout", "show", str(made["id"])).out
    assert run.json("abort", str(made["id"]), "--yes")["state"] == "aborted"
    for device in site.fleet.values():
        device.outcome = "healthy"


@pytest.mark.parametrize(
    ("options", "named", "rule"),
    [
        (["--all", "--waves", "50,50,100"], "--waves (number 2, percent)", "must be above 50"),
        (["--all", "--waves", "10,50"], "--waves (number 2, percent)", "the last wave must go to 100 percent"),
        (["--all", "--max-failure-rate", "1"], "--max-failure-rate", "from 0 up to, not including, 1"),
        (["--all", "--max-in-flight", "²"], "--max-in-flight", "must be a whole number"),
        (["--device", "cam-0", "--device", "cam-x"], "--device (number 2)", "no active device is called cam-x"),
        (["--group", "nowhere"], "--group", "no group is called nowhere"),
        (["--all", "--start-at", "2020-01-01T00:00:00Z"], "--start-at", "must lie in the future"),
        (["--device", "cam-0", "--baseline"], "--baseline", "is for a group, a selector or all"),
    ],
)
def test_what_is_wrong_is_named_and_changes_nothing(run: Operator, options: list[str], named: str, rule: str) -> None:
    before = run.json("list")["total"]
    refused = run("rollout", "create", "vad", "2", *options, "--yes")
    assert (refused.code, refused.out) == (REFUSED, "")
    assert f"  {named}: " in refused.err
    assert rule in refused.err
    assert run.json("list")["total"] == before


@pytest.mark.parametrize("target", [(), ("--all", "--device", "cam-0")])
def test_a_rollout_without_one_target_is_wrong_usage_before_anything_is_asked(
    run: Operator, target: tuple[str, ...]
) -> None:
    refused = run("rollout", "create", "vad", "2", *target)
    assert (refused.code, "--all, --group, --selector and --device" in refused.err) == (USAGE, True)


def test_a_state_that_no_rollout_has_is_not_waited_for(run: Operator) -> None:
    refused = run("rollout", "watch", "1", "--until", "halte")
    assert (refused.code, "'halted'" in refused.err) == (USAGE, True)


def test_strategies_from_files(run: Operator, tmp_path: Path) -> None:
    file = tmp_path / "strategy.json"
    file.write_text('{"hurry": true, "waves": [{"group": "lab", "speed": 1}, {"percent": 100}]}')
    refused = run("rollout", "preview", "vad", "2", "--all", "--strategy", str(file))
    assert refused.code == REFUSED
    assert "--strategy (hurry): unknown key 'hurry'" in refused.err
    assert "--strategy (waves, number 1, speed): unknown key 'speed'" in refused.err
    file.write_text("{")
    assert "cannot read" in run("rollout", "preview", "vad", "2", "--all", "--strategy", str(file)).err
    file.write_text("[]")
    assert "must be a JSON object" in run("rollout", "preview", "vad", "2", "--all", "--strategy", str(file)).err
    file.write_text('{"waves": [{"group": "lab"}, {"percent": 100}], "max_failure_rate": 0.1}')
    found = run.json("preview", "vad", "2", "--all", "--strategy", str(file))
    assert (found["waves"][0]["size"], found["waves"][0]["first"]) == (1, ["cam-0"])
    assert found["strategy"]["max_failure_rate"] == "0.1"


def test_what_is_not_there_and_what_is_withdrawn(run: Operator, site: Site) -> None:
    assert run("rollout", "show", "999").code == NOT_FOUND
    assert run("rollout", "halt", "999").code == NOT_FOUND
    assert run("rollout", "show", "one").code == USAGE
    assert run("rollout", "create", "vad", "9", "--all", "--yes").code == NOT_FOUND
    assert run("rollout", "explain", "nobody", "vad").code == NOT_FOUND
    site.api.call("POST", "/v1/artifacts/vad/3/withdraw", {"reason": "truncated"})
    refused = run("rollout", "create", "vad", "3", "--all", "--yes")
    assert (refused.code, "it is withdrawn: truncated" in refused.err) == (REFUSED, True)
