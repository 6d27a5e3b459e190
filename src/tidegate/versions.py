"""How versions order: the same for requirements on the node, on the device, and for selectors in a database."""

from __future__ import annotations

import re
from itertools import zip_longest

_PART = re.compile(r"\d+|[A-Za-z]+")
#: How far a sort key looks; real versions end long before.
KEY_PARTS = 16
KEY_CHARACTERS = 200


def compare(left: str, right: str) -> int:
    """-1, 0 or 1: parts between punctuation, numbers by value, letters by spelling; a missing part is 0.

    Letters come before a missing part: ``2.0-rc1`` is older than ``2.0``. What follows a plus sign is build data and
    does not order (semver.org, rule 10).
    """
    for one, other in zip_longest(_parts(left), _parts(right)):
        first, second = _weight(one), _weight(other)
        if first != second:
            return -1 if first < second else 1
    return 0


def sort_key(version: str) -> bytes:
    """Bytes that order as `compare` does, by the first `KEY_PARTS` parts."""
    parts: list[str | None] = [*_parts(version[:KEY_CHARACTERS])[:KEY_PARTS]]
    parts += [None] * (KEY_PARTS - len(parts))
    return b"".join(_encoded(part) for part in parts)


def _encoded(part: str | None) -> bytes:
    """Letters before numbers; a number by how many digits it has, then by the digits."""
    if part is not None and not part.isdigit():
        return b"\x01" + part.encode("ascii") + b"\x00"
    number = int(part or "0")
    digits = str(number).encode("ascii") if number else b""
    return bytes((2, len(digits))) + digits


def _parts(version: str) -> list[str]:
    return _PART.findall(version.split("+", 1)[0])


def _weight(part: str | None) -> tuple[int, int, str]:
    if part is None:
        return 1, 0, ""
    return (1, int(part), "") if part.isdigit() else (0, 0, part)
