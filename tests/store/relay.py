"""A relay between a node and its store that can be taken away, fall silent, or cut answers short."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Literal

Mode = Literal["pass", "silent", "cut"]
_PIECE = 16 << 10


class Relay:
    """Listens on a port of its own that stays the same over `away` and `back`."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self.mode: Mode = "pass"
        #: In the mode "cut": how many bytes of each answer still pass, and of how many connections.
        self.cut_after, self.cuts = 0, 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listening = self._listen(0)
        self.port = int(self._listening.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def away(self) -> None:
        """Nobody listens any more, and what was open is closed."""
        with contextlib.suppress(OSError):  # wakes the thread that accepts
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            for one in self._open:
                _end(one)

    def back(self) -> None:
        self._listening = self._listen(self.port)

    def _listen(self, port: int) -> socket.socket:
        listening = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()
        return listening

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                near, _ = listening.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            with self._lock:
                self._open |= {near, far}
            threading.Thread(target=self._copy, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._copy, args=(far, near, True), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE):
                if self.mode == "silent":
                    continue
                if self.mode == "cut" and answers and self.cuts > 0 and passed + len(data) > self.cut_after:
                    self.cuts -= 1
                    target.sendall(data[: max(0, self.cut_after - passed)])
                    break
                target.sendall(data)
                passed += len(data)
        for one in (source, target):
            _end(one)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextlib.contextmanager
def relaying(host: str, port: int) -> Iterator[Relay]:
    relay = Relay((host, port))
    try:
        yield relay
    finally:
        relay.away()
