"""The command line's way to the node: HTTPS with a pinned CA, an API key or a session, problems as errors."""

from __future__ import annotations

import json
import os
import secrets
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import click
import msgspec
import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.exceptions import SSLError as PoolSslError

from tidegate import __version__
from tidegate.cli.output import Output
from tidegate.errors import (
    Conflict,
    Defect,
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    TidegateError,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
    Untrusted,
)
from tidegate.trust.tuf.durable import make_folder, write_file
from tidegate.wire.problem import PROBLEM_JSON, Problem

ANSWER_MAX_BYTES = 64 << 20
_TIMEOUT = urllib3.Timeout(connect=15, read=300)


@dataclass(frozen=True, slots=True)
class Login:
    """What `tidegate login` keeps for the commands after it."""

    url: str
    ca: str
    secret: str


def login_file() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "tidegate" / "login.json"


def load_login() -> Login | None:
    path = login_file()
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Login)
    except (OSError, msgspec.MsgspecError) as error:
        raise Invalid(f"cannot use {path}: {error}; sign in again with tidegate login") from error


def save_login(login: Login | None) -> None:
    """Raises `Unavailable` when the file cannot be written or removed."""
    path = login_file()
    try:
        if login is None:
            path.unlink(missing_ok=True)
            return
        make_folder(path.parent)
        write_file(path, msgspec.json.encode(login), 0o600)
    except OSError as error:
        raise Unavailable(f"cannot keep the session in {path}: {error.strerror}") from error


