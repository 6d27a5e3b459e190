"""The README's first command: every step ends as told, and nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ENDING_SECONDS = 120
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


@contextmanager
def _demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The demo at work in this folder; however the test ends, so does everything that it started."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tidegate.testing.demo", "--once"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "240"},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=ENDING_SECONDS)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_ends_as_told_and_leaves_nothing_running(tmp_path: Path) -> None:
    with _demo(tmp_path) as process:
        said, _ = process.communicate(timeout=450)
    assert process.returncode == 0, said[-8000:]
    at = 0
    for step in STEPS:
        at = said.index(step, at)
    assert _processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    with _demo(tmp_path) as process:
        assert process.stdout is not None
        assert any("enroll 12 agents" in line for line in process.stdout)
    assert process.returncode != 0
    assert _processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
