"""Real files, power lost between any two changes, everything dropped that was not flushed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.crash.real import CASES, LONG_CASES, Case, fresh, is_config, judge, live, prepare, scratch, sees_old_or_new
from tests.crash.unsynced import Loss, UnsyncedFiles

LOSSES: tuple[Loss, ...] = ("all", "contents", "some names")


class Crashed(BaseException):
    pass


def at(point: int) -> Callable[[int], None]:
    def before(step: int) -> None:
        if step == point:
            raise Crashed

    return before


def crashed(root: Path, case: Case, entry: str, files: UnsyncedFiles) -> bool:
    try:
        live(root, case, entry, files)
    except Crashed:
        return True
    return False


def come_back(case: Case, files: UnsyncedFiles, target: Path, loss: Loss, words: str) -> None:
    """The power is back: whatever survived, the device goes on and ends as told."""
    root = files.survivors(target, loss)
    try:
        sees_old_or_new(root, case)
        live(root, case, "after the cut")
        judge(root, case)
    except AssertionError as error:
        raise AssertionError(f"{case.name}, {words}, lost {loss}: {error}") from error


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)
def test_power_lost_before_some_changes(case: Case, covered: Callable[[str, int], None]) -> None:
    covered("real files, power lost, sampled", lose_power(case, stride=21 if is_config(case) else 7))


@pytest.mark.slow
@pytest.mark.parametrize("case", LONG_CASES, ids=lambda one: one.name)
def test_power_lost_before_any_change(case: Case, covered: Callable[[str, int], None]) -> None:
    covered("real files, power lost, every change", lose_power(case, stride=1))


def lose_power(case: Case, stride: int) -> int:
    """Before every change whose number is one more than a multiple of `stride`, each kind of loss; how many."""
    with scratch() as folder:
        base = Path(folder) / "base"
        prepare(base, case)
        point, going = 1 - stride, True
        while going:
            point += stride
            root = fresh(base, Path(folder) / "state")
            files = UnsyncedFiles(root, at(point))
            going = crashed(root, case, "first", files)
            for loss in LOSSES:
                come_back(case, files, fresh_target(folder), loss, f"power lost before change {point}")
        assert point > 20
        return len(LOSSES) * (point // stride + 1)


@pytest.mark.parametrize("case", LONG_CASES, ids=lambda one: one.name)
def test_process_dies_and_then_the_power_is_lost(case: Case) -> None:
    """What the dead process renamed and did not flush is seen by the next one, and must not be built upon unflushed."""
    draw = random.Random(11)
    with scratch() as folder:
        base = Path(folder) / "base"
        prepare(base, case)
        for _ in range(15):
            first, second = draw.randint(1, 70), draw.randint(1, 50)
            root = fresh(base, Path(folder) / "state")
            files = UnsyncedFiles(root, at(first))
            if crashed(root, case, "first", files):
                files.go_on(at(second))
                crashed(root, case, "second", files)
            words = f"death before change {first}, power lost before change {second} of the next life"
            come_back(case, files, fresh_target(folder), draw.choice(LOSSES), words)


def fresh_target(folder: str) -> Path:
    target = Path(folder) / "survivors"
    shutil.rmtree(target, ignore_errors=True)
    return target
