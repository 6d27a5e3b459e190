"""A crash test is believed when it kills: every wrong `decide.py` must be noticed by the simulated machine."""

from __future__ import annotations

import pytest
from tests.crash.mutants import MUTANTS, SOURCE, killed_by, mutated


@pytest.mark.slow
def test_the_decision_as_it_stands_passes() -> None:
    assert killed_by(SOURCE) == ""


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_dies(name: str) -> None:
    assert killed_by(mutated(name)), f"survived: {name}"
