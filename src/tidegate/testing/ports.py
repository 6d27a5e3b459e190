"""Free ports for servers that are told theirs before they listen."""

from __future__ import annotations

import secrets
import socket

# Below what Linux gives to outgoing connections and to port 0 (from 32768 on): nobody is handed one of these meanwhile.
_FIRST, _LAST = 10_240, 32_767
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on, and that this process has not given before."""
    return [_free_port() for _ in range(count)]


def _free_port() -> int:
    while True:
        port = _FIRST + secrets.randbelow(_LAST - _FIRST + 1)
        if port not in _given and _bindable(port):
            _given.add(port)
            return port


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
