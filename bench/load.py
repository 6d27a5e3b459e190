"""Keep-alive load over mutual TLS: each connection sends its request again as soon as its answer is whole."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop


@dataclass(frozen=True, slots=True)
class Client:
    """One device: its certificate and key files, and the bytes of the request it repeats."""

    certificate: Path
    key: Path
    request: bytes


@dataclass(frozen=True, slots=True)
class Result:
    requests: int
    wall_seconds: float
    statuses: dict[int, int]


class _Connection(asyncio.Protocol):
    def __init__(self, request: bytes, budget: list[int], statuses: dict[int, int], done: asyncio.Future[None]) -> None:
        self.request, self.budget, self.statuses, self.done = request, budget, statuses, done
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one by shape only
        self._next()

    def _next(self) -> None:
        if self.budget[0] <= 0:
            if not self.done.done():
                self.done.set_result(None)
            self.transport.close()
            return
        self.budget[0] -= 1
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(body) < length:
            return
        status = int(head[9:12])
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.buffer = body[length:]
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("closed by the server"))


def context(ca: Path, client: Client) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.load_verify_locations(ca)
    made.load_cert_chain(client.certificate, client.key)
    return made


async def _run(host: str, port: int, ca: Path, clients: Sequence[Client], requests: int) -> Result:
    loop = asyncio.get_running_loop()
    budget, statuses = [requests], dict[int, int]()
    waits = []
    started = time.perf_counter()
    for client in clients:
        done: asyncio.Future[None] = loop.create_future()
        waits.append(done)
        await loop.create_connection(
            lambda client=client, done=done: _Connection(client.request, budget, statuses, done),  # type: ignore[misc]
            host, port, ssl=context(ca, client), server_hostname="localhost",
        )  # fmt: skip
    await asyncio.gather(*waits)
    return Result(sum(statuses.values()), time.perf_counter() - started, statuses)


def run(host: str, port: int, ca: Path, clients: Sequence[Client], requests: int) -> Result:
    """Spread `requests` over the clients' connections; every answer is counted by status."""
    return uvloop.run(_run(host, port, ca, clients, requests))
