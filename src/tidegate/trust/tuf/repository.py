"""A fleet's repository as pure functions: current rows in, new rows out. No IO, no clock.

`prepare` is what the holder of the publisher key does, on the node or elsewhere; `seal` is what the node does after it.
What a node demands of documents that were prepared elsewhere is in submission.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.exceptions import UnverifiedSignatureError
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, SuccinctRoles, TargetFile, Targets

from tidegate.errors import Conflict, Defect, Untrusted
from tidegate.trust.signer import Signer
from tidegate.trust.tuf import roles
from tidegate.trust.tuf.roles import PUBLISHER, Row, Rows, need

#: A bin of this many targets is about 80 KB. When one is fuller, the catalog is cut into four times as many.
BIN_MAX_TARGETS = 400


@dataclass(frozen=True, slots=True)
class TargetEntry:
    """One file to publish; `sha256` is hex."""

    path: str
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Change:
    add: tuple[TargetEntry, ...] = ()
    remove: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        return (*(entry.path for entry in self.add), *self.remove)


def create(fleet: str, keys: Mapping[str, Signer], now: datetime) -> dict[str, Row]:
    """The first rows of a fleet; `keys` holds root, targets, publisher, snapshot and timestamp."""
    version = roles.next_version(0, now)
    publisher = roles.new_publisher(keys[PUBLISHER], roles.FIRST_BIN_BITS, version, now)
    rows: dict[str, Row] = {
        "root": roles.sign("root", roles.new_root(fleet, keys, now), [keys["root"]]),
        "targets": roles.sign("targets", roles.new_targets(fleet, keys[PUBLISHER], now), [keys["targets"]]),
        PUBLISHER: roles.sign(PUBLISHER, publisher, [keys[PUBLISHER]]),
    }
    for name in roles.succinct(publisher).get_roles():
        rows[name] = roles.sign(name, roles.new_bin(name, {}, version, now), [keys[PUBLISHER]])
    return {**rows, **seal(rows, {}, keys, now)}


def bins_for(rows: Rows, paths: Iterable[str]) -> frozenset[str]:
    """The bins that hold `paths`; needs only the publisher's row."""
    cut = roles.succinct(roles.read_targets(need(rows, PUBLISHER)))
    return frozenset(cut.get_role_for_target(path) for path in paths)


def all_bins(rows: Rows) -> frozenset[str]:
    return frozenset(roles.succinct(roles.read_targets(need(rows, PUBLISHER))).get_roles())


def must_regrow(rows: Rows, change: Change) -> bool:
    """Whether `change` would overfill a bin; then `prepare` needs the rows of all bins."""
    cut = roles.succinct(roles.read_targets(need(rows, PUBLISHER)))
    if cut.bit_length + roles.BIN_BITS_STEP > roles.MAX_BIN_BITS:
        return False
    counts = {name: len(roles.read_targets(need(rows, name)).targets) for name in bins_for(rows, change.paths)}
    for entry in change.add:
        counts[cut.get_role_for_target(entry.path)] += 1
    return any(count > BIN_MAX_TARGETS for count in counts.values())


# -- the publisher's part ---------------------------------------------------------------------------------------------


def prepare(rows: Rows, change: Change, signer: Signer, now: datetime) -> dict[str, Row]:
    """New bins that carry `change`, signed by the publisher; and a new cut into bins when one would be too full.

    Every row is verified against the publisher's own key first: it never signs again what it has not signed before.

    Raises:
        Conflict: a path is published already with other bytes, or one to remove is not there.
        Untrusted: a row is not the publisher's.
    """
    publisher = _own_publisher(rows, signer)
    if must_regrow(rows, change):
        return _regrow(rows, change, publisher, signer, now)
    made: dict[str, Row] = {}
    for name, part in _by_bin(roles.succinct(publisher), change).items():
        current = _own_bin(rows, name, publisher)
        version = roles.next_version(current.version, now)
        made[name] = roles.sign(name, roles.new_bin(name, changed(current.targets, part), version, now), [signer])
    return made


def renew_publisher(rows: Rows, names: Collection[str], signer: Signer, now: datetime) -> dict[str, Row]:
    """The same content under a new version and expiry, for those of publisher and bins that `names` holds."""
    publisher = _own_publisher(rows, signer)
    made: dict[str, Row] = {}
    for name in names:
        if name == PUBLISHER:
            version = roles.next_version(publisher.version, now)
            signed = roles.new_publisher(signer, roles.succinct(publisher).bit_length, version, now)
        else:
            current = _own_bin(rows, name, publisher)
            signed = roles.new_bin(name, current.targets, roles.next_version(current.version, now), now)
        made[name] = roles.sign(name, signed, [signer])
    return made


def _regrow(rows: Rows, change: Change, publisher: Targets, signer: Signer, now: datetime) -> dict[str, Row]:
    old = roles.succinct(publisher)
    everything: dict[str, TargetFile] = {}
    for name in old.get_roles():
        everything.update(_own_bin(rows, name, publisher).targets)
    version = roles.next_version(publisher.version, now)
    grown = roles.new_publisher(signer, old.bit_length + roles.BIN_BITS_STEP, version, now)
    cut = roles.succinct(grown)
    bins: dict[str, dict[str, TargetFile]] = {name: {} for name in cut.get_roles()}
    for path, file in changed(everything, change).items():
        bins[cut.get_role_for_target(path)][path] = file
    made = {PUBLISHER: roles.sign(PUBLISHER, grown, [signer])}
    for name, content in bins.items():
        made[name] = roles.sign(name, roles.new_bin(name, content, version, now), [signer])
    return made


