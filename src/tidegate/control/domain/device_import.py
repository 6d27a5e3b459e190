"""What importing a sheet would change: a pure difference between what it says and what is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tidegate.control.domain.devices import MAX_TAGS
from tidegate.control.domain.enrollment import MAX_GROUPS
from tidegate.control.domain.sheet import Line, Mistakes, Sheet
from tidegate.errors import FieldError
from tidegate.ids import DeviceId, GroupId

#: What becomes of names that no active device bears.
Unknown = Literal["refuse", "skip", "enroll"]
#: Enrollment tokens that one import mints.
MAX_TOKENS = 1_000


@dataclass(frozen=True, slots=True)
class Known:
    """A device as it is: its tags, and the static groups that list it."""

    id: DeviceId
    tags: Mapping[str, str]
    groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one device."""

    device: DeviceId
    name: str
    put: Mapping[str, str]
    remove: tuple[str, ...]
    join: tuple[str, ...]
    leave: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.put or self.remove or self.join or self.leave)

    def words(self) -> str:
        """For a preview: ``site=plant-7, not line, into lab, out of old``."""
        parts = [f"{key}={value}" for key, value in self.put.items()]
        parts += [f"not {key}" for key in self.remove]
        parts += [f"into {name}" for name in self.join]
        return ", ".join(parts + [f"out of {name}" for name in self.leave])


@dataclass(frozen=True, slots=True)
class Plan:
    """`unknown` are the lines whose names nobody bears; where `errors` has any, nothing may be done."""

    rows: int
    changes: tuple[Change, ...]
    unknown: tuple[Line, ...]
    errors: tuple[FieldError, ...]
    wrong: int


def plan(sheet: Sheet, known: Mapping[str, Known], groups: Mapping[str, GroupId], unknown: Unknown) -> Plan:
    """The difference between `sheet` and what is `known`, by device name; `groups` are the static ones there are."""
    mistakes = Mistakes(list(sheet.errors), sheet.wrong)
    changes: list[Change] = []
    nobody: list[Line] = []
    for line in sheet.lines:
        for name in line.groups or ():
            if name not in groups:
                mistakes.add(line.number, f"no static group is called {name[:64]}; create it first")
        device = known.get(line.name)
        if device is not None:
            changes.append(_change(line, device, mistakes))
            continue
        nobody.append(line)
        if unknown == "refuse":
            mistakes.add(line.number, f"no active device is called {line.name}")
        elif unknown == "enroll" and len(nobody) == MAX_TOKENS + 1:
            mistakes.add(line.number, f"at most {MAX_TOKENS:,} names are given tokens at a time; split the file")
        if unknown == "enroll" and len(line.groups or ()) > MAX_GROUPS:
            mistakes.add(line.number, f"a token puts a device into at most {MAX_GROUPS} groups")
    found = tuple(one for one in changes if one)
    return Plan(len(sheet.lines), found, tuple(nobody), tuple(mistakes.in_order()), mistakes.count)


def _change(line: Line, device: Known, mistakes: Mistakes) -> Change:
    put = {key: value for key, value in line.tags.items() if value and device.tags.get(key) != value}
    remove = tuple(key for key, value in line.tags.items() if not value and key in device.tags)
    if len({*device.tags, *put} - set(remove)) > MAX_TAGS:
        mistakes.add(line.number, f"{line.name} would have more than {MAX_TAGS} tags")
    wanted = device.groups if line.groups is None else frozenset(line.groups)
    join, leave = tuple(sorted(wanted - device.groups)), tuple(sorted(device.groups - wanted))
    return Change(device.id, line.name, put, remove, join, leave)
