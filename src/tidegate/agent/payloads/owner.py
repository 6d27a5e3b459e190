"""What the device's owner says about artifacts that reach out of the agent's own folders."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tidegate.agent.settings import Allow
from tidegate.errors import Refused
from tidegate.wire.config import Reload


class Reloads(Protocol):
    """See agent/reload.py."""

    def refusal(self, reload: Reload) -> str: ...
    def before(self, reload: Reload) -> str: ...
    def reload(self, reload: Reload, before: str) -> None: ...
    def ended(self, reload: Reload, before: str) -> str: ...


class NoReloads:
    """For those who only look."""

    def refusal(self, reload: Reload) -> str:
        return "cannot reload: nothing is switched here"

    def before(self, reload: Reload) -> str:
        raise Refused(self.refusal(reload))

    def reload(self, reload: Reload, before: str) -> None:
        raise Refused(self.refusal(reload))

    def ended(self, reload: Reload, before: str) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Owner:
    """`allow` gives the allowlists in force now, `own` the agent's own files and folders; paths begin at `root`."""

    allow: Callable[[], Allow]
    own: Callable[[], Collection[str]]
    reloader: Reloads
    root: Path = Path("/")


#: Allows nothing: for those who only look.
NOBODY = Owner(Allow, tuple, NoReloads())
