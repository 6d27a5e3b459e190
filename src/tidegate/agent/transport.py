"""HTTPS requests of the agent: one place where a broken world, a foreign server and a refusal are told apart.

`ChannelProblem`: the node answered with a refusal. `CertificateRefused`: connected, then end of file (with TLS 1.3 a
refused client certificate is only seen at the first read). `Unavailable`: unreachable, slow, garbage. `Untrusted`: not
our node. Redirects are never followed; every read has a limit and a deadline.
"""

from __future__ import annotations

import os
import ssl
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError, ProxyError
from urllib3.exceptions import SSLError as PoolSslError
from urllib3.exceptions import TimeoutError as PoolTimeout

from tidegate import __version__
from tidegate.agent import tls
from tidegate.agent.words import plain
from tidegate.clock import SystemClock
from tidegate.errors import Invalid, Refused, Unavailable, Untrusted
from tidegate.wire.problem import PROBLEM_JSON, Problem

PROBLEM_MAX_BYTES = 64 << 10
CHUNK_BYTES = 256 << 10
CHUNK_SECONDS = 300.0
CONNECT_SECONDS = 15.0
RETRY_AFTER_MAX_SECONDS = 3600
_GOOD = frozenset({200, 201, 206})
#: X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED (x509_vfy.h).
_TIMES = frozenset({9, 10})
#: A link slower than this counts as dead while a small document is received.
SLOWEST_BYTES_PER_SECOND = 8 << 10


class ChannelProblem(Refused):
    """The node's own refusal, over TLS verified against the pinned CA; `type` is the problem's kind."""

    def __init__(self, detail: str, problem: Problem, retry_after_seconds: int) -> None:
        super().__init__(detail, type=problem.kind)
        self.status = problem.status
        self.retry_after_seconds = retry_after_seconds
        self.stop_workloads = problem.stop_workloads


class Foreign(Unavailable):
    """A refusal that is not the node's own: of a proxy, or of a server in front of it."""

    def __init__(self, detail: str, status: int, retry_after_seconds: int) -> None:
        super().__init__(detail, retry_after_seconds=retry_after_seconds)
        self.status = status


class CertificateRefused(Unavailable):
    """A fresh connection ended before any answer: the node refuses the certificate, or it is restarting."""


class Ended(Unavailable):
    """The request was ended from another thread."""


class Answer:
    """The head of an answer whose body is still to be received."""

    def __init__(self, response: urllib3.BaseHTTPResponse, call: tls.Call, path: str) -> None:
        self._response = response
        self._call = call
        self._path = path
        self.status = response.status

    def header(self, name: str) -> str:
        return self._response.headers.get(name, "").strip()

    def read_all(self, max_bytes: int) -> bytes:
        """Raises `Unavailable` when there is more than `max_bytes`, without receiving it."""
        parts: list[bytes] = []
        size = 0
        while part := self._read(min(CHUNK_BYTES, max_bytes + 1 - size)):
            size += len(part)
            if size > max_bytes:
                raise Unavailable(f"cannot use the node's answer to {self._path}: larger than {max_bytes} bytes")
            parts.append(part)
        return b"".join(parts)

    def chunks(self) -> Iterator[bytes]:
        """The body piece by piece, however long; each piece has a deadline of its own."""
        self._call.extend(CHUNK_SECONDS)
        while part := self._read(CHUNK_BYTES):
            yield part
            self._call.extend(CHUNK_SECONDS)

    def range_start(self) -> int:
        """Offset of the body's first byte: 0 when the node sends the whole."""
        if self.status != 206:
            return 0
        unit, _, rest = self.header("Content-Range").partition(" ")
        first = rest.partition("-")[0]
        if unit != "bytes" or not first.isascii() or not first.isdigit() or len(first) > 18:
            raise Unavailable(f"cannot use the node's answer to {self._path}: it does not say which range it sends")
        return int(first)

    def _read(self, size: int) -> bytes:
        with _translated(self._path, self._call):
            return self._response.read(size, decode_content=False)


