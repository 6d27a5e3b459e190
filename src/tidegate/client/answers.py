"""What calls give that is more than one value: lists to walk, and bytes that stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

import msgspec
from urllib3.exceptions import HTTPError

from tidegate.client.connection import Connection, Response
from tidegate.client.words import in_words
from tidegate.errors import TooLarge, Unavailable
from tidegate.wire.operator.common import MAX_LIMIT, ListQuery, Page

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A list on the node. Iterating walks all of it by cursor, stable while others write; `page` gives one slice."""

    _connection: Connection
    _kind: type[Page[T]]
    _path: str
    _query: ListQuery

    def __iter__(self) -> Iterator[T]:
        cursor = ""
        while True:
            found = self.page(limit=MAX_LIMIT, cursor=cursor)
            yield from found.items
            if not found.next_cursor:
                return
            cursor = found.next_cursor

    def page(self, *, limit: int = 50, offset: int = 0, cursor: str = "") -> Page[T]:
        """One slice: by `offset` as people turn pages, or behind the `next_cursor` of the slice before."""
        query = msgspec.structs.replace(self._query, limit=limit, offset=offset, cursor=cursor)
        return self._connection.call(self._kind, "GET", self._path, query=query)

    @property
    def total(self) -> int:
        """How many there are, exact up to 10,000."""
        return self.page(limit=1).total


class Download:
    """Bytes on their way: iterate over the pieces, `read` or `save` them; once."""

    def __init__(self, response: Response, path: str) -> None:
        self._response = response
        self._path = path
        self.headers = response.headers

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._response.stream(1 << 20)
        except (HTTPError, OSError) as error:
            raise Unavailable(f"cannot receive all of {self._path}: {in_words(error)}", type="unreachable") from error
        finally:
            self._response.release_conn()

    def read(self, most: int = 64 << 20) -> bytes:
        """All of it. Raises `TooLarge` beyond `most` bytes."""
        data = bytearray()
        for piece in self:
            data += piece
            if len(data) > most:
                self.close()
                raise TooLarge(f"cannot take {self._path}: larger than {most} bytes")
        return bytes(data)

    def begin(self, most: int) -> bytes:
        """The first bytes, at most so many of them: for whoever judges the length by itself."""
        data = bytearray()
        for piece in self:
            data += piece[: most - len(data)]
            if len(data) == most:
                self.close()
                break
        return bytes(data)

    def save(self, file: Path) -> int:
        """Write all of it to `file`, which must not exist; gives the number of bytes. What is cut off is removed."""
        with file.open("xb") as out:
            try:
                return sum(out.write(piece) for piece in self)
            except BaseException:
                file.unlink()
                raise

    def close(self) -> None:
        """End it early."""
        self._response.close()

    def __enter__(self) -> Download:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Noun:
    """Base of what is generated: the calls of one noun."""

    def __init__(self, node: Connection) -> None:
        self._connection = node

    def _download(self, path: str, query: msgspec.Struct | None = None) -> Download:
        return Download(self._connection.send("GET", path, query=query), path)

    def _listing(self, kind: Any, path: str, query: ListQuery) -> Listing[Any]:
        return Listing(self._connection, kind, path, query)
