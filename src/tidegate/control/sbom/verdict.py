"""What a check says about an SBOM, as the child process tells it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

#: Reasons that one verdict names; whoever mends those sees the next ones.
MOST_REASONS = 20
#: Components kept as rows; all of them are counted.
MOST_COMPONENTS = 20_000
MOST_LICENSES = 20
_Short = Annotated[str, Meta(max_length=512)]


class Reason(Struct, frozen=True, array_like=True):
    """`pointer`: where in the document, as a JSON pointer; empty: the document as a whole."""

    pointer: _Short
    rule: _Short


class Component(Struct, frozen=True, array_like=True):
    name: _Short
    version: _Short = ""
    purl: Annotated[str, Meta(max_length=1024)] = ""
    license: _Short = ""


class Verdict(Struct, frozen=True, kw_only=True):
    """Valid where there is no reason against it. `component_count` counts all, `components` are the first of them;
    `licenses` are the most frequent, with how many components have each.
    """

    format: Annotated[str, Meta(max_length=64)] = ""
    spec_version: Annotated[str, Meta(max_length=32)] = ""
    reasons: Annotated[tuple[Reason, ...], Meta(max_length=MOST_REASONS)] = ()
    component_count: Annotated[int, Meta(ge=0)] = 0
    components: Annotated[tuple[Component, ...], Meta(max_length=MOST_COMPONENTS)] = ()
    licenses: Annotated[tuple[tuple[_Short, int], ...], Meta(max_length=MOST_LICENSES)] = ()


def text(value: object, most: int = 512) -> str:
    """A text out of a document as it may be stored: bounded, no NUL, no half of a surrogate pair."""
    if not isinstance(value, str):
        return ""
    clean = value[:most].encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return " ".join(clean.split())
