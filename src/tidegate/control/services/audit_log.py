"""Reading, verifying and exporting the audit log (SPEC section 11)."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tidegate.control.domain import audit
from tidegate.control.domain.access import Scope
from tidegate.control.domain.audit import EMPTY, NODE_CHAIN, Broken, Head, Record, Verdict
from tidegate.control.domain.audit_export import SIGNED_PREFIX, record_line, verdict_line
from tidegate.control.domain.paging import decode_cursor, encode_cursor
from tidegate.control.services import checkpoints
from tidegate.control.services.audit import record as append
from tidegate.control.services.node import Node
from tidegate.control.store import audit as store
from tidegate.control.store import paging
from tidegate.control.store.audit import Filter
from tidegate.errors import FieldError, Invalid, Unavailable, Untrusted

#: Whole chains read at once.
_READERS = 2
_reading = threading.BoundedSemaphore(_READERS)


@dataclass(frozen=True, slots=True)
class Records:
    items: tuple[Record, ...]
    total: int
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Verification:
    """`count` records follow one another up to `head`; `checkpoint` is the last signed record (0: none)."""

    count: int
    head: str
    checkpoint: int
    broken: Broken | None


@dataclass(frozen=True, slots=True)
class Signature:
    """A detached signature over the export up to record `until`."""

    until: int
    sha256: str
    signature: str
    key_id: str
    public_key: str


def list_records(
    scope: Scope,
    node: Node,
    filters: Filter,
    *,
    of_node: bool = False,
    limit: int = 50,
    offset: int = 0,
    cursor: str = "",
) -> Records:
    """The newest first. `of_node`: the node's own chain, for which `audit.read` must be held for all fleets."""
    chain = _chain(scope, "audit.read", of_node)
    position = decode_cursor(cursor, int)
    before = int(position[0]) if position else None
    with node.db.read() as tx:
        found = store.search(tx, chain, filters, before=before, offset=offset, limit=limit + 1)
        total = paging.total(tx, store.matching(chain, filters))
    return Records(
        tuple(found[:limit]), total, encode_cursor(found[limit - 1].sequence) if len(found) > limit else None
    )


def verify(scope: Scope, node: Node, *, of_node: bool = False) -> Verification:
    """Follow the whole chain, and hold it against its head and the checkpoints outside the database."""
    chain = _chain(scope, "audit.read", of_node)
    with _few_at_once():
        return _verify(node, chain)


@contextmanager
def _few_at_once() -> Iterator[None]:
    """A whole chain may be long: whoever asks again and again must not take every thread of the node."""
    if not _reading.acquire(blocking=False):
        raise Unavailable("cannot read a whole chain for now: others are being read", retry_after_seconds=10)
    try:
        yield
    finally:
        _reading.release()


def _verify(node: Node, chain: int) -> Verification:
    try:
        known = checkpoints.read(node, chain)
    except Untrusted as error:
        return Verification(0, "", 0, Broken(0, error.detail))
    with node.db.read() as tx:
        head = store.head(tx, chain)
        verdict, last = _follow(store.walk(tx, chain), {point.sequence: point.hash for point in known})
    at = known[-1].sequence if known else 0
    broken = verdict.broken
    if broken is None and at > verdict.head.sequence:
        gone = verdict.head.sequence + 1
        broken = Broken(gone, f"records from {gone} on are missing: a signed checkpoint names record {at}")
    if broken is None and head != last:
        broken = Broken(last.sequence + 1, f"the chain ends at record {last.sequence}, its head says {head.sequence}")
    return Verification(verdict.count, verdict.head.hash, at, broken)


def _follow(records: Iterator[Record], points: dict[int, str]) -> tuple[Verdict, Head]:
    """`audit.check` with every checkpoint held against the record that it names."""
    wrong: list[int] = []

    def watched() -> Iterator[Record]:
        for record in records:
            if points.get(record.sequence, record.hash) != record.hash:
                wrong.append(record.sequence)
                return
            yield record

    verdict = audit.check(watched())
    if wrong and verdict.broken is None:
        reason = f"record {wrong[0]} is not the one that was signed: the chain was written anew"
        return Verdict(verdict.count, verdict.head, Broken(wrong[0], reason)), verdict.head
    return verdict, verdict.head


def export(scope: Scope, node: Node, *, of_node: bool = False, until: int | None = None) -> tuple[int, Iterator[bytes]]:
    """The export up to record `until` (the present end): that number, and the file in pieces.

    Raises:
        Invalid: the chain does not reach `until`.
    """
    chain = _chain(scope, "audit.export", of_node)
    last = _last(node, chain, until)
    return last, _pieces(node, chain, last)


def sign_export(scope: Scope, node: Node, *, of_node: bool = False, until: int | None = None) -> Signature:
    """A detached signature over the bytes that `export` gives up to the same record."""
    chain = _chain(scope, "audit.export", of_node)
    last = _last(node, chain, until)
    digest = hashlib.sha256()
    with _few_at_once():
        for piece in _pieces(node, chain, last):
            digest.update(piece)
    signer = node.keyring.audit_signer()
    signed = signer.sign(SIGNED_PREFIX + digest.hexdigest().encode())
    with node.db.write() as tx:
        append(tx, scope, action="audit.export", subject=f"chain:{chain}", data={"until": last})
    return Signature(
        last, digest.hexdigest(), base64.b64encode(signed).decode(), signer.key.keyid, signer.public_pem().decode()
    )


def _pieces(node: Node, chain: int, until: int) -> Iterator[bytes]:
    """Batches with a transaction each: a slow reader holds no database connection between them."""
    head, broken = EMPTY, None
    while head.sequence < until:
        with node.db.read() as tx:
            batch = store.batch(tx, chain, after=head.sequence, until=until)
        verdict = audit.check(iter(batch), head)
        broken = broken or verdict.broken
        yield b"".join(record_line(record) for record in batch)
        if not batch:
            broken = broken or Broken(head.sequence + 1, f"record {head.sequence + 1} is missing")
            break
        head = Head(batch[-1].sequence, batch[-1].hash)
    yield verdict_line(chain, Verdict(head.sequence, head, broken))


def _last(node: Node, chain: int, until: int | None) -> int:
    with node.db.read() as tx:
        end = store.head(tx, chain).sequence
    if until is not None and not 0 <= until <= end:
        raise Invalid(
            f"cannot export up to record {until}: the last one is {end}", (FieldError("/until", "too large"),)
        )
    return end if until is None else until


def _chain(scope: Scope, permission: str, of_node: bool) -> int:
    scope.require(permission)
    if not of_node:
        return int(scope.fleet_id)
    scope.require_everywhere(permission)
    return NODE_CHAIN
