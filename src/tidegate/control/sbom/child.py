"""The child process: the bytes of one SBOM on standard input, the verdict on standard output, limits on everything.

What it reads is anybody's: it may be a bomb, nested without end, or made to keep a checker busy. So this process has
no environment, little memory and little time, and whatever becomes of it the node goes on.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import zlib
from collections import Counter
from itertools import islice
from typing import Any, BinaryIO

import msgspec

from tidegate.control.sbom import documents, rules
from tidegate.control.sbom.verdict import (
    MOST_COMPONENTS,
    MOST_LICENSES,
    MOST_REASONS,
    Component,
    Reason,
    Verdict,
    text,
)

MAX_MEMORY_BYTES = 1 << 30
MAX_CPU_SECONDS = 45
#: Of the document itself, after unpacking.
MAX_DOCUMENT_BYTES = 64 << 20
MAX_DEPTH = 64
MAX_COMPONENTS = 100_000
_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20


class _Broken(Exception):
    """The document cannot be read at all."""


def verdict_on(data: bytes) -> Verdict:
    """What there is to say about the bytes of an SBOM as they were sent."""
    try:
        document = _parsed(_unpacked(data))
        format_, version = documents.detect(document)
    except (_Broken, documents.Unknown) as error:
        return Verdict(reasons=(Reason("", text(str(error))),))
    reasons = tuple(islice(rules.broken(document, format_, version), MOST_REASONS))
    count, kept, licenses = _components(document, format_, version)
    if count > MAX_COMPONENTS:
        reasons = (Reason("", f"must have at most {MAX_COMPONENTS:,} components"), *reasons)[:MOST_REASONS]
    if reasons:
        return Verdict(format=format_, spec_version=version, reasons=reasons, component_count=count)
    return Verdict(
        format=format_, spec_version=version, component_count=count, components=kept, licenses=licenses
    )  # fmt: skip


def _components(
    document: dict[str, Any], format_: str, version: str
) -> tuple[int, tuple[Component, ...], tuple[tuple[str, int], ...]]:
    kept: list[Component] = []
    licenses: Counter[str] = Counter()
    count = 0
    for one in documents.components(document, format_, version):
        count += 1
        licenses[one.license] += 1
        if len(kept) < MOST_COMPONENTS:
            kept.append(one)
    ranked = sorted(licenses.items(), key=lambda item: (-item[1], item[0]))
    return count, tuple(kept), tuple(ranked[:MOST_LICENSES])


def _unpacked(data: bytes) -> bytes:
    """The document; a gzip file is unpacked, never beyond what a document may have."""
    if not data.startswith(_GZIP):
        if len(data) > MAX_DOCUMENT_BYTES:
            raise _Broken(f"must have at most {MAX_DOCUMENT_BYTES >> 20} MiB")
        return data
    unpacker = zlib.decompressobj(wbits=31)
    try:
        found = unpacker.decompress(data, MAX_DOCUMENT_BYTES + 1)
    except zlib.error as error:
        raise _Broken(f"must be a whole gzip file: {error}") from error
    if len(found) > MAX_DOCUMENT_BYTES:
        raise _Broken(f"must have at most {MAX_DOCUMENT_BYTES >> 20} MiB when it is unpacked")
    if not unpacker.eof or unpacker.unused_data:
        raise _Broken("must be one whole gzip file, with nothing behind it")
    return found


def _parsed(data: bytes) -> Any:
    try:
        document = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise _Broken(documents.detect_other(data) or "must be text in UTF-8") from error
    except RecursionError as error:
        raise _Broken(f"must be nested at most {MAX_DEPTH} deep") from error
    except ValueError as error:
        raise _Broken(documents.detect_other(data) or f"must be JSON: {error}") from error
    if _deeper(document, MAX_DEPTH):
        raise _Broken(f"must be nested at most {MAX_DEPTH} deep")
    if b"\\u" in data and not _names_are_text(document):
        raise _Broken("must not have half of a surrogate pair in a name")
    return document


def _names_are_text(document: Any) -> bool:
    """JSON can write halves of surrogate pairs, which are no characters; the checker of schemas cannot take them as
    names. Of a document that is not deep."""
    level = [document]
    while level:
        objects = [one for one in level if isinstance(one, dict)]
        try:
            "".join(name for one in objects for name in one).encode()
        except UnicodeEncodeError:
            return False
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return True


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _deeper(document: Any, most: int) -> bool:
    level = [document]
    for _ in range(most + 1):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True


def _read(stream: BinaryIO) -> bytes:
    data = bytearray()
    while piece := stream.read(_PIECE):
        data += piece
    return bytes(data)


def main() -> None:
    """Limits first: nothing of the document is looked at without them."""
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    data = _read(sys.stdin.buffer)
    try:
        found = verdict_on(data)
    except MemoryError:
        found = Verdict(reasons=(Reason("", f"must be checkable within {MAX_MEMORY_BYTES >> 20} MiB of memory"),))
    sys.stdout.buffer.write(msgspec.json.encode(found))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
