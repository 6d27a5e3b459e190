"""A crash test is believed when it kills: every wrong `decide.py` must be noticed by the simulated machine."""

from __future__ import annotations

import pytest
from tests.crash.mutants import MUTANTS, SOURCE, cheap_checks, killed_by, mutated, said


@pytest.fixture(scope="session")
def sound() -> None:
    """The decision as it stands passes every scenario, so that no mutant dies of one that is broken."""
    failed = {name: words for name, check in cheap_checks() if (words := said(SOURCE, (name, check)))}
    assert failed == {}


@pytest.mark.slow
@pytest.mark.timeout(600)  # some seven thousand plays
def test_the_decision_as_it_stands_passes_every_check() -> None:
    assert killed_by(SOURCE) is None


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_dies(name: str) -> None:
    check = killed_by(mutated(name))
    assert check is not None, f"survived: {name}"
    # Of the mistake, and not of the check: at the very point where it dies the decision as it stands lives.
    assert said(SOURCE, check) == ""
