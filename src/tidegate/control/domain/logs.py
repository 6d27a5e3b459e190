"""Log requests: what an operator asks of a device's logs, and how that ends (docs/design/logs.md)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from tidegate.errors import Invalid
from tidegate.ids import DeviceId, FleetId

LogState = Literal["waiting", "received", "refused", "expired", "cancelled"]

#: How long a device has to answer.
WAITS = timedelta(hours=24)
MOST_WAITING_OF_A_DEVICE = 8
MOST_WAITING_OF_A_FLEET = 1_000
_PIECE_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class LogRequest:
    """`size_bytes`: of the text, unpacked; None until it is there."""

    id: int
    fleet_id: FleetId
    device_id: DeviceId
    source: str
    max_bytes: int
    state: LogState
    reason: str
    requested_at: datetime
    requested_by: str
    expires_at: datetime
    ended_at: datetime | None
    size_bytes: int | None


def unpacked_size(data: bytes, most_bytes: int) -> int:
    """The length of what a gzip bundle holds, found in bounded memory (RFC 1952).

    Raises:
        Invalid: it is no whole gzip member, something follows it, or it holds more than `most_bytes`.
    """
    unpacker = zlib.decompressobj(wbits=31)
    size, rest = 0, data
    try:
        while rest and not unpacker.eof:
            size += len(unpacker.decompress(rest, _PIECE_BYTES))
            if size > most_bytes:
                raise Invalid(f"cannot accept the bundle: it unpacks to more than the {most_bytes} bytes asked for")
            rest = unpacker.unconsumed_tail
    except zlib.error as error:
        raise Invalid("cannot accept the bundle: it is not gzip") from error
    if not unpacker.eof:
        raise Invalid("cannot accept the bundle: it is cut short")
    if unpacker.unused_data:
        raise Invalid("cannot accept the bundle: something follows its end")
    return size


def tail(data: bytes, most_bytes: int) -> str:
    """The last `most_bytes` of the text in a bundle that `unpacked_size` accepted, whole lines, for reading."""
    unpacker = zlib.decompressobj(wbits=31)
    kept, rest = b"", data
    cut = False
    while rest and not unpacker.eof:
        kept += unpacker.decompress(rest, _PIECE_BYTES)
        cut = cut or len(kept) > most_bytes
        kept, rest = kept[-most_bytes:], unpacker.unconsumed_tail
    _, separator, whole = kept.partition(b"\n") if cut else (b"", b"", b"")
    return (whole if separator else kept).decode("utf-8", "replace")
