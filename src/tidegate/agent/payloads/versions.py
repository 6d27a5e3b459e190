"""Versions of an artifact beside each other: ``<root>/<name>/current`` is a link, moved by one rename.

``versions/<version>@<descriptor digest>/`` holds the files of one version, hard links into the content store where the
file system has them. A version folder bears its name only while it is whole: it is laid out under a hidden name and
renamed into place, and renamed back to a hidden name before it is taken apart. What the kinds share is here.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Collection
from pathlib import Path

from tidegate.agent.files import PUBLIC_FOLDER, Files, RealFiles, make_folders, remove_tree
from tidegate.agent.payloads.base import PayloadFacts
from tidegate.agent.store import ContentStore, matches
from tidegate.agent.transaction.model import Release
from tidegate.errors import Untrusted
from tidegate.ids import ARTIFACT_NAME
from tidegate.wire.descriptor import Descriptor, PayloadFile

CURRENT = "current"
BACK = f".{CURRENT}.back"
_FOLDER = re.compile(r"([A-Za-z0-9][A-Za-z0-9._+-]{0,127})@([0-9a-f]{64})")


class VersionFolders:
    def __init__(self, root: Path, store: ContentStore, files: Files | None = None) -> None:
        self._root = root
        self._store = store
        self._files = files or RealFiles()

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(name for name in _entries(self._root) if ARTIFACT_NAME.fullmatch(name)))

    def facts(self, name: str) -> PayloadFacts:
        found = (_FOLDER.fullmatch(entry) for entry in _entries(self._versions(name)))
        whole = frozenset(Release(match[1], match[2]) for match in found if match is not None)
        current = self._current(name)
        try:
            target = current.readlink()
        except FileNotFoundError:
            return PayloadFacts(None, "", whole)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return PayloadFacts(None, f"cannot tell what runs: {current} is not a link", whole)
        match = _FOLDER.fullmatch(target.name)
        if match is None or target != Path("versions") / target.name:
            return PayloadFacts(None, f"cannot tell what runs: {current} leads to {target}", whole)
        running = Release(match[1], match[2])
        # A link to nothing runs nothing: the version it names must come again.
        return PayloadFacts(running if running in whole else None, "", whole)

    def settle(self, name: str) -> None:
        for folder in (self._root.parent, self._root, self._root / name, self._versions(name)):
            if folder.is_dir():
                self._files.sync_folder(folder)

    def stage(self, name: str, release: Release, descriptor: Descriptor) -> None:
        folder, files = self._folder(name, release), self._signed(release, descriptor)
        if folder.is_dir():
            self._mend(folder, files)
            return
        make_folders(self._files, folder.parent, PUBLIC_FOLDER)
        staging = folder.with_name(f".{folder.name}.staging")
        remove_tree(self._files, staging)
        self._files.make_folder(staging, self._folder_mode(descriptor))
        for file in files:
            self._place(file, staging / file.name)
        self._files.sync_folder(staging)
        self._files.rename(staging, folder)
        self._files.sync_folder(folder.parent)

    def laid_out(self, name: str) -> tuple[Release, ...]:
        whole = self.facts(name).whole
        return tuple(sorted(whole, key=lambda one: (self._folder(name, one).stat().st_mtime_ns, one.version)))

    def changed(self, name: str, release: Release, descriptor: Descriptor) -> tuple[str, ...]:
        folder = self._folder(name, release)
        files = self._signed(release, descriptor)
        return tuple(file.name for file in files if not _intact(folder / file.name, file))

    def _point(self, name: str, to: Release | None, *, back: bool = False) -> None:
        """Make `current` lead to `to`; None: to nothing. One rename, durable.

        What going back will rename is made before anything is switched, so that the way `back` needs no room.
        """
        current = self._current(name)
        kept = current.with_name(BACK)
        target = "" if to is None else self._target(name, to)
        if not back:
            self._keep_link(current, kept, target)
        if not target:
            self._files.remove(current)
        else:
            link = kept
            if not back or _leads(kept) != target:
                link = current.with_name(f".{CURRENT}.new")
                self._files.remove(link)
                self._files.symlink(target, link)
            self._files.rename(link, current)
        if current.parent.is_dir():
            self._files.sync_folder(current.parent)

    def _target(self, name: str, to: Release) -> str:
        folder = self._folder(name, to)
        if not folder.is_dir():
            raise FileNotFoundError(f"cannot make {name} {to.version} current: it is not on the device")
        return f"versions/{folder.name}"

    def _keep_link(self, current: Path, kept: Path, target: str) -> None:
        """A second link to what runs, durable; a switch that is done again keeps what ran before it."""
        before = _leads(current)
        if before not in ("", target, _leads(kept)):
            self._files.remove(kept)
            self._files.symlink(before, kept)
            self._files.sync_folder(current.parent)

    def forget(self, name: str, keep: Collection[Release]) -> None:
        facts = self.facts(name)
        for release in sorted(facts.whole - {*keep, facts.running}, key=lambda one: one.version):
            folder = self._folder(name, release)
            gone = folder.with_name(f".{folder.name}.gone")
            remove_tree(self._files, gone)
            self._files.rename(folder, gone)
            self._files.sync_folder(folder.parent)
        versions = self._versions(name)
        for path in sorted(versions.iterdir()) if versions.is_dir() else ():
            if path.name.startswith("."):
                remove_tree(self._files, path)
        # Flushed before the transaction is closed: afterwards nobody would look for what came back with the power.
        if versions.is_dir():
            self._files.sync_folder(versions)
        links = [self._current(name).with_name(link) for link in (BACK, f".{CURRENT}.new")]
        for link in filter(Path.is_symlink, links):
            self._files.remove(link)
            self._files.sync_folder(link.parent)
        self._remove_if_empty(name)

    def _signed(self, release: Release, descriptor: Descriptor) -> tuple[PayloadFile, ...]:
        """Everything that is laid out of a version."""
        return descriptor.files

    def _folder_mode(self, descriptor: Descriptor) -> int:
        """Who may look into a version's folder: workloads of any user."""
        return PUBLIC_FOLDER

    def _mend(self, folder: Path, files: Collection[PayloadFile]) -> None:
        fresh = folder.with_name(f".{folder.name}.mended")
        for file in files:
            if not _intact(folder / file.name, file):
                self._files.remove(fresh)
                self._place(file, fresh)
                self._files.rename(fresh, folder / file.name)
        self._files.sync_folder(folder)

    def _place(self, file: PayloadFile, target: Path) -> None:
        source = self._store.path(file.sha256)
        if not matches(source, file.sha256, file.length):
            self._store.discard(file.sha256)
            raise Untrusted(f"cannot stage {file.name}: its bytes have changed on the device")
        try:
            self._files.link(source, target)
        except OSError:
            # A file system without hard links, or too many of them; a disk error shows itself again in the copy.
            self._files.remove(target)
            self._files.copy(source, target)
            self._files.make_readable(target)
            self._files.sync_file(target)

    def _remove_if_empty(self, name: str) -> None:
        versions, folder = self._versions(name), self._root / name
        if versions.is_dir() and not any(versions.iterdir()):
            self._files.remove_folder(versions)
        if folder.is_dir() and not any(folder.iterdir()):
            self._files.remove_folder(folder)
            self._files.sync_folder(self._root)

    def _current(self, name: str) -> Path:
        return self._root / name / CURRENT

    def _versions(self, name: str) -> Path:
        return self._root / name / "versions"

    def _folder(self, name: str, release: Release) -> Path:
        return self._versions(name) / f"{release.version}@{release.descriptor_sha256}"


def _leads(link: Path) -> str:
    """Where a link leads; empty where there is none."""
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _entries(folder: Path) -> list[str]:
    """Names in a folder; none when it is gone, as it may be at any moment beside a process that removes it."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []


def _intact(path: Path, file: PayloadFile) -> bool:
    return path.is_file() and not path.is_symlink() and matches(path, file.sha256, file.length)
