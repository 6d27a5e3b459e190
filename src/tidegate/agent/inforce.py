"""The settings in force while a process runs: followed as their files change, never widened by a mistake."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from tidegate.agent.settings import Settings, Source, changed, load, stamp
from tidegate.errors import Invalid


class InForce:
    """For one thread. The folders stay those that the process began with.

    Raises:
        Invalid: the settings cannot be used, and none that could are known.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.loaded = load(source)

    @property
    def settings(self) -> Settings:
        return self.loaded.settings

    @property
    def folders(self) -> dict[str, str]:
        return {"state_dir": self.settings.state_dir, "run_dir": self.settings.run_dir}

    def look(self) -> bool:
        """Take what changed in the files since the last look; whether anything did."""
        if not changed(self._source, self.loaded):
            return False
        try:
            loaded = load(self._source)
        except Invalid as error:
            loaded = replace(self.loaded, problem=error.detail, stamp=stamp(self._source))
        if (loaded.settings.state_dir, loaded.settings.run_dir) != tuple(self.folders.values()):
            kept = msgspec.structs.replace(loaded.settings, **self.folders)
            loaded = replace(loaded, settings=kept, problem="restart the agent to use other folders")
        self.loaded = loaded
        return True
