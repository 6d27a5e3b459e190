"""The device's side of The Update Framework (specification 1.0, section 5) over python-tuf's trusted metadata set.

Three things differ from python-tuf's own `Updater`: what is kept is written durably; what the user demands beyond the
specification is a `Policy` (on a device: the fleet's name in the root, consistent snapshots); and a delegated role is
always verified against the delegator through which it is reached *now*. python-tuf remembers that "role R was verified
for delegator D" by name only, so that bytes verified for another delegator are then taken for D's
(tests/unit/test_tuf_client.py shows it).

Whatever arrives over `fetch` is hostile. It is refused with `Untrusted`; trouble with the network or the disk is
`Unavailable`, never mixed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from tuf.api.exceptions import EqualVersionNumberError, RepositoryError
from tuf.api.metadata import Root, TargetFile, Targets
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from tidegate.clock import Clock, SystemClock
from tidegate.errors import Unavailable, Untrusted
from tidegate.trust.tuf.local import LocalMetadata
from tidegate.trust.tuf.roles import FLEET_FIELD
from tidegate.trust.tuf.target import Policy, Target
from tidegate.trust.tuf.verify import children, hostile, parse_root, same_signed, signed_at, verified

log = logging.getLogger(__name__)

ROOT_MAX_BYTES = 512_000
TIMESTAMP_MAX_BYTES = 16_384
SNAPSHOT_MAX_BYTES = 2_000_000
TARGETS_MAX_BYTES = 5_000_000
MAX_ROOT_ROTATIONS = 256
MAX_DELEGATIONS = 32
#: `fetch(path, max_bytes)`: the path is relative to the repository, such as ``metadata/timestamp.json``. Raises
#: `NotServed` when the repository says that there is no such file, `Unavailable` for any other trouble.
Fetch = Callable[[str, int], bytes]


class NotServed(Unavailable):
    """The repository answers that it has no such file."""

    type = "not-served"


class Client:
    """Single user of `directory`. Not thread-safe."""

    def __init__(self, directory: Path, fetch: Fetch, policy: Policy, clock: Clock | None = None) -> None:
        self._local = LocalMetadata(directory)
        self._fetch = fetch
        self._policy = policy
        self._clock = clock or SystemClock()
        self._trusted: TrustedMetadataSet | None = None
        self._delegated: dict[tuple[int, str], Targets] = {}

    # -- the anchor ---------------------------------------------------------------------------------------------------

    def has_anchor(self) -> bool:
        return self._local.root() is not None

    def anchor(self, root: bytes) -> None:
        """Pin `root`, whose hash the caller has compared with the one given by the device's owner.

        Pinning the same bytes again changes nothing.

        Raises:
            Untrusted: it does not verify, is another fleet's, or another root is pinned already.
        """
        pinned = self._local.anchor()
        if pinned is not None or self._local.root() is not None:
            if root == pinned:
                return
            raise Untrusted("cannot replace the trust anchor: this device has one, and only follows its chain")
        if len(root) > ROOT_MAX_BYTES:
            raise Untrusted(f"cannot pin the root: it must be at most {ROOT_MAX_BYTES} bytes")
        trusted = self._open(root)
        self._local.write_root(trusted.root.version, root)

    def follow(self, chain: Sequence[bytes]) -> None:
        """Follow root versions, oldest first, from the pinned one; versions that were passed already are compared.

        Raises:
            Untrusted: the chain is another trust domain's, has a gap, or a link does not verify. What verified before
                that link is kept.
        """
        trusted = self._open(self._pinned())
        for data in chain:
            if len(data) > ROOT_MAX_BYTES:
                raise Untrusted(f"cannot follow the root chain: a root must be at most {ROOT_MAX_BYTES} bytes")
            version = parse_root(data).version
            if version > trusted.root.version:
                self._step(trusted, data)
            elif (known := self._local.root_version(version)) is not None and not same_signed(known, data):
                raise Untrusted(f"cannot follow the root chain: its version {version} is another trust domain's")
        self._trusted = None

    def root_version(self) -> int:
        """The version of the root that is trusted now."""
        return self._open(self._pinned()).root.version

    # -- refresh and look up ------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Bring root, timestamp, snapshot and targets up to date, keeping each as soon as it verified.

        Raises:
            Untrusted: rolled back, frozen (expired), wrongly signed, or otherwise hostile.
            Unavailable: the network or the disk.
        """
        self._trusted = None
        self._delegated = {}
        trusted = self._open(self._pinned())
        self._refresh_root(trusted)
        self._refresh_timestamp(trusted)
        self._refresh_snapshot(trusted)
        self._load_top_targets(trusted)
        self._trusted = trusted

    def find(self, target_path: str) -> Target:
        """What the metadata say of `target_path`; refreshes first unless `refresh` was called.

        Raises:
            Untrusted: nobody who may has signed such a target.
            Unavailable: the network or the disk.
        """
        if self._trusted is None:
            self.refresh()
        assert self._trusted is not None
        found = self._walk(self._trusted, target_path)
        if found is None:
            raise Untrusted(f"cannot find {target_path} in the signed metadata", type="target-not-signed")
        return self._policy.usable(found, prefixed=self._trusted.root.consistent_snapshot is not False)

    def timestamp_seen(self) -> datetime | None:
        """When the newest timestamp seen was signed: time cannot be earlier than this."""
        trusted = self._open(self._pinned())
        self._load_local_timestamp(trusted)
        return signed_at(trusted)

    # -- the steps of section 5.3 to 5.6 ------------------------------------------------------------------------------

    def _pinned(self) -> bytes:
        root = self._local.root()
        if root is None:
            raise Untrusted("cannot verify anything: this device has no trust anchor", type="no-trust-anchor")
        return root

    def _open(self, root: bytes) -> TrustedMetadataSet:
        with hostile("root"):
            trusted = TrustedMetadataSet(root, EnvelopeType.METADATA)
        trusted.reference_time = self._clock.now()
        self._check_root(trusted.root)
        return trusted

    def _check_root(self, root: Root) -> None:
        fleet, own = root.unrecognized_fields.get(FLEET_FIELD), self._policy.fleet
        if own is not None and fleet != own:
            raise Untrusted(f"cannot accept the root: it is of fleet {fleet!r:.80}, this device is of {own!r}")
        if self._policy.consistent_snapshot and not root.consistent_snapshot:
            raise Untrusted("cannot accept the root: consistent snapshots must be on")

    def _step(self, trusted: TrustedMetadataSet, data: bytes) -> None:
        self._check_root(parse_root(data))
        with hostile("root"):
            trusted.update_root(data)
        self._local.write_root(trusted.root.version, data)

    def _refresh_root(self, trusted: TrustedMetadataSet) -> None:
        for _ in range(MAX_ROOT_ROTATIONS):
            try:
                data = self._download(f"{trusted.root.version + 1}.root", ROOT_MAX_BYTES)
            except NotServed:
                return
            self._step(trusted, data)
        # Section 5.3.3: go on with what was reached, which must not be expired; the rest of the chain comes next time.
        log.warning("followed %d new roots at once; more may be there", MAX_ROOT_ROTATIONS)

    def _load_local_timestamp(self, trusted: TrustedMetadataSet) -> None:
        if (data := self._local.read("timestamp")) is None:
            return
        try:
            trusted.update_timestamp(data)
        except RepositoryError as error:
            # Expired, which is kept for comparison; or its key was rotated away, and then it says nothing any more.
            log.debug("local timestamp is not current: %s", error)

    def _refresh_timestamp(self, trusted: TrustedMetadataSet) -> None:
        self._load_local_timestamp(trusted)
        if (seen := signed_at(trusted)) is not None:
            trusted.reference_time = max(trusted.reference_time, seen)
        data = self._download("timestamp", TIMESTAMP_MAX_BYTES)
        with hostile("timestamp"):
            try:
                trusted.update_timestamp(data)
            except EqualVersionNumberError:
                return
        self._local.write("timestamp", data)

    def _refresh_snapshot(self, trusted: TrustedMetadataSet) -> None:
        if (local := self._local.read("snapshot")) is not None:
            try:
                trusted.update_snapshot(local, trusted=True)
                return
            except RepositoryError as error:
                log.debug("local snapshot is not current: %s", error)
        meta = trusted.timestamp.snapshot_meta
        name = f"{meta.version}.snapshot" if trusted.root.consistent_snapshot else "snapshot"
        data = self._download(name, min(meta.length or SNAPSHOT_MAX_BYTES, SNAPSHOT_MAX_BYTES))
        with hostile("snapshot"):
            trusted.update_snapshot(data)
        self._local.write("snapshot", data)

    def _load_top_targets(self, trusted: TrustedMetadataSet) -> None:
        if (local := self._local.read("targets")) is not None:
            try:
                trusted.update_targets(local)
                return
            except RepositoryError as error:
                log.debug("local targets are not current: %s", error)
        data = self._download_role(trusted, Targets.type)
        with hostile("targets"):
            trusted.update_targets(data)
        self._local.write("targets", data)

    # -- delegations (section 5.6.7) ----------------------------------------------------------------------------------

    def _walk(self, trusted: TrustedMetadataSet, path: str) -> TargetFile | None:
        """Preorder, depth first, most trusted first; each role judged by the delegator that led to it."""
        role = trusted.targets
        to_visit: list[tuple[Targets, str]] = []
        visited = {Targets.type}
        while True:
            if path in role.targets:
                return role.targets[path]
            asked, terminated = children(role, path)
            if terminated:
                to_visit.clear()
            to_visit.extend((role, child) for child in reversed(asked))
            while to_visit and to_visit[-1][1] in visited:
                to_visit.pop()
            if not to_visit:
                return None
            if len(visited) > MAX_DELEGATIONS:
                raise Untrusted(f"cannot find {path}: more than {MAX_DELEGATIONS} delegations lead to it")
            delegator, name = to_visit.pop()
            visited.add(name)
            role = self._delegate(trusted, delegator, name)

    def _delegate(self, trusted: TrustedMetadataSet, delegator: Targets, name: str) -> Targets:
        known = self._delegated.get((id(delegator), name))
        if known is not None:
            return known
        role = self._local_delegate(trusted, delegator, name)
        if role is None:
            data = self._download_role(trusted, name)
            with hostile(name):
                role = verified(trusted, delegator, name, data)
            self._local.write_role(name, data)
        # `delegator` lives as long as this refresh, in `trusted` or in this table: its id is not used again.
        self._delegated[(id(delegator), name)] = role
        return role

    def _local_delegate(self, trusted: TrustedMetadataSet, delegator: Targets, name: str) -> Targets | None:
        if (data := self._local.read_role(name)) is None:
            return None
        try:
            return verified(trusted, delegator, name, data)
        except RepositoryError as error:
            log.debug("local %s is not current for its delegator: %s", name, error)
            return None

    # -- the network --------------------------------------------------------------------------------------------------

    def _download_role(self, trusted: TrustedMetadataSet, name: str) -> bytes:
        meta = trusted.snapshot.meta.get(f"{name}.json")
        if meta is None:
            raise Untrusted(f"cannot load the role {name}: it is delegated but not in the snapshot")
        file = quote(name, safe="")
        if trusted.root.consistent_snapshot:
            file = f"{meta.version}.{file}"
        return self._download(file, min(meta.length or TARGETS_MAX_BYTES, TARGETS_MAX_BYTES))

    def _download(self, name: str, max_bytes: int) -> bytes:
        data = self._fetch(f"metadata/{name}.json", max_bytes)
        if len(data) > max_bytes:
            raise Untrusted(f"cannot accept {name}.json: it is longer than {max_bytes} bytes")
        return data
