"""Pages compressed, without their length saying anything about the secret in them.

What is compressed together with text that somebody else chose (a search in an address, a name) can be guessed from
outside by its length, byte for byte (the BREACH attack). So the secret of a page's forms never meets the compressor: it
stands in the stream as it is, between parts that are compressed each by itself. Answers to posted forms, which may show
a new secret once, and pages declared `secret` are not compressed at all.
"""

from __future__ import annotations

import struct
import zlib

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

#: Less is not worth it: it travels in one packet either way.
LEAST_BYTES = 1_400
#: RFC 1952: deflate, no name, no time, any system.
_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
#: RFC 1951: the last block, of no length.
_LAST = b"\x01\x00\x00\xff\xff"
_RAW = -15


def packed(response: Response, request: Request, secret: str) -> Response:
    """The same answer, compressed where the browser takes it and the page is one that was only looked at."""
    if request.method != "GET" or not isinstance(response, HTMLResponse) or len(response.body) < LEAST_BYTES:
        return response
    response.headers["Vary"] = "Accept-Encoding"
    if _takes_gzip(request.headers.get("accept-encoding", "")):
        response.body = gzip_around(bytes(response.body), secret.encode())
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Content-Length"] = str(len(response.body))
    return response


def _takes_gzip(accepted: str) -> bool:
    """RFC 9110, section 12.5.3: named, and not with a weight of nothing."""
    for one in accepted.lower().split(","):
        coding, _, weight = one.replace(" ", "").partition(";")
        if coding in ("gzip", "*"):
            return weight not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def gzip_around(data: bytes, secret: bytes) -> bytes:
    """`data` as gzip (RFC 1952) in which every `secret` is stored as it is and nothing refers to it."""
    parts = data.split(secret) if secret else [data]
    stored = struct.pack("<BHH", 0, len(secret), len(secret) ^ 0xFFFF) + secret
    body = stored.join(_deflated(part) for part in parts)
    return _HEAD + body + _LAST + struct.pack("<LL", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def _deflated(part: bytes) -> bytes:
    """Blocks that end on a whole byte and look back no further than to their own beginning."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, _RAW)
    return compressor.compress(part) + compressor.flush(zlib.Z_SYNC_FLUSH)