class Transport:
    """Requests over the kept connections of `pool`, which lead to `url`; use from several threads."""

    def __init__(self, url: str, pool: urllib3.HTTPConnectionPool, timeout_seconds: float) -> None:
        self.url = url
        self.timeout_seconds = timeout_seconds
        self._pool = pool
        self._calls: dict[tls.Call, str] = {}
        self._lock = threading.Lock()

    @contextmanager
    def answer(
        self, method: str, path: str, seconds: float, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Iterator[Answer]:
        """A good answer, its body to be read inside; a connection not read to its end is closed.

        Raises:
            ChannelProblem, CertificateRefused, Ended, Unavailable, Untrusted: see the module.
        """
        call = tls.Call(seconds)
        with self._lock:
            self._calls[call] = path
        response: urllib3.BaseHTTPResponse | None = None
        try:
            with tls.under(call):
                with _translated(f"{self.url}{path}", call):
                    response = self._send(method, path, seconds, body, headers or {})
                call.answered = True
                answer = Answer(response, call, path)
                if answer.status not in _GOOD:
                    raise _refusal(answer, path)
                yield answer
        finally:
            with self._lock:
                del self._calls[call]
            if response is not None:
                response.close()
                response.release_conn()

    def end_calls(self, path: str | None = None) -> None:
        """Make requests under way (those to `path`, or all) fail with `Ended` now; the next one connects anew."""
        with self._lock:
            calls = [call for call, to in self._calls.items() if path in (None, to)]
        for call in calls:
            call.end()

    def close(self) -> None:
        self._pool.close()

    def _send(
        self, method: str, path: str, seconds: float, body: bytes | None, headers: dict[str, str]
    ) -> urllib3.BaseHTTPResponse:
        every = {"User-Agent": f"tidegate-agent/{__version__}", "Accept": f"application/json, {PROBLEM_JSON}"}
        if body is not None:
            every["Content-Type"] = "application/json"

        def once() -> urllib3.BaseHTTPResponse:
            return self._pool.urlopen(
                method,
                path,
                body=body,
                headers=every | headers,
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, seconds), read=seconds),
            )

        opened = self._pool.num_connections
        try:
            return once()
        except (ProtocolError, PoolSslError):
            if self._pool.num_connections > opened:
                raise
        # A kept connection, which the node had closed meanwhile. Every call of the channel may be said twice.
        return once()


def to_node(url: str, ca_pem: str, identity: Path | None, timeout_seconds: float) -> Transport:
    """To a node, over TLS 1.3 against its pinned CA; `identity` is a PEM file with key and chain, or None.

    Raises:
        Invalid: the address, the CA bundle or the identity cannot be used.
    """
    checked = checked_url(url)
    return Transport(checked, _pool(checked, tls.client_context(ca_pem, identity)), timeout_seconds)


