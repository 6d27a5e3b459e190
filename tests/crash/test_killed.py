"""A real process, killed with SIGKILL at the durable steps of each case; real processes go on from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tests.crash.real import CASES, Case


def sweep(case: Case, stride: int) -> None:
    program = [sys.executable, "-m", "tests.crash.killed", case.name, str(stride)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(program, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["broken"] == [], done.stderr
    assert answer["steps"] > 20
    assert answer["covered"] >= 2 * (answer["steps"] // stride)


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)
def test_killed_at_some_steps(case: Case) -> None:
    sweep(case, stride=7)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)
def test_killed_at_every_step(case: Case) -> None:
    sweep(case, stride=1)