class Client:
    """One node. `ca` is PEM text that pins it; empty means the system's CAs. `secret` is sent as a bearer."""

    def __init__(self, url: str, ca: str, secret: str, fleet: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise Invalid(f"cannot use the address {url}: it must be https://host:port")
        context = ssl.create_default_context(cadata=ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._pool = urllib3.HTTPSConnectionPool(
            parts.hostname, parts.port or 443, ssl_context=context, timeout=_TIMEOUT, retries=False, maxsize=2
        )
        self._url = url.rstrip("/")
        self._secret = secret
        self._fleet = fleet

    def call(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None, creates: bool = False
    ) -> Any:
        """One call of the API; gives the decoded answer, None for an empty one.

        Args:
            query: left out where None; booleans as true and false.
            body: sent as JSON.
            creates: sends an Idempotency-Key, so that a lost answer can be asked for again.

        Raises:
            Refused and its kinds as the node says, Unavailable, Untrusted.
        """
        headers = {"Idempotency-Key": secrets.token_hex(16)} if creates else {}
        raw = None if body is None else json.dumps(body).encode()
        if raw is not None:
            headers["Content-Type"] = "application/json"
        response = self._send(method, path, query, headers, raw)
        data = _read(response, ANSWER_MAX_BYTES + 1, path)
        if len(data) > ANSWER_MAX_BYTES:
            raise Unavailable(f"cannot use the answer to {path}: larger than {ANSWER_MAX_BYTES} bytes")
        if not data:
            return None
        try:
            return json.loads(data)
        except ValueError as error:
            raise Unavailable(f"cannot read the answer to {path}: not JSON") from error

    def send(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None, body: bytes | None = None,
    ) -> urllib3.BaseHTTPResponse:  # fmt: skip
        """One call with raw bytes either way, such as a part of an upload; the caller reads and releases the answer."""
        return self._send(method, path, query, dict(headers or {}), body)

    def download(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[bytes]:
        """The answer's body in pieces."""
        response = self._send("GET", path, query, {}, None)
        try:
            yield from response.stream(1 << 20)
        except HTTPError as error:
            raise Unavailable(f"cannot receive all of {path}: {error}") from error
        finally:
            response.release_conn()

    def _send(
        self, method: str, path: str, query: Mapping[str, Any] | None, headers: dict[str, str], body: bytes | None
    ) -> urllib3.BaseHTTPResponse:
        asked = {"fleet": self._fleet} if self._fleet else {}
        for name, value in (query or {}).items():
            if value is not None and value != "":
                asked[name] = str(value).lower() if isinstance(value, bool) else str(value)
        target = path + (f"?{urlencode(asked)}" if asked else "")
        headers |= {"User-Agent": f"tidegate/{__version__}", "Accept": "application/json"}
        if self._secret:
            headers["Authorization"] = f"Bearer {self._secret}"
        try:
            response = self._pool.request(
                method, target, body=body, headers=headers, preload_content=False, redirect=False
            )
        except PoolSslError as error:
            raise Untrusted(f"cannot trust {self._url}: {error}") from error
        except (HTTPError, OSError) as error:
            cause = error.reason if isinstance(error, MaxRetryError) else error
            if isinstance(cause, PoolSslError | ssl.SSLError):
                raise Untrusted(f"cannot trust {self._url}: {cause}") from error
            raise Unavailable(f"cannot reach {self._url}: {cause}") from error
        if response.status >= 300:
            raise self._refusal(response, path)
        return response

    def _refusal(self, response: urllib3.BaseHTTPResponse, path: str) -> TidegateError:
        data = _read(response, 1 << 20, path)
        if response.headers.get("content-type", "").split(";")[0] != PROBLEM_JSON:
            return Unavailable(f"cannot use the answer to {path}: status {response.status} without a problem")
        try:
            return as_error(msgspec.json.decode(data, type=Problem))
        except msgspec.MsgspecError:
            return Unavailable(f"cannot read the problem that answers {path}: status {response.status}")


def _read(response: urllib3.BaseHTTPResponse, most: int, path: str) -> bytes:
    """The body, at most so many bytes of it. Raises `Unavailable` when it does not come whole."""
    try:
        return response.read(most)
    except (HTTPError, OSError) as error:
        raise Unavailable(f"cannot receive the answer to {path}: {error}") from error
    finally:
        response.release_conn()


def as_error(problem: Problem) -> TidegateError:
    """The node's problem as the error it was there."""
    detail, kind = problem.detail or problem.title, problem.kind
    if problem.errors or problem.status == 422:
        return Invalid(detail, tuple(FieldError(e.pointer, e.detail) for e in problem.errors), type=kind)
    if problem.status == 403:
        return Forbidden(detail, permission=problem.permission, type=kind)
    if problem.status == 429:
        return TooMany(detail, retry_after_seconds=problem.retry_after_seconds, type=kind)
    if problem.status == 503:
        return Unavailable(detail, retry_after_seconds=problem.retry_after_seconds, type=kind)
    kinds: dict[int, type[TidegateError]] = {
        401: Unauthenticated, 404: NotFound, 409: Conflict, 413: TooLarge, 500: Defect,
    }  # fmt: skip
    return kinds.get(problem.status, Refused)(detail, type=kind)


def quoted(part: str | int) -> str:
    """One part of a path."""
    return quote(str(part), safe="")


@dataclass(slots=True)
class Cli:
    """What every command works with; the options of the program and where they come from."""

    out: Output
    url: str
    ca_file: str
    key_file: str
    fleet: str
    _client: Client | None = field(default=None)

    @property
    def client(self) -> Client:
        """The node named by options, variables or the last `tidegate login`, in this order.

        Raises:
            Unauthenticated: no credential is known.
            Invalid: a file cannot be read.
        """
        if self._client is None:
            kept = load_login()
            url = self.url or (kept.url if kept else "")
            if not url:
                raise Unauthenticated(
                    "cannot tell which node: sign in with tidegate login, or give --url and --key-file"
                )
            ca = read_text(self.ca_file, "CA") if self.ca_file else (kept.ca if kept else "")
            if self.key_file:
                secret = read_text(self.key_file, "API key").strip()
            elif kept is not None and kept.url == url:
                secret = kept.secret
            else:
                raise Unauthenticated(f"cannot sign in at {url}: use tidegate login, or give --key-file")
            self._client = Client(url, ca, secret, self.fleet)
        return self._client


def read_text(path: str, what: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot read the {what} file: {error}") from error


pass_cli = click.make_pass_decorator(Cli)