def gunzip(data: bytes, max_bytes: int, path: str) -> bytes:
    """Raises `Unavailable` for damaged data, and for a small answer that unpacks to more than `max_bytes`."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise Unavailable(f"cannot unpack the node's answer to {path}") from error
    if len(unpacked) > max_bytes:
        raise Unavailable(f"cannot use the node's answer to {path}: larger than {max_bytes} bytes")
    if not unpacker.eof:
        raise Unavailable(f"cannot unpack the node's answer to {path}: it is cut short")
    return unpacked


def checked_url(url: str) -> str:
    """``https://HOST[:PORT]``, without a trailing slash.

    Raises:
        Invalid: anything else.
    """
    rule = f"cannot use the address {url!r}: it must be https://HOST[:PORT]"
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError as error:
        raise Invalid(rule) from error
    if not good or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise Invalid(rule)
    return f"https://{parts.netloc}"


def _pool(url: str, context: ssl.SSLContext) -> urllib3.HTTPSConnectionPool:
    """Direct, or through the proxy that the environment names (CONNECT: TLS still ends at the node)."""
    proxy = _proxy_for(url)
    manager: urllib3.PoolManager
    if proxy:
        manager = urllib3.ProxyManager(proxy, ssl_context=context, maxsize=4)
    else:
        manager = urllib3.PoolManager(ssl_context=context, maxsize=4)
    pool = manager.connection_from_url(url)
    assert isinstance(pool, urllib3.HTTPSConnectionPool)
    return pool


def _proxy_for(url: str) -> str:
    if not any(name.lower() in ("https_proxy", "all_proxy") for name in os.environ):
        return ""
    # Imported only where a proxy is set: it costs the idle agent memory.
    from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

    proxies = getproxies_environment()
    if proxy_bypass_environment(urlsplit(url).netloc, proxies):
        return ""
    return proxies.get("https") or proxies.get("all") or ""


def _refusal(answer: Answer, path: str) -> Exception:
    """What a status other than success means."""
    status = answer.status
    if 300 <= status < 400:
        return Unavailable(f"cannot use the node's answer to {path}: it points elsewhere (status {status})")
    after = _retry_after(answer.header("Retry-After"))
    data = answer.read_all(PROBLEM_MAX_BYTES)
    if answer.header("Content-Type").partition(";")[0].strip().lower() != PROBLEM_JSON:
        return Foreign(f"cannot use the node's answer to {path}: status {status}", status, after)
    try:
        problem = msgspec.json.decode(data, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Unavailable(f"cannot use the node's answer to {path}: status {status}, {error}")
    if problem.status != status:
        return Unavailable(f"cannot use the node's answer to {path}: status {status} bears a problem of another")
    detail = plain(problem.detail or problem.title)
    if status >= 500:
        return Unavailable(detail, retry_after_seconds=after, type=problem.kind)
    return ChannelProblem(detail, problem, after)


def _retry_after(text: str) -> int:
    return min(int(text), RETRY_AFTER_MAX_SECONDS) if text.isascii() and text.isdigit() and len(text) < 10 else 5


@contextmanager
def _translated(where: str, call: tls.Call) -> Iterator[None]:
    try:
        yield
    except (HTTPError, OSError) as error:
        if call.ended:
            raise Ended("the request was ended") from error
        raise _meaning(error, where, call.answered) from error


def _meaning(error: BaseException, where: str, answered: bool) -> Exception:
    """Which kind of trouble a failure of urllib3, ssl or the socket is."""
    causes = list(_causes(error))
    unverified = next((cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), None)
    if unverified is not None:
        return Untrusted(f"cannot verify the server at {where} against the node's pinned CA{_why(unverified)}")
    if any(isinstance(cause, (TimeoutError, PoolTimeout)) for cause in causes):
        return Unavailable(f"cannot reach {where}: it does not answer in time")
    never_connected = any(isinstance(cause, (NewConnectionError, ProxyError)) for cause in causes)
    if not answered and not never_connected and any(_looks_refused(cause) for cause in causes):
        return CertificateRefused(
            f"cannot talk to {where}: connected, then the connection ended; "
            "the node may refuse this device's certificate, or be restarting"
        )
    return Unavailable(f"cannot reach {where}: {str(causes[-1]) or type(causes[-1]).__name__}")


def _why(unverified: ssl.SSLCertVerificationError) -> str:
    """OpenSSL's word for it, and this device's own clock where that is what may be wrong."""
    now = SystemClock().now().strftime("%Y-%m-%d %H:%M UTC")
    clock = f"; the clock of this device says {now}" if unverified.verify_code in _TIMES else ""
    return f": {unverified.verify_message}{clock}"


def _looks_refused(cause: BaseException) -> bool:
    """End of file, a reset, or a TLS alert about the certificate (RFC 8446 section 6.2)."""
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
        reason = cause.reason or ""
        return "ALERT" in reason and any(word in reason for word in ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED"))
    return isinstance(cause, (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what is beneath it: urllib3 keeps causes in arguments, in attributes and in the chain."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        now = waiting.pop(0)
        if id(now) in seen:
            continue
        seen.add(id(now))
        yield now
        beneath = (now.__cause__, now.__context__, getattr(now, "reason", None), *now.args)
        waiting.extend(item for item in beneath if isinstance(item, BaseException))
