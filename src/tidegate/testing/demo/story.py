"""The main job, step by step; a step that does not end as told raises `Unexpected` and ends the demo."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from tidegate.testing.demo.fleet import FLEET, Agent, token_for
from tidegate.testing.demo.models import Model
from tidegate.testing.demo.screen import DeviceLine, Screen, WaveLine
from tidegate.testing.live import Api, LiveNode, publish
from tidegate.testing.processes import Processes

ARTIFACT = "voice-activity"
STEP_SECONDS = 60
LOOK_SECONDS = 0.25
PROBES = [{"kind": "exec", "name": "vad", "timeout_seconds": 20, "attempts": 2, "interval_seconds": 0}]
WAVES = [{"percent": 10}, {"percent": 50}, {"percent": 100}]


class Unexpected(Exception):
    """A step ended otherwise than told."""


class Story:
    """Runs against a node that is ready; everything goes through the API and the agents' own program."""

    def __init__(self, node: LiveNode, api: Api, agents: Mapping[str, Agent], processes: Processes, screen: Screen):
        self.node, self.api, self.agents, self.processes, self.screen = node, api, agents, processes, screen
        self._versions: dict[str, str] = {}

    # -- steps --------------------------------------------------------------------------------------------------------

    def publish(self, model: Model) -> None:
        with self._step(f"publish {ARTIFACT} {model.version}") as done:
            manifest = {"framework": "onnx", "input": {"sample_rate": 16_000, "samples": 512}, "license": "MIT"}
            publish(self.api, ARTIFACT, model.version, model.path, manifest)
            self._versions[_sha256(model)] = model.version
            done(f"{model.path.stat().st_size / 1e6:.1f} MB, signed, one transaction with its audit record")

    def enroll_all(self) -> None:
        with self._step(f"enroll {len(FLEET)} agents, each with its own token, key and certificate") as done:
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(self._enroll, FLEET))
            for agent in self.agents.values():
                agent.start(self.processes)
            self._until("every agent is online", lambda: self._online() == len(FLEET))
            done("all online")

    def roll_out(self, model: Model, *, replaces: str) -> None:
        with self._step(f"roll {model.version} out in waves to 10, 50 and 100 %") as done:
            rollout = self._create(model.version, WAVES)
            self._until_state(rollout, "completed")
            self._expect_running(model, self.agents)
            done(f"{len(self.agents)} of {len(self.agents)} healthy, {replaces}")

    def abort_half_way(self, model: Model, before: Model) -> None:
        with self._step(f"start {model.version}, abort it half-way with revert") as done:
            rollout = self._create(model.version, [*WAVES[:2], {"percent": 100, "approval": "manual"}])
            self._until_state(rollout, "waiting_for_approval")
            half = [name for name, agent in self.agents.items() if agent.running(ARTIFACT) == _sha256(model)]
            if len(half) != len(self.agents) // 2:
                raise Unexpected(f"{len(half)} devices run {model.version}, not half of them")
            self._command(rollout, "abort", {"policy": "revert", "reason": "second thoughts"})
            self._until(f"{len(half)} devices are reverted", lambda: self._count(rollout, "reverted") == len(half))
            self._expect_running(before, self.agents)
            done(f"{len(half)} devices had it and are back on {before.version}; the others were never offered it")

    def break_the_canary(self, broken: Model, stays: Model) -> None:
        with self._step(f"roll {broken.version} out: correctly signed, and it cannot run") as done:
            rollout = self._create(broken.version, WAVES)
            self._until_state(rollout, "halted")
            self._until("the canaries have ended", lambda: self._in_flight(rollout) == 0)
            came_back = self._count(rollout, "rolled_back")
            if came_back == 0 or self._count(rollout, "healthy"):
                raise Unexpected("the broken model was not rolled back by the devices that tried it")
            self._expect_running(stays, self.agents)
            done(f"{came_back} canaries rolled themselves back, the rollout halted itself, all run {stays.version}")

    def recover_wiped(self, name: str, runs: Model) -> None:
        with self._step(f"wipe {name}, enroll it again: new key, same record, its software restored") as done:
            before = self.api.call("GET", f"/v1/devices/{name}")
            self.processes.stop(name)
            self.agents[name].wipe()
            self._enroll(name)
            self.agents[name].start(self.processes)
            self._until("its software is back", lambda: self.agents[name].running(ARTIFACT) == _sha256(runs))
            after = self.api.call("GET", f"/v1/devices/{name}")
            if after["device"]["id"] != before["device"]["id"]:
                raise Unexpected(f"{name} has a new record")
            if _current(before) == _current(after):
                raise Unexpected(f"{name} has its old certificate")
            done(f"record {after['device']['id']} kept, certificate replaced, {runs.version} verified and probed again")

    def verify_audit(self) -> None:
        with self._step("verify the audit chain") as done:
            verdict = self.api.call("GET", "/v1/audit/verify")
            if not verdict["verified"]:
                raise Unexpected(f"the chain is broken: {verdict}")
            done(f"{verdict['count']} records, unbroken")

    # -- looking ------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Bring the devices on the screen up to date."""
        lines = []
        for device in self.api.call("GET", "/v1/devices", limit=200)["items"]:
            tags = " ".join(f"{key}={value}" for key, value in sorted(device["tags"].items()))
            lines.append(DeviceLine(device["name"], tags, "", device["presence"], device["waiting_on"]))
        self.screen.picture.devices = lines
        self._look_at_devices()

    def _look_at_devices(self) -> None:
        """What each device really has in `current`, from its own disk."""
        for line in self.screen.picture.devices:
            line.runs = self._versions.get(self.agents[line.name].running(ARTIFACT), "")

    def _enroll(self, name: str) -> None:
        secret, root_sha256 = token_for(self.api, name, FLEET[name])
        self.agents[name].enroll(self.node, secret, root_sha256)

    def _online(self) -> int:
        self.look()
        return sum(device.state == "online" for device in self.screen.picture.devices)

    def _create(self, version: str, waves: list[dict[str, Any]]) -> int:
        body = {
            "artifact": ARTIFACT, "version": version, "target": {"all": True},
            "strategy": {"waves": waves}, "probes": PROBES,
        }  # fmt: skip
        return int(self.api.call("POST", "/v1/rollouts", body)["id"])

    def _command(self, rollout: int, verb: str, body: Mapping[str, Any]) -> None:
        self.api.call("POST", f"/v1/rollouts/{rollout}/{verb}", body)

    def _rollout(self, rollout: int) -> dict[str, Any]:
        detail: dict[str, Any] = self.api.call("GET", f"/v1/rollouts/{rollout}")
        picture = self.screen.picture
        picture.title = f"{detail['artifact']} {detail['version']} to {detail['target']}"
        picture.state, picture.waiting_on = detail["state"], detail["waiting_on"]
        picture.waves = [
            WaveLine(
                wave["wave"], str(wave["percent"]), wave["size"], wave["counts"].get("healthy", 0),
                wave["counts"].get("rolled_back", 0), wave["counts"].get("reverted", 0),
                wave["counts"].get("failed", 0), wave["released"],
            )
            for wave in detail["waves"]
        ]  # fmt: skip
        shown = {line.name: line for line in picture.devices}
        for item in self.api.call("GET", f"/v1/rollouts/{rollout}/assignments", limit=200)["items"]:
            if item["device"] in shown:
                shown[item["device"]].state, shown[item["device"]].detail = item["state"], item["reason"]
        self._look_at_devices()
        return detail

    def _count(self, rollout: int, state: str) -> int:
        return int(self._rollout(rollout)["counts"].get(state, 0))

    def _in_flight(self, rollout: int) -> int:
        states = ("assigned", "downloading", "verifying", "ready", "applying", "probing")
        counts = self._rollout(rollout)["counts"]
        # What was served and has no leave stays where it is while halted; only what is applying moves on.
        return sum(counts.get(state, 0) for state in states[-2:])

    def _until_state(self, rollout: int, state: str) -> None:
        ends = {"completed", "halted", "aborted"}

        def reached() -> bool:
            now = self._rollout(rollout)
            if now["state"] != state and now["state"] in ends:
                raise Unexpected(f"rollout {rollout} is {now['state']}, not {state}: {now['reason']}")
            return bool(now["state"] == state)

        self._until(f"rollout {rollout} is {state}", reached)

    def _until(self, what: str, holds: Callable[[], bool]) -> None:
        until = time.monotonic() + STEP_SECONDS
        while not holds():
            if time.monotonic() > until:
                raise Unexpected(f"{what}: not after {STEP_SECONDS} s; {self.screen.picture.waiting_on}")
            time.sleep(LOOK_SECONDS)  # between two looks at a condition

    def _expect_running(self, model: Model, agents: Mapping[str, Agent]) -> None:
        wrong = [name for name, agent in agents.items() if agent.running(ARTIFACT) != _sha256(model)]
        if wrong:
            raise Unexpected(f"{', '.join(wrong)} do not run {model.version}")

    @contextmanager
    def _step(self, words: str) -> Any:
        outcome: list[str] = []
        started = time.monotonic()
        self.screen.doing(words)
        try:
            yield outcome.append
        except BaseException:
            self.screen.failed(words)
            raise
        self.screen.done(f"{words}: {'; '.join(outcome)} ({time.monotonic() - started:.1f} s)")


def _sha256(model: Model) -> str:
    return hashlib.sha256(model.path.read_bytes()).hexdigest()


def _current(device: Mapping[str, Any]) -> list[str]:
    return [certificate["fingerprint"] for certificate in device["certificates"] if certificate["state"] == "current"]
