"""A damaged journal: nothing is touched, the node is told, and the owner's `repair` writes a new one from the facts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.crash.real import CASES, executor, fresh, prepare, runs
from tests.crash.scenarios import V4, V5, V6, install, wants
from tests.crash.unsynced import UnsyncedFiles

from tidegate.agent import run, state
from tidegate.agent.outbox import TERMINAL
from tidegate.agent.repair import repair
from tidegate.agent.transaction.book import Book, Slot
from tidegate.agent.transaction.model import Outcome
from tidegate.agent.view import View
from tidegate.errors import Conflict, Unavailable

UPDATE = next(case for case in CASES if case.name == "update")


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 4]) + data[-8:])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def gone(path: Path) -> None:
    path.unlink()


def other_version(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"journal 1 ", b"journal 9 ", 1))


def other_shape(path: Path) -> None:
    body = b'{"slots": 5}'
    path.write_bytes(b"tidegate-journal 1 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def too_long(path: Path) -> None:
    os.truncate(path, (16 << 20) + 1)


def unreadable(path: Path) -> None:
    path.unlink()
    path.mkdir()


LASTING = (flip, cut, empty, gone, other_version, other_shape, too_long)
HARMS: tuple[Callable[[Path], None], ...] = (*LASTING, unreadable)


def harmed(root: Path, harm: Callable[[Path], None]) -> Path:
    prepare(root, UPDATE)
    harm(root / "journal")
    return root


def tree(root: Path) -> dict[str, str]:
    """Everything but the outbox, by content."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith("outbox")
    }


def told(root: Path, work: str) -> list[tuple[str, str]]:
    pending = View(root).outbox.pending(500)
    return [(item.state, item.reason) for item in (pending.items if pending else ()) if item.work == work]


