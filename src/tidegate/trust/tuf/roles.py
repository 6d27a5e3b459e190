"""The shape of a fleet's repository: its roles, how long each lives, how a document is made, signed and read.

root -> targets -> publisher (terminating, ``<fleet>/*/*/*``) -> hash bins (TAP 15)
root -> snapshot, timestamp
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import Signature
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from tidegate.errors import Defect, Untrusted
from tidegate.trust.signer import Signer

#: Fields of our own; TUF clients keep and ignore what they do not know.
FLEET_FIELD = "x-tidegate-fleet"
SIGNED_AT_FIELD = "x-tidegate-signed-at"

LIFETIME: dict[str, timedelta] = {
    "root": timedelta(days=365),
    "targets": timedelta(days=365),
    "publisher": timedelta(days=90),
    "snapshot": timedelta(days=7),
    "timestamp": timedelta(days=1),
}
OFFLINE_ROLES = ("root", "targets")
ONLINE_ROLES = ("publisher", "snapshot", "timestamp")
PUBLISHER = "publisher"
FIRST_BIN_BITS = 4
#: Growing by two bits quarters the bins; 2**16 is the most that TAP 15's four bytes and a snapshot can sensibly carry.
BIN_BITS_STEP = 2
MAX_BIN_BITS = 16
_BIN = re.compile(r"bins\d{1,5}-[0-9a-f]{1,4}")
_COMPACT = JSONSerializer(compact=True)


@dataclass(frozen=True, slots=True)
class Row:
    """One signed metadata document; `data` is what a device gets."""

    role: str
    version: int
    data: bytes
    expires_at: datetime


Rows = Mapping[str, Row]


def is_bin(role: str) -> bool:
    return _BIN.fullmatch(role) is not None


def bin_prefix(bits: int) -> str:
    """Each size has names of its own, so that a bin of an older, smaller set is never taken for one of the new."""
    return f"bins{1 << bits}"


def lifetime(role: str) -> timedelta:
    return LIFETIME[PUBLISHER if is_bin(role) else role]


def next_version(last: int, now: datetime) -> int:
    """Versions of online roles follow the clock, so that a restored backup soon signs higher ones than it lost."""
    return max(last + 1, int(now.timestamp()))


def expiry(role: str, now: datetime) -> datetime:
    return (now + lifetime(role)).replace(microsecond=0)


def format_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """Raises `ValueError`."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


# -- documents --------------------------------------------------------------------------------------------------------


def sign(role: str, signed: Signed, signers: Iterable[Signer]) -> Row:
    """Canonicalise once, sign with each key, and make the row."""
    document: Metadata[Any] = Metadata(signed)
    payload = document.signed_bytes
    for signer in signers:
        keyid = signer.key.keyid
        document.signatures[keyid] = Signature(keyid, signer.sign(payload).hex())
    return Row(role, signed.version, document.to_bytes(_COMPACT), signed.expires)


def _read(row: Row, kind: type[Any]) -> Any:
    try:
        signed = Metadata.from_bytes(row.data).signed
    except RepositoryError as error:
        raise Untrusted(f"cannot read the metadata of the role {row.role}: {error}") from error
    if not isinstance(signed, kind):
        raise Untrusted(f"cannot read the metadata of the role {row.role}: it is another kind")
    return signed


def read_root(row: Row) -> Root:
    signed: Root = _read(row, Root)
    return signed


def read_targets(row: Row) -> Targets:
    signed: Targets = _read(row, Targets)
    return signed


def read_snapshot(row: Row) -> Snapshot:
    signed: Snapshot = _read(row, Snapshot)
    return signed


def need(rows: Rows, role: str) -> Row:
    row = rows.get(role)
    if row is None:
        raise Defect(f"cannot work on the repository: the metadata of the role {role} are missing")
    return row


# -- what each role says ----------------------------------------------------------------------------------------------


def new_root(fleet: str, keys: Mapping[str, Signer], now: datetime, version: int = 1) -> Root:
    root = Root(
        version=version,
        expires=expiry("root", now),
        consistent_snapshot=True,
        unrecognized_fields={FLEET_FIELD: fleet},
    )
    for role in ("root", "targets", "snapshot", "timestamp"):
        root.add_key(keys[role].key, role)
    return root


def new_targets(fleet: str, publisher: Signer, now: datetime, version: int = 1) -> Targets:
    """Only a delegation: everything of the fleet to the publisher, and nobody asked after it."""
    key = publisher.key
    role = DelegatedRole(PUBLISHER, [key.keyid], 1, terminating=True, paths=[f"{fleet}/*/*/*"])
    return Targets(
        version=version,
        expires=expiry("targets", now),
        delegations=Delegations({key.keyid: key}, roles={PUBLISHER: role}),
    )


def new_publisher(signer: Signer, bits: int, version: int, now: datetime) -> Targets:
    key = signer.key
    bins = SuccinctRoles([key.keyid], 1, bits, bin_prefix(bits))
    return Targets(
        version=version, expires=expiry(PUBLISHER, now), delegations=Delegations({key.keyid: key}, succinct_roles=bins)
    )


def new_bin(role: str, targets: dict[str, TargetFile], version: int, now: datetime) -> Targets:
    return Targets(version=version, expires=expiry(role, now), targets=targets)


def new_snapshot(versions: Mapping[str, int], version: int, now: datetime) -> Snapshot:
    meta = {f"{role}.json": MetaFile(number) for role, number in sorted(versions.items())}
    return Snapshot(version=version, expires=expiry("snapshot", now), meta=meta)


def new_timestamp(snapshot: Row, version: int, now: datetime) -> Timestamp:
    return Timestamp(
        version=version,
        expires=expiry("timestamp", now),
        snapshot_meta=MetaFile.from_data(snapshot.version, snapshot.data, ["sha256"]),
        unrecognized_fields={SIGNED_AT_FIELD: format_time(now)},
    )


def succinct(publisher: Targets) -> SuccinctRoles:
    """How the publisher cuts its bins. Raises `Untrusted` when it does not."""
    if publisher.delegations is None or publisher.delegations.succinct_roles is None:
        raise Untrusted("cannot read the publisher's metadata: they delegate to no bins")
    return publisher.delegations.succinct_roles
