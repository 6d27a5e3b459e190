"""A `model` on the device: ``models/<name>/current`` is a link to a folder, which workloads open."""

from __future__ import annotations

from pathlib import Path

from tidegate.agent.payloads.versions import VersionFolders
from tidegate.agent.transaction.model import Release
from tidegate.errors import Refused
from tidegate.wire.descriptor import Descriptor

KIND = "model"


class ModelPayload(VersionFolders):
    def check(self, name: str, descriptor: Descriptor) -> None:
        if descriptor.kind != KIND:
            raise Refused(f"cannot install {name} as a model: its descriptor says {descriptor.kind}")
        if len({file.name for file in descriptor.files}) != len(descriptor.files):
            raise Refused(f"cannot install {name} {descriptor.version}: two of its files have the same name")

    def refusal(self, name: str, release: Release) -> str:
        return ""

    def switch(self, name: str, to: Release | None) -> None:
        self._point(name, to)

    def restore(self, name: str, to: Release | None) -> None:
        self._point(name, to, back=True)

    def damaged(self, name: str) -> tuple[str, ...]:
        return ()

    def repair(self, name: str) -> tuple[str, ...]:
        return ()

    def artifact(self, name: str) -> Path | None:
        """The folder that runs, for a probe to look into; None when nothing does."""
        running = self.facts(name).running
        return None if running is None else self._folder(name, running)
