"""Sending a file in pieces, asking the node where to go on whenever the connection breaks."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from tidegate.errors import Conflict, Unavailable
from tidegate.wire.operator.artifacts import UploadState

if TYPE_CHECKING:
    from tidegate.client.calls import Calls
    from tidegate.client.client import Client

PIECE_BYTES = 8 << 20
#: Failures one after another, without a byte that got through, until it is given up.
TRIES = 5


class BrokenOff(Unavailable):
    """The upload stopped; what arrived is kept. `upload_id` is what `resume` takes."""

    def __init__(self, error: Unavailable, upload_id: str) -> None:
        super().__init__(error.detail, retry_after_seconds=error.retry_after_seconds, type=error.type)
        self.upload_id = upload_id


def send(
    client: Client, stream: BinaryIO, name: str, resume: str, progress: Callable[[int, int], None] | None
) -> UploadState:
    """The sealed upload. Raises as `Client.upload`."""
    length = stream.seek(0, io.SEEK_END)
    state = _going_on(client, resume, length) if resume else client.uploads.create(file_name=name, length=length)
    failures = 0
    while True:
        if progress is not None:
            progress(state.received, length)
        if state.sha256 is not None:
            return state
        stream.seek(state.received)
        try:
            state = client.uploads.append(state.id, stream.read(PIECE_BYTES), offset=state.received)
            failures = 0
        except Unavailable as error:
            failures += 1
            if failures == TRIES or error.type == "disk-full":
                raise BrokenOff(error, state.id) from error
            client.pause(min(2.0**failures, error.retry_after_seconds))
            state = _reachable(client, state)


def _going_on(client: Calls, upload_id: str, length: int) -> UploadState:
    state = client.uploads.get(upload_id)
    if state.length != length:
        raise Conflict(f"cannot go on with the upload {upload_id}: it is of {state.length} bytes, not {length}")
    return state


def _reachable(client: Calls, last: UploadState) -> UploadState:
    """What the node has by now; what was last known while it still cannot be reached."""
    try:
        return client.uploads.get(last.id)
    except Unavailable:
        return last
