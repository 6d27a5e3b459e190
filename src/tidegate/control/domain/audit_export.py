"""The file that an audit export is, and checking it with nothing but the file (SPEC section 11).

JSON lines: ``{"hash": …, "record": {…}}`` for each record in order, then one verdict line. The same records always give
the same bytes, so a detached signature can be made of them at any time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import rfc8785

from tidegate.control.domain.audit import EMPTY, GENESIS, Broken, Head, Record, Verdict, canonical_record, chained

#: What the detached signature signs, before the SHA-256 of the file in hex.
SIGNED_PREFIX = b"tidegate audit export v1\n"
MAX_LINE_BYTES = 4 << 20
_MEMBERS = {"action", "actor", "at", "chain", "data", "sequence", "subject"}


@dataclass(frozen=True, slots=True)
class ExportVerdict:
    """What checking a file found. `stated` is its own verdict line, None when there is none."""

    count: int
    head: Head
    broken: Broken | None
    stated: dict[str, Any] | None


def record_line(record: Record) -> bytes:
    body = canonical_record(
        chain=record.chain,
        sequence=record.sequence,
        at=record.at,
        actor=record.actor,
        action=record.action,
        subject=record.subject,
        data=record.data,
    )
    return b'{"hash":' + rfc8785.dumps(record.hash) + b',"record":' + body + b"}\n"


def verdict_line(chain: int, verdict: Verdict) -> bytes:
    """The last line: what the node itself found when it exported."""
    said: dict[str, int | str | bool | None] = {
        "chain": chain,
        "count": verdict.count,
        "head": verdict.head.hash,
        "verified": verdict.broken is None,
        "broken": None if verdict.broken is None else verdict.broken.reason,
    }
    return bytes(rfc8785.dumps({"verdict": said})) + b"\n"


def check_export(lines: Iterable[bytes]) -> ExportVerdict:
    """Follow the chain through an exported file, line by line, in constant memory; stops at the first broken record."""
    head = EMPTY
    stated: dict[str, Any] | None = None
    for line in lines:
        if stated is not None:
            return _verdict(head, Broken(head.sequence + 1, "there are lines after the verdict line"), stated)
        try:
            parsed = _parsed(line)
        except ValueError as error:
            return _verdict(head, Broken(head.sequence + 1, f"line {head.sequence + 1} is {error}"), None)
        if "verdict" in parsed:
            stated = parsed["verdict"]
            continue
        reason = _why_broken(head, parsed)
        if reason:
            return _verdict(head, Broken(head.sequence + 1, reason), None)
        head = Head(parsed["record"]["sequence"], parsed["hash"])
    return _verdict(head, _against(head, stated), stated)


def _verdict(head: Head, broken: Broken | None, stated: dict[str, Any] | None) -> ExportVerdict:
    return ExportVerdict(head.sequence, head, broken, stated)


def _against(head: Head, stated: dict[str, Any] | None) -> Broken | None:
    """The file's end against its own verdict: a file that was cut has none, or one that says more."""
    if stated is None:
        return Broken(head.sequence + 1, f"the file ends after record {head.sequence} without a verdict line")
    if stated.get("verified") is not True:
        return Broken(head.sequence + 1, f"the node found it broken when it exported: {stated.get('broken')}")
    if stated.get("count") != head.sequence or stated.get("head") != head.hash:
        return Broken(
            head.sequence + 1, f"the verdict line says {stated.get('count')} records, here are {head.sequence}"
        )
    return None


def _parsed(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"longer than {MAX_LINE_BYTES} bytes")
    try:
        parsed: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError("no JSON") from error
    if isinstance(parsed, dict) and set(parsed) == {"verdict"} and isinstance(parsed["verdict"], dict):
        return dict(parsed)
    record = parsed.get("record") if isinstance(parsed, dict) and set(parsed) == {"hash", "record"} else None
    if not isinstance(record, dict) or set(record) != _MEMBERS or not isinstance(record["sequence"], int):
        raise ValueError("no audit record")
    return dict(parsed)


def _why_broken(head: Head, parsed: dict[str, Any]) -> str:
    record = parsed["record"]
    if record["sequence"] != head.sequence + 1:
        return f"record {head.sequence + 1} is missing: the next one is {record['sequence']}"
    try:
        right = chained(head.hash or GENESIS, rfc8785.dumps(record))
    except (rfc8785.CanonicalizationError, RecursionError):
        right = ""
    if right != parsed["hash"]:
        return f"record {record['sequence']} does not match its hash: it, or the one before, was changed or moved"
    return ""


def lines_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their ends from chunks of any size; a line is never held beyond its limit."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
        if len(rest) > MAX_LINE_BYTES:
            break
    if rest:
        yield rest
