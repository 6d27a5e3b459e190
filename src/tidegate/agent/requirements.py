"""Whether what an artifact requires runs here: a name, and a range such as ``>=2,<3`` over its version."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import zip_longest

_CLAUSE = re.compile(r"(>=|<=|==|!=|>|<)\s*([A-Za-z0-9][A-Za-z0-9._+-]*)")
_PART = re.compile(r"\d+|[A-Za-z]+")


def unmet(requires: Sequence[tuple[str, str]], running: Callable[[str], str | None]) -> str:
    """The first requirement that is not met, as a sentence for people; empty when all are."""
    for artifact, versions in requires:
        version = running(artifact)
        wanted = f"{artifact} {versions}".strip()
        if version is None:
            return f"requires {wanted}, which is not on the device"
        if not satisfies(version, versions):
            return f"requires {wanted}, and {version} runs"
    return ""


def satisfies(version: str, versions: str) -> bool:
    """Whether `version` lies in the range; a range that cannot be read is not satisfied."""
    for text in filter(None, (part.strip() for part in versions.split(","))):
        clause = _CLAUSE.fullmatch(text)
        if clause is None:
            return False
        sign, order = clause[1], compare(version, clause[2])
        met = {">=": order >= 0, "<=": order <= 0, "==": order == 0, "!=": order != 0, ">": order > 0, "<": order < 0}
        if not met[sign]:
            return False
    return True


def compare(left: str, right: str) -> int:
    """-1, 0 or 1: dotted numbers by value (2.10 after 2.9, 1 equal to 1.0), a word before nothing (2.0rc1 before 2.0).

    What follows a plus sign is build data and does not order (semver.org, rule 10).
    """
    for one, other in zip_longest(_parts(left), _parts(right)):
        a, b = _rank(one), _rank(other)
        if a != b:
            return -1 if a < b else 1
    return 0


def _parts(version: str) -> list[str]:
    return _PART.findall(version.split("+", 1)[0])


def _rank(part: str | None) -> tuple[int, int, str]:
    if part is None:
        return (1, 0, "")
    return (1, int(part), "") if part.isdigit() else (0, 0, part)
