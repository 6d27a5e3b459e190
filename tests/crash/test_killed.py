"""A real process, killed with SIGKILL at the durable steps of each case; real processes go on from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from tests.crash.real import CASES, LONG_CASES, Case, is_config


def sweep(case: Case, stride: int) -> int:
    program = [sys.executable, "-m", "tests.crash.killed", case.name, str(stride)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(program, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["broken"] == [], done.stderr
    assert answer["steps"] > 20
    assert answer["covered"] >= 2 * (answer["steps"] // stride)
    return int(answer["covered"])


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)
def test_killed_at_some_steps(case: Case, covered: Callable[[str, int], None]) -> None:
    covered("real process, SIGKILL, sampled", sweep(case, stride=33 if is_config(case) else 11))


@pytest.mark.slow
@pytest.mark.parametrize("case", LONG_CASES, ids=lambda one: one.name)
def test_killed_at_every_step(case: Case, covered: Callable[[str, int], None]) -> None:
    covered("real process, SIGKILL, every step", sweep(case, stride=1))
