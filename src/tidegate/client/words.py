"""Why a connection failed, for people: neither the names of a library's classes nor numbers of errors."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from urllib3.exceptions import ConnectTimeoutError, ProtocolError, ReadTimeoutError


def in_words(error: BaseException) -> str:
    """The cause at the bottom of `error`."""
    for one in _causes(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            return str(one.verify_message)
        if isinstance(one, ssl.SSLError):
            return (one.reason or "the TLS handshake failed").lower().replace("_", " ")
        if isinstance(one, ConnectTimeoutError):
            return "no connection within the time allowed"
        if isinstance(one, ReadTimeoutError | TimeoutError):
            return "no answer within the time allowed"
        if isinstance(one, socket.gaierror):
            return "its name is not known"
        if isinstance(one, OSError) and one.strerror:
            return one.strerror[:1].lower() + one.strerror[1:]
    if any(isinstance(one, ProtocolError) for one in _causes(error)):
        return "the connection was closed before the answer was whole"
    return str(error) or type(error).__name__


def certificate_error(error: BaseException) -> ssl.SSLError | None:
    """The refusal of the peer's certificate or of TLS itself, where that is the cause."""
    return next((one for one in _causes(error) if isinstance(one, ssl.SSLError)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What was raised from what: the cause at the bottom is the one that says most."""
    found: list[BaseException] = []
    left: list[BaseException] = [error]
    while left:
        one = left.pop()
        if one in found:
            continue
        found.append(one)
        inner = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        left += [each for each in inner if isinstance(each, BaseException)]
    yield from reversed(found)
