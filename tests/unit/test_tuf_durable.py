"""Durable files: every effect in an order that survives losing power between any two of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tidegate.errors import Unavailable
from tidegate.trust.tuf import durable
from tidegate.trust.tuf.local import LocalMetadata


class _Disk:
    """Notes every sync and rename; dies (as the process would) before the one numbered `fail_at`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int | None = None) -> None:
        self.effects: list[str] = []
        self._fail_at = fail_at
        real_fsync, real_replace = os.fsync, Path.replace

        def fsync(descriptor: int) -> None:
            self._note(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
            real_fsync(descriptor)

        def replace(path: Path, target: Any) -> Any:
            self._note(f"rename {Path(target).name}")
            return real_replace(path, target)

        monkeypatch.setattr("os.fsync", fsync)
        monkeypatch.setattr(Path, "replace", replace)

    def _note(self, effect: str) -> None:
        if self._fail_at == len(self.effects):
            raise OSError(5, "Input/output error")
        self.effects.append(effect)


def test_the_order_of_effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = _Disk(monkeypatch)
    durable.write_file(tmp_path / "file", b"new")
    assert [effect.split(".")[0] for effect in disk.effects] == ["fsync ", "rename file", f"fsync {tmp_path.name}"]
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("fail_at", [0, 1, 2])
def test_a_failure_leaves_the_old_or_the_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with monkeypatch.context() as patched:
        _Disk(patched, fail_at)
        with pytest.raises(OSError, match="Input/output"):
            durable.write_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == (b"old" if fail_at < 2 else b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_crash_left_is_swept(tmp_path: Path) -> None:
    local = LocalMetadata(tmp_path)
    local.write_root(1, b"root")
    (tmp_path / "roots" / ".2.json.00.unfinished").write_bytes(b"half")
    again = LocalMetadata(tmp_path)
    assert again.root() == b"root"
    assert [path.name for path in (tmp_path / "roots").iterdir()] == ["1.json"]


def test_the_highest_root_is_trusted_and_the_lowest_is_the_anchor(tmp_path: Path) -> None:
    local = LocalMetadata(tmp_path)
    for version in (9, 10, 11):
        local.write_root(version, str(version).encode())
    assert (local.anchor(), local.root(), local.root_version(10)) == (b"9", b"11", b"10")


@pytest.mark.parametrize("name", ["root", "../../escape", "/etc/passwd", "a" * 128, "é" * 100, ".", "..", "", "x/../y"])
def test_role_names_are_only_ever_file_names(tmp_path: Path, name: str) -> None:
    local = LocalMetadata(tmp_path / "md")
    local.write_root(1, b"root")
    local.write_role(name, b"role")
    assert local.read_role(name) == b"role"
    assert local.root() == b"root"
    assert {path.parent for path in tmp_path.rglob("role-*")} == {tmp_path / "md" / "delegated"}


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match="cannot open the metadata folder"):
        LocalMetadata(tmp_path / "file" / "metadata")


def test_folders_are_private(tmp_path: Path) -> None:
    durable.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
