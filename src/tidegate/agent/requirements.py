"""Whether what an artifact requires runs here: a name, and a range such as ``>=2,<3`` over its version."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tidegate.versions import compare

_CLAUSE = re.compile(r"(>=|<=|==|!=|>|<)\s*([A-Za-z0-9][A-Za-z0-9._+-]*)")


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
