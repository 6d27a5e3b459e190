"""The small judgements that the device's client is made of: no state, no IO."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets, Timestamp
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet

from tidegate.errors import Untrusted
from tidegate.trust.tuf.roles import SIGNED_AT_FIELD, parse_time


def children(role: Targets, path: str) -> tuple[list[str], bool]:
    """The roles that `role` asks about `path`, in its order, and whether nobody else may be asked after them."""
    names: list[str] = []
    if role.delegations is None:
        return names, False
    for name, terminating in role.delegations.get_roles_for_target(path):
        names.append(name)
        if terminating:
            return names, True
    return names, False


def verified(trusted: TrustedMetadataSet, delegator: Targets, name: str, data: bytes) -> Targets:
    """`data` as the role `name` of `delegator` at the version that the snapshot names, or `RepositoryError`."""
    meta = trusted.snapshot.meta.get(f"{name}.json")
    if meta is None:
        raise RepositoryError(f"{name} is not in the snapshot")
    meta.verify_length_and_hashes(data)
    document = Metadata[Targets].from_bytes(data)
    if not isinstance(document.signed, Targets):
        raise RepositoryError(f"expected targets, got {document.signed.type}")
    try:
        delegator.verify_delegate(name, document.signed_bytes, document.signatures)
    except ValueError as error:
        raise RepositoryError(f"{name} is not delegated") from error
    if document.signed.version != meta.version:
        raise RepositoryError(f"expected version {meta.version}, got {document.signed.version}")
    if document.signed.is_expired(trusted.reference_time):
        raise RepositoryError(f"{name} is expired")
    return document.signed


@contextmanager
def hostile(role: str) -> Iterator[None]:
    """What python-tuf says of downloaded bytes, as our refusal."""
    try:
        yield
    except RepositoryError as error:
        raise Untrusted(f"cannot accept the role {role:.128}: {error}") from error


def parse_root(data: bytes) -> Root:
    with hostile("root"):
        signed = Metadata.from_bytes(data).signed
    if not isinstance(signed, Root):
        raise Untrusted("cannot accept the root: it is another kind of metadata")
    return signed


def same_signed(one: bytes, other: bytes) -> bool:
    """Whether two documents say the same, whoever signed them."""
    with hostile("root"):
        return Metadata.from_bytes(one).signed_bytes == Metadata.from_bytes(other).signed_bytes


def signed_at(trusted: TrustedMetadataSet) -> datetime | None:
    if Timestamp.type not in trusted:
        return None
    text = trusted.timestamp.unrecognized_fields.get(SIGNED_AT_FIELD)
    try:
        return parse_time(text) if isinstance(text, str) else None
    except ValueError:
        return None
