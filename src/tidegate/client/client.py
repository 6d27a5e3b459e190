"""The client: every noun of the generated calls, and what takes more than one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from tidegate.client import upload
from tidegate.client.answers import Download
from tidegate.client.calls import Calls
from tidegate.client.connection import Connection, connect
from tidegate.errors import Invalid
from tidegate.wire.operator.artifacts import UploadState

#: PEM text begins so; any other text is the path of a file.
_PEM = "-----BEGIN"
_KEY_MAX_BYTES = 4096


class Client(Calls):
    """One node, as one API key or session; threads may share it. Use it as a context manager, or `close` it.

    Args:
        url: ``https://host:port`` of the console listener.
        ca: the CA that pins the node: a file, or PEM text; empty: the system's CAs.
        key: an API key or the secret of a session; a `Path` is read.
        fleet: the fleet that is meant; `in_fleet` gives a client for another.
        timeout_seconds: the longest silence within an answer.
        retries: how often a call that is safe to repeat is sent again while the node cannot be reached, or says that
            it is busy: calls that read or replace, and those that create, under their Idempotency-Key.

    Raises:
        Invalid: the address, the CA or the key cannot be one.
    """

    def __init__(
        self, url: str, *, ca: str | Path = "", key: str | Path = "", fleet: str = "default",
        timeout_seconds: float = 300.0, retries: int = 2,
    ) -> None:  # fmt: skip
        pem = ca if isinstance(ca, str) and (not ca or ca.startswith(_PEM)) else _read(Path(ca), "CA")
        secret = _read(key, "API key").strip() if isinstance(key, Path) else key
        if len(secret) > _KEY_MAX_BYTES or any(not "!" <= letter <= "~" for letter in secret):
            raise Invalid("cannot use the API key: it must be one word of printable ASCII, such as tg_…")
        self._begin(connect(url, ca=pem, secret=secret, fleet=fleet, timeout_seconds=timeout_seconds, retries=retries))

    def _begin(self, node: Connection) -> None:
        super().__init__(node)
        self._connection = node

    @classmethod
    def from_environment(cls, **options: Any) -> Client:
        """From TIDEGATE_URL, TIDEGATE_CA, TIDEGATE_KEY_FILE and TIDEGATE_FLEET, as the command line reads them.

        Raises:
            Invalid: the address or the key is missing, or cannot be one.
        """
        given = {name: os.environ.get(f"TIDEGATE_{name}", "") for name in ("URL", "CA", "KEY_FILE", "FLEET")}
        for name in ("URL", "KEY_FILE"):
            if not given[name]:
                raise Invalid(f"cannot tell which node: set TIDEGATE_{name}")
        found = {"ca": given["CA"], "key": Path(given["KEY_FILE"]), "fleet": given["FLEET"] or "default"}
        return cls(given["URL"], **{**found, **options})

    @property
    def url(self) -> str:
        return self._connection.url

    @property
    def fleet(self) -> str:
        return self._connection.fleet

    def in_fleet(self, fleet: str) -> Client:
        """The same node and credential, another fleet; connections are shared."""
        other = Client.__new__(Client)
        other._begin(self._connection.in_fleet(fleet))
        return other

    def upload(
        self, file: Path | BinaryIO, *, name: str = "", resume: str = "",
        progress: Callable[[int, int], None] | None = None,
    ) -> UploadState:  # fmt: skip
        """Send a file whole; goes on where it broke off when the connection does.

        Args:
            file: a path, or something open that can seek.
            name: what the file is called in the version; the path's own name without it.
            resume: the id of an upload that broke off earlier.
            progress: called with the bytes that the node has and how many there are.

        Raises:
            Conflict: `resume` is of a file of another length.
            upload.BrokenOff: the node stays away or its disk is full; `resume` goes on.
        """
        if isinstance(file, Path):
            with file.open("rb") as stream:
                return upload.send(self, stream, name or file.name, resume, progress)
        return upload.send(self, file, name or "file", resume, progress)

    def call(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None, creates: bool = False
    ) -> Any:
        """Any call by its path, for what is newer than this client: JSON in, JSON out, None for an empty answer."""
        response = self._connection.send(method, path, query=query, body=body, idempotency_key="" if creates else None)
        return self._connection.decoded(Any, response, path)

    def download(self, path: str, query: Mapping[str, Any] | None = None) -> Download:
        """Any answer by its path, as bytes."""
        return Download(self._connection.send("GET", path, query=query), path)

    def pause(self, seconds: float) -> None:
        """Wait between two attempts; an interrupt ends it."""
        self._connection.pause.wait(seconds)

    def close(self) -> None:
        """Close every connection, also those of clients that `in_fleet` gave."""
        self._connection.pool.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _read(file: Path, what: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(f"cannot use the {what} file {file}: it is not text") from error
    except OSError as error:
        raise Invalid(f"cannot read the {what} file {file}: {error.strerror}") from error