def _by_bin(cut: SuccinctRoles, change: Change) -> dict[str, Change]:
    """`change`, split into what each bin sees of it."""
    names = sorted({cut.get_role_for_target(path) for path in change.paths})
    return {
        name: Change(
            tuple(entry for entry in change.add if cut.get_role_for_target(entry.path) == name),
            tuple(path for path in change.remove if cut.get_role_for_target(path) == name),
        )
        for name in names
    }


def changed(targets: Mapping[str, TargetFile], change: Change) -> dict[str, TargetFile]:
    """`targets` after `change`. Raises `Conflict` when it does not fit them."""
    made = dict(targets)
    for path in change.remove:
        if made.pop(path, None) is None:
            raise Conflict(f"cannot remove {path} from the signed metadata: it is not there")
    for entry in change.add:
        file = _file(entry)
        if made.setdefault(entry.path, file) != file:
            raise Conflict(f"cannot publish {entry.path}: it is published with other bytes")
    return made


def _file(entry: TargetEntry) -> TargetFile:
    return TargetFile(entry.length, {"sha256": entry.sha256}, entry.path)


def _own_publisher(rows: Rows, signer: Signer) -> Targets:
    document = _document(PUBLISHER, need(rows, PUBLISHER).data)
    signature = document.signatures.get(signer.key.keyid)
    try:
        if signature is None:
            raise UnverifiedSignatureError("no signature by this key")
        signer.key.verify_signature(signature, document.signed_bytes)
    except UnverifiedSignatureError as error:
        raise Untrusted("cannot sign: the publisher's metadata were signed by another key than this one") from error
    cut = roles.succinct(document.signed)
    if cut.keyids != [signer.key.keyid] or cut.threshold != 1:
        raise Untrusted("cannot sign: the publisher's metadata delegate to another key than this one")
    return document.signed


def _own_bin(rows: Rows, name: str, publisher: Targets) -> Targets:
    return delegated(publisher, name, need(rows, name).data)


def _document(name: str, data: bytes) -> Metadata[Targets]:
    try:
        document = Metadata[Targets].from_bytes(data)
    except RepositoryError as error:
        raise Untrusted(f"cannot read the metadata of the role {name:.128}: {error}") from error
    if not isinstance(document.signed, Targets):
        raise Untrusted(f"cannot read the metadata of the role {name:.128}: it is another kind")
    return document


def delegated(delegator: Targets, name: str, data: bytes) -> Targets:
    """`data` as the role `name`, verified against its delegator."""
    document = _document(name, data)
    try:
        delegator.verify_delegate(name, document.signed_bytes, document.signatures)
    except (RepositoryError, ValueError) as error:
        raise Untrusted(f"cannot accept the role {name:.128}: {error}") from error
    return document.signed


# -- the node's part --------------------------------------------------------------------------------------------------


def seal(changed: Rows, current: Rows, keys: Mapping[str, Signer], now: datetime) -> dict[str, Row]:
    """A snapshot that names `changed`, and the timestamp of it.

    Whatever the last snapshot named is named again: a client refuses a snapshot that drops a role.

    Raises:
        Defect: a version would go down, or a key is not the one that the root names.
    """
    last = current.get("snapshot")
    meta = roles.read_snapshot(last).meta if last is not None else {}
    versions = {name.removesuffix(".json"): file.version for name, file in meta.items()}
    for role, row in changed.items():
        if role in ("root", "snapshot", "timestamp"):
            continue
        if row.version < versions.get(role, 0):
            raise Defect(f"cannot lower the version of the role {role}")
        versions[role] = row.version
    _check_keys({**current, **changed}, keys)
    version = roles.next_version(last.version if last else 0, now)
    snapshot = roles.sign("snapshot", roles.new_snapshot(versions, version, now), [keys["snapshot"]])
    return {"snapshot": snapshot, "timestamp": _timestamp(snapshot, current, keys, now)}


def resign_timestamp(current: Rows, keys: Mapping[str, Signer], now: datetime) -> dict[str, Row]:
    """The same snapshot under a new timestamp."""
    _check_keys(current, keys)
    return {"timestamp": _timestamp(need(current, "snapshot"), current, keys, now)}


def due(expires: Mapping[str, datetime], bins: Collection[str], now: datetime) -> frozenset[str]:
    """The online roles that should be signed again: snapshot and timestamp at half life, others at two thirds.

    Args:
        expires: when the current document of each role does.
        bins: those of the current cut; older ones are asked for by nobody and may expire.
    """

    def is_due(role: str) -> bool:
        share = 2 if role in ("snapshot", "timestamp") else 3
        return expires[role] - now <= roles.lifetime(role) / share

    return frozenset(name for name in (PUBLISHER, "snapshot", "timestamp", *bins) if is_due(name))


def _timestamp(snapshot: Row, current: Rows, keys: Mapping[str, Signer], now: datetime) -> Row:
    last = current.get("timestamp")
    version = roles.next_version(last.version if last else 0, now)
    return roles.sign("timestamp", roles.new_timestamp(snapshot, version, now), [keys["timestamp"]])


def _check_keys(rows: Rows, keys: Mapping[str, Signer]) -> None:
    """A device would refuse what another key signs; find that out before it is published."""
    root = roles.read_root(need(rows, "root"))
    for role in ("snapshot", "timestamp"):
        if root.roles[role].threshold != 1 or keys[role].key.keyid not in root.roles[role].keyids:
            raise Defect(f"cannot sign the role {role}: the node's key is not the one that the root names")
