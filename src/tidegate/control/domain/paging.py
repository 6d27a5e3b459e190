"""Opaque cursors: where a walk through a list goes on."""

from __future__ import annotations

import base64
import binascii
import json

from tidegate.errors import FieldError, Invalid


def encode_cursor(*position: int | str) -> str:
    """The cursor that continues after the row with this sort key."""
    return base64.urlsafe_b64encode(json.dumps(position, separators=(",", ":")).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, *kinds: type[int] | type[str]) -> tuple[int | str, ...] | None:
    """The sort key in a cursor made by `encode_cursor` with values of these kinds; None for the empty cursor.

    Raises:
        Invalid: it is not one of ours.
    """
    if not cursor:
        return None
    try:
        position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise _wrong() from error
    if not isinstance(position, list) or [type(value) for value in position] != list(kinds):
        raise _wrong()
    if any(isinstance(value, int) and not -(2**63) <= value < 2**63 for value in position):
        raise _wrong()
    # What no database stores is in no list: NUL, and halves of surrogate pairs, which JSON can write.
    if any(isinstance(value, str) and ("\0" in value or not _is_text(value)) for value in position):
        raise _wrong()
    return tuple(position)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong() -> Invalid:
    return Invalid("cannot use this cursor: take next_cursor of the same list", (FieldError("/cursor", "is unknown"),))
