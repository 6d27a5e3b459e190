"""Getting what one piece of work names: verified against the pinned root first, then downloaded, resumed and bounded.

The signed metadata decide; what the node says in the work is only compared with them. A difference that the node may
mend by itself (an older view, a withdrawn version) is `Untrusted` and tried again; what this device can never apply is
`Invalid` and final.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from tidegate.agent.link import ChannelProblem, Download, Link
from tidegate.agent.parts import Contents, NoRoom
from tidegate.errors import Invalid, Unavailable, Untrusted
from tidegate.trust.tuf.client import Client, NotServed
from tidegate.trust.tuf.target import Policy, Target
from tidegate.wire import descriptor as wire
from tidegate.wire.device import HardwareProfile, Work
from tidegate.wire.selector import unmet

REPOSITORY = "/repository/"


class Metadata(Protocol):
    """The verifying client (trust/tuf/client.py), as the fetcher needs it."""

    def refresh(self) -> None: ...
    def find(self, target_path: str) -> Target: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where this is: the fleet of the device's certificate, its hardware, and the disk that downloads go to."""

    fleet: str
    hardware: HardwareProfile
    state_dir: Path
    keep_free_bytes: int


class TargetFetcher:
    """From a piece of work to whole, verified contents.

    `progress` hears after each chunk how many bytes of how many are on the device.
    """

    def __init__(
        self,
        link: Link,
        metadata: Metadata,
        place: Place,
        progress: Callable[[int, int], None] = lambda _here, _all: None,
    ) -> None:
        self._progress = progress
        self._link = link
        self._metadata = metadata
        self._place = place

    def fetch(self, work: Work, store: Contents, wanted: Callable[[], bool]) -> None:
        """See `parts.Fetcher`; the descriptor goes into the store before its files."""
        with _not_final():
            self._fetch(work, store, wanted)

    def _fetch(self, work: Work, store: Contents, wanted: Callable[[], bool]) -> None:
        if work.version is None or work.descriptor_sha256 is None:
            raise Invalid(f"cannot fetch {work.artifact}: the node names no version of it")
        self._metadata.refresh()
        found = self._descriptor(work, store)
        for file in found.files:
            path = wire.target_path(self._place.fleet, found.name, found.version, file.name)
            target = self._metadata.find(path)
            if (target.sha256, target.length) != (file.sha256, file.length):
                raise Untrusted(f"cannot fetch {path}: its descriptor and the signed metadata differ")
        self._check_room(found, store)
        whole, before = sum(file.length for file in found.files), 0
        for file in found.files:
            target = self._metadata.find(wire.target_path(self._place.fleet, found.name, found.version, file.name))
            body_from = partial(self._link.download, REPOSITORY + target.download_path)
            receive(target, store, body_from, wanted, partial(self._note, before, whole))
            before += file.length

    def _note(self, before: int, whole: int, here: int) -> None:
        self._progress(before + here, whole)

    def _descriptor(self, work: Work, store: Contents) -> wire.Descriptor:
        assert work.version is not None
        path = wire.target_path(self._place.fleet, work.artifact, work.version, wire.DESCRIPTOR_FILE)
        if work.descriptor_path != path:
            raise Invalid(f"cannot fetch {work.artifact}: its descriptor must be {path}")
        target = self._metadata.find(path)
        if target.sha256 != work.descriptor_sha256:
            raise Untrusted(f"cannot fetch {path}: the node and the signed metadata name different descriptors")
        if target.length > wire.DESCRIPTOR_MAX_BYTES:
            raise Invalid(f"cannot fetch {path}: a descriptor must be at most {wire.DESCRIPTOR_MAX_BYTES} bytes")
        if store.has(target.sha256):
            data = store.read(target.sha256, wire.DESCRIPTOR_MAX_BYTES)
        else:
            data = self._link.get(REPOSITORY + target.download_path, target.length)
            if not target.matches(data):
                raise Untrusted(f"cannot use {path}: its bytes are not the signed ones")
        found = self._checked(work, path, data)
        store.put(target.sha256, data)
        return found

    def _checked(self, work: Work, path: str, data: bytes) -> wire.Descriptor:
        try:
            found = wire.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"cannot use {path}: {error}") from error
        said = (found.fleet, found.name, found.version)
        if said != (self._place.fleet, work.artifact, work.version):
            raise Invalid(f"cannot use {path}: it describes {'/'.join(said)}")
        if len({file.name for file in found.files}) != len(found.files):
            raise Invalid(f"cannot use {path}: it names a file twice")
        if missing := unmet(found.target_hardware, self._place.hardware):
            raise Invalid(f"cannot use {found.name} {found.version} on this device: {missing}")
        return found

    def _check_room(self, found: wire.Descriptor, store: Contents) -> None:
        """Twice what is still to come: once downloaded, once laid out beside what runs."""
        missing = sum(
            file.length - store.partial_length(file.sha256) for file in found.files if not store.has(file.sha256)
        )
        laid_out = sum(file.length for file in found.files)
        facts = os.statvfs(self._place.state_dir)
        free = facts.f_bavail * facts.f_frsize - self._place.keep_free_bytes
        if missing + laid_out > free:
            raise NoRoom(
                f"cannot fetch {found.name} {found.version}: it needs {missing + laid_out} bytes of disk, "
                f"{max(free, 0)} are free"
            )


