"""A `config` on the device: one file, below ``current`` for workloads to open, or at a destination of its own.

Below ``configs/<name>/`` lie the versions and the link `current`, as of every kind. Of one with a destination they are
private, for its file may be. ``own/`` is what a switch must remember (held.py).

A switch writes its intent, puts the file at its destination by one rename, moves `current`, reloads, and renames the
intent. Whatever interrupts it, `facts` is unsettled until one switch, forward or back, has come to its end. What going
back needs lies ready until `forget` (places.py).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from tidegate.agent.files import PRIVATE_FOLDER, Files
from tidegate.agent.payloads.base import PayloadFacts
from tidegate.agent.payloads.destination import Destinations, Spot, Unflushed
from tidegate.agent.payloads.held import Moving, Records, bounded
from tidegate.agent.payloads.mending import damage, mend
from tidegate.agent.payloads.owner import NOBODY, Owner
from tidegate.agent.payloads.places import Edited, Places, Version
from tidegate.agent.payloads.telling import asked, key, tell
from tidegate.agent.payloads.versions import VersionFolders
from tidegate.agent.store import ContentStore
from tidegate.agent.transaction.model import Release
from tidegate.errors import Refused, TidegateError, Untrusted
from tidegate.wire import config as wire
from tidegate.wire import descriptor as descriptors
from tidegate.wire.config import CONFIG_MAX_BYTES, ConfigOptions, Reload
from tidegate.wire.descriptor import DESCRIPTOR_FILE, DESCRIPTOR_MAX_BYTES, Descriptor, PayloadFile

_log = logging.getLogger(__name__)

KIND = "config"
OWN = "own"
EDITED = ".edited"


class ConfigPayload(VersionFolders):
    def __init__(self, root: Path, store: ContentStore, files: Files | None = None, owner: Owner = NOBODY) -> None:
        super().__init__(root, store, files)
        self._owner = owner
        self._at = Destinations(self._files, owner.own, owner.root)

    # -- what is there ----------------------------------------------------------------------------------------------

    def facts(self, name: str) -> PayloadFacts:
        found = super().facts(name)
        return found if found.foreign else replace(found, unsettled=self._unsettled(name, found.running))

    def _unsettled(self, name: str, running: Release | None) -> str:
        """Why the machine is not exactly as the last switch should have left it."""
        try:
            moving = self._own(name).moving()
            if moving is not None:
                return moving.trouble or f"the switch to {moving.to.version if moving.to else 'nothing'} has not ended"
            if running is None:
                left = next(self._own(name).all(), None)
                return "" if left is None else f"{left.destination} was put there by a version that is gone"
            version = self._version(name, running)
            return self._changed_there(version) or self._ended(name, version)
        except (TidegateError, OSError) as error:
            return _words(error)

    def _changed_there(self, version: Version) -> str:
        destination = version.options.destination
        if not destination:
            return ""
        with self._at.open(destination) as spot:
            there = spot.look()
        if there is None:
            return f"{destination} was removed on the device"
        return "" if version.is_at(there) else f"{destination} was changed on the device"

    def _ended(self, name: str, version: Version) -> str:
        """Why the workload of a version on trial runs no more."""
        tried, reload = self._own(name).tried(), version.options.reload
        if tried is None or reload is None:
            return ""
        return self._owner.reloader.ended(reload, tried.states.get(key(reload), ""))

    def artifact(self, name: str) -> Path | None:
        """The file at its destination, or the folder that runs; None when nothing does."""
        running = super().facts(name).running
        if running is None:
            return None
        destination = self._version(name, running).options.destination
        return Path(destination) if destination else self._folder(name, running)

    def settle(self, name: str) -> None:
        super().settle(name)
        self._own(name).settle()
        for held in self._own(name).all():
            with suppress(Refused, PermissionError), self._at.open(held.destination) as spot:
                spot.settle()

    # -- what may be done -------------------------------------------------------------------------------------------

    def check(self, name: str, descriptor: Descriptor) -> None:
        if descriptor.kind != KIND:
            raise Refused(f"cannot install {name} as a config: its descriptor says {descriptor.kind}")
        options = _options(descriptor)
        broken = wire.faults(options, tuple(file.length for file in descriptor.files))
        if broken:
            pointer, rule = broken[0]
            raise Refused(f"cannot install {name} {descriptor.version}: {pointer} {rule}")
        self._refuse(name, options)

    def refusal(self, name: str, release: Release) -> str:
        try:
            options = self._version(name, release).options
            self._refuse(name, options)
            if options.destination:
                with self._at.open(options.destination) as spot:
                    spot.look()
        except (TidegateError, OSError) as error:
            return f"cannot put {name} {release.version} in place: {_words(error)}"
        return ""

    def _refuse(self, name: str, options: ConfigOptions) -> None:
        """Raises `Refused`; a destination that this artifact holds already stays its own when the allowlist shrinks."""
        if options.reload is not None and (refused := self._owner.reloader.refusal(options.reload)):
            raise Refused(refused)
        destination = options.destination
        if not destination:
            return
        if fault := self._at.fault(destination):
            raise Refused(fault)
        if not any(held.destination == destination for held in self._own(name).all()):
            prefixes = self._owner.allow().destination_prefixes
            if not any(wire.below(destination, prefix) and destination != prefix for prefix in prefixes):
                raise Refused(
                    f"cannot write {destination}: it is below no destination prefix of this device's allowlist"
                )
        for other in self.names():
            records = self._own(other)
            spelled = next(
                (held.destination for held in records.all() if self._at.same(held.destination, destination)), ""
            )
            if other != name and (spelled or records.takes(destination)):
                raise Refused(f"cannot write {destination}: it belongs to the artifact {other} on this device")
            if other == name and spelled not in ("", destination):
                raise Refused(f"cannot write {destination}: it is {spelled} by another path, and {name} is there")

    # -- laying out -------------------------------------------------------------------------------------------------

    def stage(self, name: str, release: Release, descriptor: Descriptor) -> None:
        if hashlib.sha256(descriptors.encode(descriptor)).hexdigest() != release.descriptor_sha256:
            raise Refused(f"cannot stage {name} {release.version}: its descriptor is not in canonical form")
        super().stage(name, release, descriptor)

    def _signed(self, release: Release, descriptor: Descriptor) -> tuple[PayloadFile, ...]:
        """The descriptor too: a switch reads there where the file goes."""
        own = PayloadFile(DESCRIPTOR_FILE, release.descriptor_sha256, len(descriptors.encode(descriptor)))
        return (own, *descriptor.files)

    def _folder_mode(self, descriptor: Descriptor) -> int:
        private = descriptor.config is not None and descriptor.config.destination
        return PRIVATE_FOLDER if private else super()._folder_mode(descriptor)

    def forget(self, name: str, keep: Collection[Release]) -> None:
        super().forget(name, keep)
        self._places(name, None, back=False).sweep()
        self._remove_if_empty(name)

    # -- switching --------------------------------------------------------------------------------------------------

    def switch(self, name: str, to: Release | None) -> None:
        if to is not None:
            self._refuse(name, self._version(name, to).options)
        self._move(name, to, back=False)

    def restore(self, name: str, to: Release | None) -> None:
        # What the owner takes back meanwhile holds for reloads only: the file of before was allowed when it was put.
        self._move(name, to, back=True)

    def _move(self, name: str, to: Release | None, *, back: bool) -> None:
        goal = None if to is None else self._version(name, to)
        destination = "" if goal is None else goal.options.destination
        own, running = self._own(name), super().facts(name).running
        if stuck := damage(name, own, but=destination):
            raise Untrusted(stuck[0])
        begun = own.take_back() if back else own.moving()
        moving = begun if begun is not None and (back or begun.to == to) else Moving(running, to)
        # Who must read anew: whoever the version says; when one is removed or taken back, whoever reads what goes away.
        ends = (to, moving.before, moving.to, running)
        told = tuple(self._reloads(name, ends if back or to is None else (to,)))
        moving = asked(moving, () if back else told, self._reloads(name, ends), self._owner.reloader)
        ours = bool(destination) and own.takes(destination)
        places = self._places(name, moving.before, back=back)
        with ExitStack() as stack:
            spot = stack.enter_context(self._at.open(destination)) if destination else None
            try:
                put = places.prepare(spot, goal) if spot is not None and goal is not None else None
                if moving != begun:
                    self._note(own, moving, back=back)
                if put is not None:
                    put()
            except (TidegateError, OSError) as error:
                if begun is None and not isinstance(error, Unflushed):
                    self._undo(own, spot, "" if ours else destination)
                elif spot is not None:
                    spot.clear()
                raise
            try:
                places.vacate_others(destination)
                self._point(name, to, back=back)
                tell(moving, told, self._owner.reloader)
            except (TidegateError, OSError) as error:
                with suppress(OSError):
                    # For status; what went wrong is reported anyway.
                    own.note(msgspec.structs.replace(moving, trouble=_words(error)))
                raise
        if back:
            own.done()
        else:
            own.on_trial()

    def _note(self, own: Records, moving: Moving, *, back: bool) -> None:
        """Durably, before anything changes; the way back goes on where it cannot be written."""
        try:
            own.note(moving)
        except OSError as error:
            if not back:
                raise
            _log.warning("going back although that cannot be noted: %s", _words(error))

    def _undo(self, own: Records, spot: Spot | None, taken: str) -> None:
        """Nothing of this switch is to be seen yet: as if it had not been begun."""
        with suppress(OSError, Untrusted):
            if spot is not None:
                spot.sweep()
            own.done()
            held = own.of(taken) if taken else None
            if held is not None:
                own.let_go(held)
                own.sweep()

    def _places(self, name: str, before: Release | None, *, back: bool) -> Places:
        version = None
        with suppress(Untrusted, OSError):
            # One that has changed is no way back.
            version = None if before is None else self._version(name, before)
        edited = Edited(self._root / EDITED / name, lambda: self._known(name), self._files)
        return Places(self._own(name), self._at, edited, version, back)

    def _known(self, name: str) -> Iterator[bytes]:
        """The files of all versions on the device; one that has changed is none."""
        for release in super().facts(name).whole:
            with suppress(Untrusted, OSError):
                yield self._version(name, release).data

    # -- records of its own that are damaged ------------------------------------------------------------------------

    def damaged(self, name: str) -> tuple[str, ...]:
        return damage(name, self._own(name))

    def repair(self, name: str) -> tuple[str, ...]:
        destinations = []
        for release in super().facts(name).whole:
            with suppress(Untrusted, OSError):
                destinations.append(_options(self._descriptor(name, release)).destination)
        return mend(name, self._own(name), self._at, destinations)

    def _own(self, name: str) -> Records:
        return Records(self._root / name / OWN, self._files)

    def _reloads(self, name: str, releases: tuple[Release | None, ...]) -> dict[Reload, None]:
        """Of these versions, each once; one whose descriptor has changed on the device says nothing any more."""
        found: dict[Reload, None] = {}
        for release in filter(None, releases):
            try:
                options = _options(self._descriptor(name, release))
            except (Untrusted, OSError) as error:
                _log.warning("nobody is told what %s %s says: %s", name, release.version, _words(error))
                continue
            if options.reload is not None:
                found[options.reload] = None
        return found

    def _version(self, name: str, release: Release) -> Version:
        """A whole version, every byte hashed while it is read.

        Raises:
            Untrusted: its bytes are not the signed ones any more.
            OSError: it is gone or cannot be read.
        """
        descriptor = self._descriptor(name, release)
        file = descriptor.files[0]
        found = bounded(self._folder(name, release) / file.name, CONFIG_MAX_BYTES)
        if hashlib.sha256(found).hexdigest() != file.sha256:
            raise Untrusted(f"cannot use {name} {release.version}: {file.name} has changed on the device")
        return Version(found, _options(descriptor))

    def _descriptor(self, name: str, release: Release) -> Descriptor:
        data = bounded(self._folder(name, release) / DESCRIPTOR_FILE, DESCRIPTOR_MAX_BYTES)
        if hashlib.sha256(data).hexdigest() != release.descriptor_sha256:
            raise Untrusted(f"cannot use {name} {release.version}: its descriptor has changed on the device")
        try:
            return descriptors.decode(data)
        except msgspec.MsgspecError as error:
            raise Untrusted(f"cannot use {name} {release.version}: {error}") from error


def _options(descriptor: Descriptor) -> ConfigOptions:
    return descriptor.config or ConfigOptions()


def _words(error: Exception) -> str:
    if isinstance(error, TidegateError):
        return error.detail
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    return str(error)
