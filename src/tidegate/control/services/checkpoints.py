"""Signed checkpoints of the audit chains, kept outside the database: what a database administrator cannot rewrite.

One file per chain in the data folder, ``audit/<chain>.jsonl``; each line names a record's sequence and hash and is
signed with the audit key. Written durably, only ever appended to.
"""

from __future__ import annotations

import base64
import binascii
import errno
import json
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tidegate.control.domain import audit
from tidegate.control.domain.audit import EMPTY, Head
from tidegate.control.services.node import Node
from tidegate.control.store import audit as store
from tidegate.errors import Unavailable, Untrusted
from tidegate.trust.tuf.durable import fsync_folder, make_folder

EVERY_RECORDS = 1_000
EVERY = timedelta(minutes=5)
#: Of the file's end that are looked at for the last line: two lines and more, a line has about 250 bytes.
_TAIL_BYTES = 4_096
_SIGNED_PREFIX = b"tidegate audit checkpoint v1\n"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    chain: int
    sequence: int
    hash: str
    at: str


def read(node: Node, chain: int) -> list[Checkpoint]:
    """The chain's checkpoints, the oldest first, each signature checked.

    A last line without its end is what a power cut leaves of an append, and counts for nothing.

    Raises:
        Untrusted: a line was changed, or is signed by another key.
        Unavailable: the file cannot be read.
    """
    path = _path(node, chain)
    try:
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    except OSError as error:
        raise Unavailable(f"cannot read the audit checkpoints: {error.strerror}") from error
    key = _public_key(node)
    return [_checked(line, str(number), chain, key) for number, line in enumerate(lines, start=1)]


def last(node: Node, chain: int) -> Checkpoint | None:
    """The chain's newest checkpoint, its signature checked, however many came before. Raises as `read`."""
    path = _path(node, chain)
    try:
        if not path.exists():
            return None
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().split(b"\n")[:-1]
    except OSError as error:
        raise Unavailable(f"cannot read the audit checkpoints: {error.strerror}") from error
    return _checked(lines[-1], "that is the last", chain, _public_key(node)) if lines else None


def _public_key(node: Node) -> Ed25519PublicKey:
    key = load_pem_public_key(node.keyring.audit_signer().public_pem())
    assert isinstance(key, Ed25519PublicKey)
    return key


def write_due(node: Node) -> list[Checkpoint]:
    """Write a checkpoint for every chain that is due one: 1,000 new records, or new ones and five minutes gone.

    What is new since the last checkpoint is verified first; a broken chain gets no checkpoint.

    Raises:
        Untrusted: a chain is broken; the others were served before.
    """
    written, broken = [], []
    with node.db.read() as tx:
        chains = store.chains(tx)
    for chain in chains:
        try:
            made = _write_if_due(node, chain)
        except Untrusted as error:
            broken.append(error.detail)
            continue
        if made is not None:
            written.append(made)
    if broken:
        raise Untrusted("; ".join(broken))
    return written


def _write_if_due(node: Node, chain: int) -> Checkpoint | None:
    newest = last(node, chain)
    start = EMPTY if newest is None else Head(newest.sequence, newest.hash)
    now = node.clock.now()
    with node.db.read() as tx:
        head = store.head(tx, chain)
        new = head.sequence - start.sequence
        waited = newest is None or now - datetime.fromisoformat(newest.at) >= EVERY
        if new < 0 or (new == 0 and head != start):
            raise Untrusted(f"cannot trust the audit chain {chain}: its head is not the one at the last checkpoint")
        if new == 0 or (new < EVERY_RECORDS and not waited):
            return None
        verdict = audit.check(store.walk(tx, chain, after=start.sequence), start)
    if verdict.broken is not None or verdict.head != head:
        reason = verdict.broken.reason if verdict.broken else f"it ends at {verdict.head.sequence}, not {head.sequence}"
        raise Untrusted(f"cannot trust the audit chain {chain}: {reason}")
    checkpoint = Checkpoint(chain, head.sequence, head.hash, audit.instant(now))
    _append(_path(node, chain), _signed(node, checkpoint))
    return checkpoint


def _body(checkpoint: Checkpoint) -> dict[str, int | str]:
    return {
        "at": checkpoint.at,
        "chain": checkpoint.chain,
        "hash": checkpoint.hash,
        "sequence": checkpoint.sequence,
    }


def _signed(node: Node, checkpoint: Checkpoint) -> bytes:
    body = _body(checkpoint)
    signature = node.keyring.audit_signer().sign(_SIGNED_PREFIX + rfc8785.dumps(body))
    return bytes(rfc8785.dumps({**body, "signature": base64.b64encode(signature).decode()})) + b"\n"


def _checked(line: bytes, number: str, chain: int, key: Ed25519PublicKey) -> Checkpoint:
    try:
        said = json.loads(line)
        checkpoint = Checkpoint(said["chain"], said["sequence"], said["hash"], said["at"])
        key.verify(base64.b64decode(said["signature"]), _SIGNED_PREFIX + rfc8785.dumps(_body(checkpoint)))
        if checkpoint.chain == chain:
            return checkpoint
    except (ValueError, KeyError, TypeError, binascii.Error, InvalidSignature) as error:
        raise Untrusted(f"cannot trust checkpoint {number} of the audit chain {chain}: it was changed") from error
    raise Untrusted(f"cannot trust checkpoint {number} of the audit chain {chain}: it belongs to another chain")


def _append(path: Path, line: bytes) -> None:
    try:
        make_folder(path.parent)
        new = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            _drop_unfinished_line(descriptor)
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            fsync_folder(path.parent)
    except OSError as error:
        raise Unavailable(f"cannot write the audit checkpoint: {error.strerror}") from error


def _drop_unfinished_line(descriptor: int) -> None:
    """A power cut in the middle of an append leaves a line without its end: it was never acknowledged."""
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, min(size, 4096), max(0, size - 4096))
    unfinished = len(tail) - (tail.rfind(b"\n") + 1)
    if unfinished:
        os.ftruncate(descriptor, size - unfinished)


def _path(node: Node, chain: int) -> Path:
    return node.settings.data_dir / "audit" / f"{chain}.jsonl"
