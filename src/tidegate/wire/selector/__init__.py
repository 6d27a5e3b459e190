"""The selector language (SPEC section 6): which devices, said by their facts and tags.

    arch == "arm64" and ram_bytes >= 8GiB and tags.site in ("plant-7", "plant-8") and "nvidia-gpu" in accelerators

Parsed into a tree; the tree is judged by a pure function here, and compiled to SQL by the node (store/selectors.py).
Two truth values: a comparison with a fact or tag that a device does not have is false, also `!=` and `not in`; `not`
turns it round. docs/design/selectors.md has the grammar.
"""

from tidegate.wire.selector.columns import DEVICE, HARDWARE
from tidegate.wire.selector.judge import Subject, matches, unmet, why_not
from tidegate.wire.selector.parse import BadSelector, parse
from tidegate.wire.selector.tree import All, Compare, Contains, Expression, Not, OneOf, Some, columns_of, written

__all__ = [
    "DEVICE",
    "HARDWARE",
    "All",
    "BadSelector",
    "Compare",
    "Contains",
    "Expression",
    "Not",
    "OneOf",
    "Some",
    "Subject",
    "columns_of",
    "matches",
    "parse",
    "unmet",
    "why_not",
    "written",
]