def receive(
    target: Target,
    store: Contents,
    body_from: Callable[[int], AbstractContextManager[Download]],
    wanted: Callable[[], bool] = lambda: True,
    note: Callable[[int], None] = lambda _here: None,
) -> None:
    """Bring `target` whole into `store`; what is there already is not asked for again.

    `body_from(offset)` opens its bytes from there on; `wanted` says between chunks whether to go on; `note` hears after
    each how many bytes are here.

    Raises:
        Untrusted: the bytes are not the signed ones.
        Unavailable, OSError: not now.
    """
    if not store.has(target.digest):
        if store.partial_length(target.digest) < target.length:
            _append(target, store, body_from, wanted, note)
            if store.partial_length(target.digest) == 0:
                raise Unavailable(f"cannot fetch {target.path}: the node sent nothing")
        store.finish(target.digest, target.length)
    if target.sha512 and not store.is_also(target.digest, target.sha512, target.length):
        raise Untrusted(f"cannot use {target.path}: its bytes are not those of its signed SHA-512")


def _append(
    target: Target,
    store: Contents,
    body_from: Callable[[int], AbstractContextManager[Download]],
    wanted: Callable[[], bool],
    note: Callable[[int], None],
) -> None:
    offset = store.partial_length(target.digest)
    with body_from(offset) as body:
        if body.start != offset:
            if body.start != 0:
                raise Unavailable(f"cannot resume {target.path} at {offset}: the node answers from {body.start}")
            store.restart(target.digest)
        position = body.start
        for chunk in body.chunks:
            if not wanted():
                raise Unavailable(f"cannot go on with {target.path}: the work was taken back")
            store.append(target.digest, chunk, target.length)
            position += len(chunk)
            note(position)


@contextmanager
def _not_final() -> Iterator[None]:
    """What the node refuses now says nothing about the version: only what was verified can fail the work for good."""
    try:
        yield
    except ChannelProblem as problem:
        raise Unavailable(problem.detail, retry_after_seconds=problem.retry_after_seconds) from problem


def metadata_over(link: Link) -> Callable[[str, int], bytes]:
    """The `fetch` that the verifying client asks for: paths are relative to the repository."""

    def fetch(path: str, max_bytes: int) -> bytes:
        try:
            return link.get(REPOSITORY + path, max_bytes)
        except ChannelProblem as problem:
            if problem.status == 404:
                raise NotServed(problem.detail) from problem
            raise

    return fetch


def client_over(link: Link, folder: Path, fleet: str) -> Client:
    """The verifying client with its durable metadata in `folder`."""
    return Client(folder, metadata_over(link), Policy(fleet))
