"""Real files with a memory of what was flushed: after a loss of power it lays out what would survive.

A file's content survives from its last flush, a name from the last flush of its folder. What was not flushed may
survive or not, and names may survive without contents, so there are several ways to lose the power.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tidegate.agent.files import PRIVATE_FOLDER, RealFiles

Loss = Literal["all", "contents", "some names"]


@dataclass(eq=False)
class Node:
    """A file, link or folder: as it is, and as it was last flushed."""

    content: bytes | str | dict[str, Node] = b""
    flushed: bytes | str | dict[str, Node] = b""
    mode: int = 0o600

    @property
    def names(self) -> dict[str, Node]:
        assert isinstance(self.content, dict)
        return self.content


def _folder() -> Node:
    return Node({}, {})


class UnsyncedFiles:
    """`before` is called before each change with its number; what it raises is the crash."""

    def __init__(self, root: Path, before: Callable[[int], None]) -> None:
        self._root, self._before, self._steps = root, before, 0
        self._real = RealFiles()
        self._tree = self._read(root)

    def go_on(self, before: Callable[[int], None]) -> None:
        """Another process life over the same disk."""
        self._before, self._steps = before, 0

    def make_folder(self, path: Path, mode: int = PRIVATE_FOLDER) -> None:
        self._step()
        self._real.make_folder(path, mode)
        self._names(path).setdefault(path.name, _folder())

    def write(self, path: Path, data: bytes) -> None:
        self._step()
        self._real.write(path, data)
        node = self._names(path).setdefault(path.name, Node())
        node.content = data

    def create(self, path: Path, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
        self._step()
        self._real.create(path, data, mode, owner)
        self._names(path)[path.name] = Node(data, data, mode)

    def append(self, path: Path, data: bytes) -> None:
        self._step()
        self._real.append(path, data)
        node = self._names(path).setdefault(path.name, Node())
        assert isinstance(node.content, bytes)
        node.content += data

    def copy(self, source: Path, target: Path) -> None:
        self._step()
        self._real.copy(source, target)
        self._names(target)[target.name] = Node(self._node(source).content)

    def link(self, source: Path, target: Path) -> None:
        self._step()
        self._real.link(source, target)
        self._names(target)[target.name] = self._node(source)

    def symlink(self, to: str, path: Path) -> None:
        self._step()
        self._real.symlink(to, path)
        self._names(path)[path.name] = Node(to, to)

    def make_readable(self, path: Path) -> None:
        self._step()
        self._real.make_readable(path)

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        self._real.rename(source, target)
        self._names(target)[target.name] = self._names(source).pop(source.name)

    def remove(self, path: Path) -> None:
        self._step()
        self._real.remove(path)
        if path.parent.is_dir():
            self._names(path).pop(path.name, None)

    def remove_folder(self, path: Path) -> None:
        self._step()
        self._real.remove_folder(path)
        self._names(path).pop(path.name, None)

    def sync_file(self, path: Path) -> None:
        self._step()
        self._real.sync_file(path)
        node = self._node(path)
        node.flushed = node.content

    def sync_folder(self, path: Path) -> None:
        self._step()
        self._real.sync_folder(path)
        if _named(path).is_relative_to(self._root):
            node = self._node(path)
            node.flushed = dict(node.names)

    def survivors(self, target: Path, loss: Loss) -> Path:
        """Lay out in `target` what a device would find after the power came back."""
        _Layout(loss).lay(self._tree, target)
        return target

    def _step(self) -> None:
        self._steps += 1
        self._before(self._steps)

    def _read(self, path: Path) -> Node:
        """What is there at the start is all flushed."""
        if path.is_symlink():
            return Node(str(path.readlink()), str(path.readlink()))
        if path.is_file():
            data = path.read_bytes()
            return Node(data, data, stat.S_IMODE(path.stat().st_mode))
        names = {entry.name: self._read(entry) for entry in path.iterdir() if not entry.name.endswith(".lock")}
        return Node(names, dict(names))

    def _node(self, path: Path) -> Node:
        node = self._tree
        for part in _named(path).relative_to(self._root).parts:
            node = node.names[part]
        return node

    def _names(self, path: Path) -> dict[str, Node]:
        return self._node(path.parent).names


def _named(path: Path) -> Path:
    """A path below a folder that is held open, as one below its name."""
    if path.parts[1:4] != ("proc", "self", "fd"):
        return path
    return Path(*path.parts[:5]).readlink().joinpath(*path.parts[5:])


@dataclass
class _Layout:
    loss: Loss
    laid: dict[int, Path] = field(default_factory=dict)
    folders: int = 0

    def lay(self, node: Node, target: Path) -> None:
        if isinstance(node.content, str):
            target.symlink_to(node.content)
        elif isinstance(node.content, bytes):
            self._lay_file(node, target)
        else:
            target.mkdir()
            for name, child in self._names(node).items():
                self.lay(child, target / name)

    def _lay_file(self, node: Node, target: Path) -> None:
        if id(node) in self.laid:
            os.link(self.laid[id(node)], target)
            return
        assert isinstance(node.flushed, bytes)
        target.write_bytes(node.flushed)
        target.chmod(node.mode)
        self.laid[id(node)] = target

    def _names(self, node: Node) -> dict[str, Node]:
        """Which names survive: the flushed ones, all of them, or a mixture by folder."""
        self.folders += 1
        flushed = self.loss == "all" or (self.loss == "some names" and self.folders % 2 == 0)
        names = node.flushed if flushed else node.content
        assert isinstance(names, dict)
        return names
