"""The README's first command: every step ends as told, and nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

STEPS = (
    "models 5.1.2 and 6.2.3, and a truncated one",
    "a node with SQLite",
    "publish voice-activity 5.1.2",
    "enroll 12 agents",
    "roll 5.1.2 out in waves",
    "start 6.2.3, abort it half-way with revert: 6 devices had it and are back on 5.1.2",
    "roll 6.2.3 out in waves",
    "2 canaries rolled themselves back, the rollout halted itself, all run 6.2.3",
    "new key, same record, its software restored",
    "every step ended as told",
)


def _processes_of(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended while we looked
            continue
        if str(folder) in command:
            found.append(command)
    return found


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_demo_ends_as_told_and_leaves_nothing_running(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tidegate.testing.demo", "--once"],
        capture_output=True, text=True, check=False, timeout=380,
        env={**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "240"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    at = 0
    for step in STEPS:
        at = done.stdout.index(step, at)
    assert _processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tidegate.testing.demo", "--once"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "240"},
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "enroll 12 agents" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=90)
    assert process.returncode != 0
    assert _processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
