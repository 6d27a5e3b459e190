"""Every hand-made mistake in the rollout decisions is noticed by the fast tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DOMAIN = "tidegate.control.domain.rollouts."
FAST = str(HERE.parent / "unit" / "test_rollout_decisions.py")

UNCHANGED = ("plan", "MAJORITY_RULE_FROM = 10", "MAJORITY_RULE_FROM = 10")
MUTANTS = [
    ("plan", "if wave.unacknowledged > tolerated:", "if wave.unacknowledged >= tolerated:"),
    ("plan", "if wave.unacknowledged > tolerated:", "if wave.unacknowledged > tolerated + 1:"),
    ("plan", "MAJORITY_RULE_FROM = 10", "MAJORITY_RULE_FROM = 11"),
    ("plan", "2 * wave.unacknowledged > wave.finished", "2 * wave.unacknowledged >= wave.finished"),
    ("plan", "if rollout.state in HALTABLE:", "if True:"),
    ("plan", "if rollout.withdrawn:", "if False:"),
    ("plan", "not current.completed and current.awaited > 0", "current.awaited > 0"),
    ("plan", "if current.healthy == 0:", "if False:"),
    ("plan", "if now < rollout.soak_until:", "if now <= rollout.soak_until:"),
    ("plan", "now < rollout.start_at:", "now <= rollout.start_at:"),
    ("plan", "over = now >= until and", "over ="),
    ("plan", "CANCELLED = WITHOUT_LEAVE | {", "CANCELLED = {"),
    (
        "model",
        "self.in_flight + max(0, self.pending - self.absent)",
        "max(0, self.in_flight + self.pending - self.absent)",
    ),
    ("model", "min(self.healthy + self.unacknowledged, self.healthy + self.failures)", "self.healthy + self.failures"),
    ("model", "return max(10, int(", "return max(1, int("),
    ("model", "if wave.wave > after and wave.size > 0", "if wave.wave > after"),
    ("command", "(Verb.HALT, _R.SOAKING): _R.HALTED,", ""),
    ("command", "(Verb.ABORT_REVERT, _R.COMPLETED): _R.ABORTED,", ""),
    ("command", "return Commanded(state, acknowledge=True)", "return Commanded(state)"),
    ("command", "rollout.state is RolloutState.COMPLETED and newer_served", "False"),
    ("report", "change = -1 if counted else 0", "change = -1 if before.failed_resume_count is not None else 0"),
    ("report", "change = 1 if before.failed_resume_count is None else 0", "change = 1"),
    ("report", "if before.terminal_by_server and before.state not in", "if False and before.state not in"),
    ("report", "counts = context.soaking and", "counts ="),
    ("report", "return Effect(replace(after, leave_at=None, deadline_at=deadline))", "return Effect(after)"),
    ("report", "before.deadline_at + (now - before.state_since)", "before.deadline_at"),
    ("report", "if before.state is _S.PENDING:", "if False:"),
    ("report", "leave_at=begun", "leave_at=before.leave_at"),
    ("serve", "assignment.leave_at is None or", ""),
    ("serve", "other.id > candidate.id and", ""),
    ("serve", 'rollout.abort_policy == "revert"', "True"),
    ("serve", "reverse=True", "reverse=False"),
    ("cohorts", "ROUND_CEILING)", "'ROUND_FLOOR')"),
    ("cohorts", "if device in members and device not in taken", "if device in members"),
]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_mutant_dies() -> None:
    changes = [(DOMAIN + module, old, new) for module, old, new in [*MUTANTS, UNCHANGED]]
    run = subprocess.run(
        [sys.executable, str(HERE / "rollout_mutated.py"), FAST],
        input=json.dumps(changes),
        capture_output=True,
        text=True,
        check=True,
        cwd=HERE.parents[1],
    )
    *codes, unchanged = json.loads(run.stdout)
    assert unchanged == 0, "the tests pass on the source as it is"
    assert [one for one, code in zip(MUTANTS, codes, strict=True) if code != 1] == []
