"""Version ranges of requirements: ``>=2,<3``; empty means any."""

from __future__ import annotations

import re

from tidegate.errors import FieldError, Invalid
from tidegate.versions import compare

_TERM = re.compile(r"\s*(==|!=|>=|<=|>|<)\s*([A-Za-z0-9][A-Za-z0-9._+-]{0,127})\s*")
_CHECKS = {
    "==": lambda order: order == 0,
    "!=": lambda order: order != 0,
    ">=": lambda order: order >= 0,
    "<=": lambda order: order <= 0,
    ">": lambda order: order > 0,
    "<": lambda order: order < 0,
}


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
