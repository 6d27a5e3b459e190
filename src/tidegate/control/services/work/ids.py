"""Work ids: opaque to the device, read here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tidegate.ids import RolloutId

_WORK = re.compile(
    r"(?:(?P<kind>[rv])(?P<rollout>[0-9]{1,18})|s(?P<generation>[0-9]{1,18})-(?P<name>[a-z0-9][a-z0-9._-]{0,127}))"
)


@dataclass(frozen=True, slots=True)
class AboutRollout:
    """`r<rollout>`: its update; `v<rollout>`: the way back from it."""

    kind: Literal["install", "revert"]
    rollout: RolloutId


@dataclass(frozen=True, slots=True)
class AboutRestore:
    """`s<goal generation>-<artifact name>`."""

    generation: int
    name: str


def parse(work: str) -> AboutRollout | AboutRestore | None:
    """What the id is about; None when it is none of ours."""
    match = _WORK.fullmatch(work)
    if match is None:
        return None
    if match["kind"]:
        return AboutRollout("install" if match["kind"] == "r" else "revert", RolloutId(int(match["rollout"])))
    return AboutRestore(int(match["generation"]), match["name"])