@pytest.mark.parametrize("harm", HARMS)
def test_nothing_is_touched_and_everybody_hears_of_it(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    root = harmed(tmp_path / "state", harm)
    before, view = tree(root), View(root)
    assert not view.has_work(None)
    assert view.has_work(UPDATE.desired)
    waiting = executor(root, "next").run(UPDATE.desired)
    assert waiting.waiting_on == view.damaged()
    assert waiting.waiting_on.startswith("cannot tell the state of this device: the journal")
    assert waiting.waiting_on.endswith("until its owner runs tidegate-agent repair")
    assert tree(root) == before
    assert runs(root) == "5"
    assert [one.version for one in view.installed()] == ["5"]
    if harm is unreadable:
        # That may pass: the work is neither failed nor given up.
        assert (told(root, "r1"), waiting.retry_seconds, view.has_work(UPDATE.desired)) == ([], 30.0, True)
    else:
        assert told(root, "r1") == [("failed", waiting.waiting_on)]
        executor(root, "another").run(UPDATE.desired)
        assert len(told(root, "r1")) == 1
        assert not view.has_work(UPDATE.desired)


@pytest.mark.parametrize("harm", HARMS)
def test_repair_finds_out_what_runs_and_the_device_goes_on(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    root = harmed(tmp_path / "state", harm)
    said = repair(root)
    assert runs(root) == "5"
    assert View(root).damaged() == ""
    book = state.journal(root).read()
    assert isinstance(book, Book)
    assert book.slots == {"vad": Slot(V5.release, V4.release, "model")}
    assert "vad 5 runs, every byte as signed" in said
    assert "vad 4 is kept as the previous version, every byte as signed" in said
    assert (root / "journal.damaged-1").exists() == (harm is not gone)
    # What was told as over before stays over, and other work goes on.
    assert book.ended["before-1"].outcome is Outcome.HEALTHY
    assert executor(root, "next").run(wants(install(V6, "r2"))).waiting_on == ""
    assert runs(root) == "6"
    assert repair(root) == ("the journal is whole: nothing was changed",)


def test_work_failed_for_a_damaged_journal_is_not_done_after_the_repair(tmp_path: Path) -> None:
    root = harmed(tmp_path / "state", flip)
    executor(root, "next").run(UPDATE.desired)
    repair(root)
    executor(root, "later").run(UPDATE.desired)
    assert runs(root) == "5"
    assert [state for state, _ in told(root, "r1") if state in TERMINAL] == ["failed"]


def test_the_version_that_ran_before_is_kept_whatever_else_lies_there(tmp_path: Path) -> None:
    """Journal lost with 6 staged and 4 before: 4 is the way back. Lost after going back to 4: the other one is."""
    root = harmed(tmp_path / "state", gone)
    versions = root / "models" / "vad" / "versions"
    staged = versions / f"6@{V6.release.descriptor_sha256}"
    staged.mkdir()
    book_before = repair(root)
    assert "vad 6 is removed with the next update: its signed descriptor is not on the device" in book_before
    book = state.journal(root).read()
    assert isinstance(book, Book)
    assert book.slots["vad"].previous == V4.release
    executor(root, "back").run(wants(install(V4, "v1", "revert")))
    gone(root / "journal")
    repair(root)
    book = state.journal(root).read()
    assert isinstance(book, Book)
    assert book.slots["vad"] == Slot(V4.release, V5.release, "model")


def test_what_runs_is_left_though_it_has_changed_and_is_mended_when_installed_again(tmp_path: Path) -> None:
    root = harmed(tmp_path / "state", cut)
    running = root / "models" / "vad" / "current" / "model.onnx"
    running.chmod(0o600)
    running.write_bytes(b"model ?")
    said = repair(root)
    assert any(line.startswith("vad 5 runs, but these files have changed: model.onnx; left as it is") for line in said)
    assert running.read_bytes() == b"model ?"
    assert executor(root, "next").run(wants(install(V5, "s1", "restore"))).waiting_on == ""
    assert running.read_bytes() == b"model 5"


def test_what_is_not_ours_is_said_and_left(tmp_path: Path) -> None:
    root = harmed(tmp_path / "state", gone)
    current = root / "models" / "vad" / "current"
    current.unlink()
    current.mkdir()
    assert any("is not a link; left as it is" in line for line in repair(root))
    assert current.is_dir()


def test_repair_cut_off_anywhere_can_be_run_again(tmp_path: Path) -> None:
    class Cut(BaseException):
        pass

    base = harmed(tmp_path / "base", flip)
    points = 0
    for point in range(1, 100):

        def before(step: int, point: int = point) -> None:
            if step == point:
                raise Cut

        root = fresh(base, tmp_path / "state")
        files = UnsyncedFiles(root, before)
        try:
            repair(root, files)
        except Cut:
            points += 1
            for loss in ("all", "contents"):
                survivors = files.survivors(fresh(base, tmp_path / "empty").with_name(f"{point}{loss}"), loss)
                repair(survivors)
                assert View(survivors).damaged() == ""
                assert runs(survivors) == "5"
        else:
            break
    assert points >= 6


def test_repair_waits_for_nobody_and_needs_a_folder_and_a_disk(tmp_path: Path) -> None:
    root = harmed(tmp_path / "state", gone)
    lock = state.lock_of(root)
    with pytest.raises(Conflict, match="another process"):
        repair(root)
    os.close(lock)
    with pytest.raises(Unavailable, match="no such folder"):
        repair(tmp_path / "nowhere")
    (root / ".journal.new").mkdir()
    with pytest.raises(Unavailable, match="cannot repair"):
        repair(root)
    assert View(root).damaged()


def test_evidence_is_bounded(tmp_path: Path) -> None:
    root = tmp_path / "state"
    prepare(root, UPDATE)
    for number in range(10):
        (root / "journal").write_bytes(b"damage %d" % number)
        repair(root)
    kept = sorted(path.name for path in root.glob("journal.damaged-*"))
    assert kept == [f"journal.damaged-{number}" for number in range(1, 9)]
    assert (root / "journal.damaged-8").read_bytes() == b"damage 9"


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = harmed(tmp_path / "state", empty)
    (tmp_path / "agent.toml").write_text(f'state_dir = "{root}"\nrun_dir = "{tmp_path}"\n')
    arguments = [f"--config={tmp_path / 'agent.toml'}", "repair"]
    assert run.main(arguments) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "the journal does not begin as one of version 1"
    assert "vad 5 runs, every byte as signed" in out
    assert run.main(arguments) == 0
    assert capsys.readouterr().out == "the journal is whole: nothing was changed\n"
