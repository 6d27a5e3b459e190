"""Cursors are anybody's to write."""

from __future__ import annotations

import base64
import json

import pytest

from tidegate.control.domain.paging import decode_cursor, encode_cursor
from tidegate.errors import Invalid


def _written(position: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def test_a_cursor_reads_back() -> None:
    assert decode_cursor(encode_cursor("Straße", -7, ""), str, int, str) == ("Straße", -7, "")
    assert decode_cursor("", str) is None


@pytest.mark.parametrize("position", [["\ud800"], ["a\udfff"], ["\0"], ["a\0b"], [1], [True], [None], ["a", "b"], "a"])
def test_what_no_list_has_is_refused(position: object) -> None:
    with pytest.raises(Invalid, match="take next_cursor"):
        decode_cursor(_written(position), str)


@pytest.mark.parametrize("position", [[2**63], [-(2**63) - 1], [1.5], [True]])
def test_numbers_that_no_database_stores_are_refused(position: object) -> None:
    with pytest.raises(Invalid, match="take next_cursor"):
        decode_cursor(_written(position), int)
