"""docs/reference says what the program does."""

from __future__ import annotations

import pytest

from tidegate.testing import reference

NAMES = ("settings.md", "api.md", "permissions.md", "cli.md", "metrics.md", "logs.md")


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_is_current(name: str) -> None:
    assert (reference.FOLDER / name).read_text(encoding="utf-8") == reference.pages()[name], "run `make docs`"


def test_nothing_else_is_generated() -> None:
    assert set(reference.pages()) == set(NAMES)
