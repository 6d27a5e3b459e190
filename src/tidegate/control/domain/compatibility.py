"""Version ranges of requirements: ``>=2,<3``; empty means any."""

from __future__ import annotations

import re
from itertools import zip_longest

from tidegate.errors import FieldError, Invalid

_TERM = re.compile(r"\s*(==|!=|>=|<=|>|<)\s*([A-Za-z0-9][A-Za-z0-9._+-]{0,127})\s*")
_PART = re.compile(r"\d+|[A-Za-z]+")
_CHECKS = {
    "==": lambda order: order == 0,
    "!=": lambda order: order != 0,
    ">=": lambda order: order >= 0,
    "<=": lambda order: order <= 0,
    ">": lambda order: order > 0,
    "<": lambda order: order < 0,
}


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


def _parts(version: str) -> list[str]:
    return _PART.findall(version.split("+", 1)[0])


def _weight(part: str | None) -> tuple[int, int, str]:
    if part is None:
        return 1, 0, ""
    return (1, int(part), "") if part.isdigit() else (0, 0, part)


def satisfies(version: str, versions: str) -> bool:
    """Whether `version` lies in the range `versions`.

    Raises:
        Invalid: the range is not one.
    """
    return all(_CHECKS[operator](compare(version, bound)) for operator, bound in terms(versions))


def terms(versions: str, pointer: str = "/requires/versions") -> list[tuple[str, str]]:
    """The comparisons of a range.

    Raises:
        Invalid: it is not a list of comparisons separated by commas.
    """
    found = []
    for text in versions.split(",") if versions.strip() else ():
        match = _TERM.fullmatch(text)
        if match is None:
            rule = "must be comparisons separated by commas, such as >=2,<3"
            raise Invalid(f"cannot read the version range {versions!r}", (FieldError(pointer, rule),))
        found.append((match[1], match[2]))
    return found
