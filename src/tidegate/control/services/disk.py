"""How full the disks are that the node writes to, and what it still takes then (SPEC section 15).

Two thresholds: at `disk_high_percent` people are warned and no new upload begins; at `disk_full_percent` those under
way are refused too, so that the rest of the disk is the database's. Heartbeats, reports and rollouts go on either way.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tidegate.control.blobs import storage_trouble
from tidegate.control.services.node import Node
from tidegate.errors import Unavailable

State = Literal["ok", "high", "full"]
RETRY_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Disk:
    """`used` and `free` in bytes as an ordinary process may have them; what is kept for root is neither."""

    folder: Path
    used: int
    free: int
    high_percent: int
    full_percent: int

    @property
    def percent(self) -> float:
        return self.percent_with(0)

    def percent_with(self, more: int) -> float:
        """How full it would be with so many bytes more."""
        room = self.used + self.free
        return 100.0 * (self.used + more) / room if room else 100.0

    @property
    def state(self) -> State:
        if self.percent >= self.full_percent:
            return "full"
        return "high" if self.percent >= self.high_percent else "ok"

    @property
    def warning(self) -> str:
        """What is the matter and what to do, for people; empty when nothing is."""
        if self.state == "ok":
            return ""
        taken = "No upload is taken" if self.state == "full" else "No new upload begins"
        return (
            f"The disk of {self.folder} is {self.percent:.0f} % full. {taken} until there is room; devices and rollouts"
            " go on. Make the disk larger, or remove what does not belong to the node."
        )


def look(node: Node) -> Disk:
    """The fullest of the disks that data folder and blob folder are on. Raises `Unavailable` when it cannot be told."""
    settings = node.settings
    folders = {settings.data_dir, node.blobs.folder or settings.data_dir}
    try:
        by_device = {folder.stat().st_dev: folder for folder in sorted(folders)}
        measured = [(folder, shutil.disk_usage(folder)) for folder in by_device.values()]
    except OSError as error:
        raise storage_trouble("look at the disk", error) from error
    disks = [
        Disk(folder, usage.used, usage.free, settings.disk_high_percent, settings.disk_full_percent)
        for folder, usage in measured
    ]
    return max(disks, key=lambda disk: disk.percent)


def check_beginning(node: Node, length: int) -> None:
    """Whether a new upload of `length` bytes may begin.

    Raises:
        Unavailable: the disk is too full already, or would be with it.
    """
    disk = look(node)
    if disk.state != "ok":
        raise _refusal(disk, f"cannot begin an upload: the disk is {disk.percent:.0f} % full")
    _check_room(disk, length)


def check_going_on(node: Node, length: int) -> None:
    """Whether `length` bytes more of an upload under way may be stored. Raises `Unavailable`."""
    _check_room(look(node), length)


def _check_room(disk: Disk, length: int) -> None:
    if length > disk.free or disk.percent_with(length) > disk.full_percent:
        raise _refusal(
            disk,
            f"cannot upload {length} bytes: the disk has {disk.free} bytes free, and {100 - disk.full_percent} % of it"
            " is kept for the database",
        )


def _refusal(disk: Disk, detail: str) -> Unavailable:
    limits = f"uploads begin below {disk.high_percent} %, and end at {disk.full_percent} %"
    return Unavailable(
        f"{detail}; {limits}; try again when there is room", type="disk-full", retry_after_seconds=RETRY_SECONDS
    )
