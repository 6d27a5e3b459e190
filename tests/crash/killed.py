"""A program: for each durable step of one case, a real process is killed there, and others go on until it rests.

Run as ``python -m tests.crash.killed CASE STRIDE``; prints a line of JSON with the steps covered and what broke.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.crash.real import CASES, Case, fresh, judge, live, prepare, scratch, sees_old_or_new

from tidegate.agent.files import Files, RealFiles


class KillingFiles:
    """Kills this very process before step `at`, or in the middle of it where it writes."""

    def __init__(self, at: int, torn: bool) -> None:
        self._at, self._torn, self._step = at, torn, 0
        self._real = RealFiles()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)

        def step(*arguments: Any) -> None:
            self._step += 1
            if self._step == self._at:
                if self._torn and name in ("write", "append", "create"):
                    path, data, *more = arguments
                    method(path, data[: len(data) // 2], *more)
                os.kill(os.getpid(), signal.SIGKILL)
            method(*arguments)

        return step


def process(root: Path, case: Case, entry: str, files: Files | None) -> int:
    """One life in a process of its own; gives back how it ended, as `os.waitstatus_to_exitcode` does."""
    child = os.fork()
    if child == 0:
        try:
            live(root, case, entry, files)
        except BaseException as error:
            print(f"{case.name}: {error!r}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def sweep(case: Case, stride: int) -> dict[str, Any]:
    broken: list[str] = []
    covered = 0
    with scratch() as folder:
        base = Path(folder) / "base"
        prepare(base, case)
        at = 1
        while True:
            endings = set()
            for torn in (False, True):
                root = fresh(base, Path(folder) / "state")
                ending = process(root, case, "first", KillingFiles(at, torn))  # type: ignore[arg-type]
                endings.add(ending)
                try:
                    sees_old_or_new(root, case)
                    if (again := process(root, case, "second", None)) != 0:
                        broken.append(f"step {at}: the next process ended with {again}")
                    judge(root, case)
                except AssertionError as error:
                    broken.append(f"step {at}{', torn' if torn else ''}: {error}")
                covered += 1
            if endings == {0}:
                return {"case": case.name, "steps": at - 1, "covered": covered, "broken": broken}
            at += stride


if __name__ == "__main__":
    chosen = next(case for case in CASES if case.name == sys.argv[1])
    print(json.dumps(sweep(chosen, int(sys.argv[2]))))
