"""The Python client has every call of the operator API, as the table has it now."""

from __future__ import annotations

from tidegate.testing import client_code


def test_the_generated_calls_are_those_of_the_table() -> None:
    assert client_code.FILE.read_text() == client_code.text(), "run `make client` and commit what it writes"
