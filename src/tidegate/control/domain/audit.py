"""The audit chain as pure functions: what a record's canonical bytes are, how its hash follows from the one before.

A chain's first record follows the hash of 64 zeros. A record's hash is the SHA-256 of the previous record's 32 raw
bytes followed by the record's canonical JSON (RFC 8785), so anybody can compute it again from an export with nothing
but SHA-256 and a JSON library (SPEC section 11).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import rfc8785

from tidegate.errors import Defect

#: The chain of the node itself; every other chain is the id of a fleet.
NODE_CHAIN = 0
GENESIS = "0" * 64

Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends: the last record's sequence (0: no record yet) and hash."""

    sequence: int
    hash: str


EMPTY = Head(0, GENESIS)


@dataclass(frozen=True, slots=True)
class Record:
    """One administrative act. `data` is canonical JSON text, exactly as it was hashed."""

    chain: int
    sequence: int
    at: datetime
    actor: str
    action: str
    subject: str
    data: str
    hash: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The first record that does not follow from the ones before, and how that shows."""

    sequence: int
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What checking found: `count` records follow one another, ending at `head`; `broken` is None when all do."""

    count: int
    head: Head
    broken: Broken | None


def instant(at: datetime) -> str:
    """RFC 3339, UTC, always six decimals: one text for one time."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


def canonical_data(data: Data) -> str:
    """The canonical JSON text of `data`.

    Raises:
        Defect: our own code put something into a record that JSON cannot carry exactly.
    """
    try:
        return rfc8785.dumps(dict(data)).decode()
    except (rfc8785.CanonicalizationError, UnicodeError) as error:
        raise Defect(f"cannot write an audit record: {error}") from error


def canonical_record(
    *, chain: int, sequence: int, at: datetime, actor: str, action: str, subject: str, data: str
) -> bytes:
    """RFC 8785 bytes of a record without its hash: members in the order of their names, `data` canonical already."""
    return b"".join(
        (
            b'{"action":', rfc8785.dumps(action),
            b',"actor":', rfc8785.dumps(actor),
            b',"at":', rfc8785.dumps(instant(at)),
            b',"chain":', rfc8785.dumps(chain),
            b',"data":', data.encode(),
            b',"sequence":', rfc8785.dumps(sequence),
            b',"subject":', rfc8785.dumps(subject),
            b"}",
        )
    )  # fmt: skip


def following(head: Head, *, chain: int, at: datetime, actor: str, action: str, subject: str, data: str) -> Record:
    """The record that comes after `head`."""
    sequence = head.sequence + 1
    body = canonical_record(
        chain=chain, sequence=sequence, at=at, actor=actor, action=action, subject=subject, data=data
    )
    return Record(chain, sequence, at, actor, action, subject, data, chained(head.hash, body))


def chained(previous: str, body: bytes) -> str:
    """The hash of the record with canonical bytes `body` after the one with the hash `previous`."""
    return hashlib.sha256(bytes.fromhex(previous) + body).hexdigest()


def check(records: Iterable[Record], start: Head = EMPTY) -> Verdict:
    """Follow `records` from `start`, in constant memory; stops at the first that does not follow."""
    head = start
    for record in records:
        reason = _why_broken(head, record)
        if reason:
            return Verdict(head.sequence - start.sequence, head, Broken(head.sequence + 1, reason))
        head = Head(record.sequence, record.hash)
    return Verdict(head.sequence - start.sequence, head, None)


def _why_broken(head: Head, record: Record) -> str:
    if record.sequence != head.sequence + 1:
        return f"record {head.sequence + 1} is missing: the next one is {record.sequence}"
    body = canonical_record(
        chain=record.chain,
        sequence=record.sequence,
        at=record.at,
        actor=record.actor,
        action=record.action,
        subject=record.subject,
        data=record.data,
    )
    if chained(head.hash, body) != record.hash:
        return f"record {record.sequence} does not match its hash: it, or the one before, was changed or moved"
    return ""
