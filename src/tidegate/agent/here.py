"""What an executor asks of the device itself, under the settings in force: probes, configs, the inhibitor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tidegate.agent.inforce import InForce
from tidegate.agent.own import own_paths
from tidegate.agent.parts import ProbeResult
from tidegate.agent.payloads.owner import Owner
from tidegate.agent.perform import Stopped
from tidegate.agent.probe import Probes
from tidegate.agent.program import Interrupted, Runner
from tidegate.agent.reload import Reloader
from tidegate.agent.settings import Allow, Settings, Source
from tidegate.clock import SystemClock
from tidegate.wire.device import Probe


class Here:
    """For one process life; what the owner takes back holds for the next probe, not only for the next process.

    `stopping` says whether the process was asked to stop: nothing new begins then.
    """

    def __init__(self, inforce: InForce, stopping: Callable[[], bool]) -> None:
        self._inforce = inforce
        self._stopping = stopping
        self._probes = Probes(self._allow, stopping=stopping)

    @property
    def _settings(self) -> Settings:
        return self._inforce.settings

    def _allow(self) -> Allow:
        self._inforce.look()
        return self._settings.allow

    def refusal(self, probe: Probe) -> str:
        """Why this device will not run `probe`; empty when it will."""
        return self._probes.refusal(probe)

    def attempt(self, probe: Probe, artifact: Path | None) -> ProbeResult:
        """Raises `Stopped` when the process is asked to stop."""
        if self._stopping():
            raise Stopped
        try:
            return self._probes.attempt(probe, artifact)
        except Interrupted:
            raise Stopped from None

    def owner(self, source: Source) -> Owner:
        """What the settings in force say about configs."""
        reloader = Reloader(self._allow, Runner(SystemClock(), self._stopping))
        return Owner(self._allow, lambda: own_paths(source, self._settings), reloader)

    def inhibited(self) -> Path:
        """The inhibitor's file, as the settings in force name it."""
        self._inforce.look()
        return self._settings.inhibit_path
