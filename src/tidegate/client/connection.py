"""One node over HTTPS: a pinned CA, a credential, answers decoded, problems raised, retries where safe.

Safe is what changes nothing (GET), what says how things shall be (PUT), and what creates under an Idempotency-Key.
"""

from __future__ import annotations

import secrets
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import urllib3
from urllib3.exceptions import HTTPError

from tidegate import __version__
from tidegate.client.words import certificate_error, in_words
from tidegate.errors import Invalid, NotFound, TidegateError, TooMany, Unavailable, Untrusted
from tidegate.problems import error_of
from tidegate.wire.problem import PROBLEM_JSON, Problem

T = TypeVar("T")

ANSWER_MAX_BYTES = 64 << 20
PROBLEM_MAX_BYTES = 1 << 20
#: The longest that a retry waits, whatever the node asks for: beyond it the caller decides.
WAIT_MAX_SECONDS = 10.0
CONNECT_SECONDS = 15.0

Body = msgspec.Struct | bytes | Mapping[str, Any] | None
Response = urllib3.BaseHTTPResponse


@dataclass(frozen=True, slots=True)
class Connection:
    """Where, as whom, in which fleet; threads may share it."""

    pool: urllib3.HTTPSConnectionPool
    url: str
    secret: str
    fleet: str
    retries: int
    pause: threading.Event  # never set: waiting on it is a pause that an interrupt ends

    def in_fleet(self, fleet: str) -> Connection:
        return replace(self, fleet=fleet)

    def call(
        self, kind: type[T], method: str, path: str, *, query: msgspec.Struct | None = None, body: Body = None,
        idempotency_key: str | None = None,
    ) -> T:  # fmt: skip
        """One call, its answer as a `kind`; NoneType for an empty one. Raises as `send`."""
        response = self.send(method, path, query=query, body=body, idempotency_key=idempotency_key)
        return self.decoded(kind, response, path)

    def decoded(self, kind: type[T], response: Response, path: str) -> T:
        """The answer whole, as a `kind`. Raises `Unavailable` when it does not come, or is something else."""
        data = _whole(response, ANSWER_MAX_BYTES, path)
        try:
            return msgspec.json.decode(data or b"null", type=kind)
        except msgspec.MsgspecError as error:
            raise Unavailable(f"cannot read the answer to {path}: {error}") from error

    def send(
        self, method: str, path: str, *, query: msgspec.Struct | Mapping[str, Any] | None = None, body: Body = None,
        idempotency_key: str | None = None,
    ) -> Response:  # fmt: skip
        """One call; the caller reads and releases the answer.

        Args:
            query: left out where None, empty or a default.
            body: bytes are sent as they are, everything else as JSON.
            idempotency_key: None: the call creates nothing; empty: a new one is made.

        Raises:
            Refused and its kinds: as the node says.
            Unavailable: it cannot be reached, or says so itself.
            Untrusted: its certificate is not signed by the CA given.
        """
        headers = {"User-Agent": f"tidegate/{__version__}", "Accept": "application/json"}
        if self.secret:
            headers["Authorization"] = f"Bearer {self.secret}"
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key or secrets.token_hex(16)
        raw = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        if raw is not None:
            headers["Content-Type"] = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        target = path + _query(query, self.fleet)
        tries = self.retries if method in ("GET", "PUT") or idempotency_key is not None else 0
        for attempt in range(tries + 1):
            try:
                return self._once(method, target, path, headers, raw)
            except (Unavailable, TooMany) as error:
                wait = max(error.retry_after_seconds if error.type != "unreachable" else 0, 0.25 * 2**attempt)
                if attempt == tries or wait > WAIT_MAX_SECONDS:
                    raise
                self.pause.wait(wait)
        raise AssertionError("the last attempt returns or raises")

    def _once(self, method: str, target: str, path: str, headers: Mapping[str, str], raw: bytes | None) -> Response:
        try:
            response = self.pool.request(
                method, target, body=raw, headers=headers, preload_content=False, redirect=False, retries=False
            )
        except (HTTPError, OSError) as error:
            if certificate_error(error) is not None:
                raise Untrusted(f"cannot trust {self.url}: {in_words(error)}", type="certificate") from error
            raise Unavailable(f"cannot reach {self.url}: {in_words(error)}", type="unreachable") from error
        if response.status >= 300:
            raise _refusal(response, path)
        return response


def connect(url: str, *, ca: str, secret: str, fleet: str, timeout_seconds: float, retries: int) -> Connection:
    """`ca` is PEM text, empty for the system's CAs. Raises `Invalid` for an address or a CA that cannot be one."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
        raise Invalid(f"cannot use the address {url}: it must be https://host:port")
    try:
        context = ssl.create_default_context(cadata=ca or None)
        port = parts.port or 443
    except ssl.SSLError as error:
        raise Invalid("cannot use the CA: it is not a certificate in PEM") from error
    except ValueError as error:
        raise Invalid(f"cannot use the address {url}: its port must be a number up to 65535") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    timeout = urllib3.Timeout(connect=min(CONNECT_SECONDS, timeout_seconds), read=timeout_seconds)
    pool = urllib3.HTTPSConnectionPool(parts.hostname, port, ssl_context=context, timeout=timeout, maxsize=4)
    return Connection(pool, url.rstrip("/"), secret, fleet, retries, threading.Event())


def at(path: str, *parts: str | int) -> str:
    """`path` with each ``{}`` replaced by a part, quoted. Raises `Invalid` for a part that would change the path."""
    for part in parts:
        if part in ("", ".", ".."):
            raise Invalid(f"cannot ask for {part!r}: it names nothing")
    return path.format(*[quote(str(part), safe="") for part in parts])


def _query(query: msgspec.Struct | Mapping[str, Any] | None, fleet: str) -> str:
    asked = {"fleet": fleet} if fleet else {}
    found = dict(query) if isinstance(query, Mapping) else msgspec.to_builtins(query) if query is not None else {}
    for name, value in found.items():
        if value is not None and value != "":
            asked[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return f"?{urlencode(asked)}" if asked else ""


def _whole(response: Response, most: int, path: str) -> bytes:
    """The whole body. Raises `Unavailable` when it does not come whole, or is larger than `most` bytes."""
    try:
        data = response.read(most + 1)
    except (HTTPError, OSError) as error:
        raise Unavailable(f"cannot receive the answer to {path}: {in_words(error)}", type="unreachable") from error
    finally:
        response.release_conn()
    if len(data) > most:
        raise Unavailable(f"cannot use the answer to {path}: larger than {most} bytes")
    return data


def _refusal(response: Response, path: str) -> TidegateError:
    data = _whole(response, PROBLEM_MAX_BYTES, path)
    if response.status == 303 and response.headers.get("location", "").startswith("/signin"):
        return NotFound(f"cannot find a call of the API at {path}: it is a page of the console")
    if response.headers.get("content-type", "").split(";")[0] != PROBLEM_JSON:
        return Unavailable(f"cannot use the answer to {path}: status {response.status} without a problem")
    try:
        return error_of(msgspec.json.decode(data, type=Problem))
    except msgspec.MsgspecError:
        return Unavailable(f"cannot read the problem that answers {path}: status {response.status}")
