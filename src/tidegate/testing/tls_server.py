"""A real TLS 1.3 server on loopback that answers exactly what a test tells it to, byte for byte."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tidegate.trust.pki.authority import Authority, create_ca, new_serial
from tidegate.trust.pki.request import parse_request
from tidegate.trust.signer import FileCertificateSigner
from tidegate.wire.problem import PROBLEM_JSON, Problem


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came in; `certificate` is the client's, DER."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    certificate: bytes | None
    connection: ssl.SSLSocket


#: Gives the raw bytes to send, or None after having dealt with `connection` itself, which is then closed.
Handler = Callable[[Asked], bytes | None]


class Pki:
    """A device CA and a server CA of a node, and what they issue."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        now = datetime.now(UTC)
        self._now = now
        self.device_ca = self._authority("device CA")
        self.server_ca = self._authority("server CA")
        key = ec.generate_private_key(ec.SECP256R1())
        served = self.server_ca.issue_server(
            key.public_key(), ["127.0.0.1"], new_serial(), now - timedelta(hours=1), now + timedelta(days=1)
        )
        self.server_file = folder / "server.pem"
        self.server_file.write_bytes(_pem(key) + served)

    @property
    def ca_pem(self) -> str:
        return self.server_ca.pem.decode()

    def device(
        self, csr_pem: str, device: str = "cam-7", *, fleet: str = "default", days: float = 90, age_days: float = 0
    ) -> str:
        """A device certificate as the node issues it, with its chain."""
        start = datetime.now(UTC) - timedelta(days=age_days, minutes=5)
        uri = f"spiffe://tidegate.test/fleet/{fleet}/device/{device}"
        leaf = self.device_ca.issue_device(
            parse_request(csr_pem), uri, new_serial(), start, start + timedelta(days=days)
        )
        return (leaf + self.device_ca.pem).decode()

    def _authority(self, name: str) -> Authority:
        signer = FileCertificateSigner(ec.generate_private_key(ec.SECP256R1()))
        return Authority(create_ca(name, signer, new_serial(), self._now), signer)


class TlsServer:
    """Use as a context manager; `asked` keeps every request in order."""

    def __init__(
        self, pki: Pki, handler: Handler, *, client_ca: str | None = None, client_optional: bool = False
    ) -> None:
        self.handler = handler
        self.asked: list[Asked] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._context.load_cert_chain(pki.server_file)
        if client_ca is not None:
            self._context.verify_mode = ssl.CERT_OPTIONAL if client_optional else ssl.CERT_REQUIRED
            self._context.load_verify_locations(cadata=client_ca)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> TlsServer:
        self._begin(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in (self._listener, *self._open):
            with suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _begin(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._begin(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError), plain, self._context.wrap_socket(plain, server_side=True) as connection:
            self._open.add(connection)
            try:
                while (asked := _read(connection)) is not None:
                    self.asked.append(asked)
                    answer = self.handler(asked)
                    if answer is None:
                        return
                    connection.sendall(answer)
            finally:
                self._open.discard(connection)


def _read(connection: ssl.SSLSocket) -> Asked | None:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65_536)
        if not part:
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65_536)
    method, path, _ = first.split(" ")
    return Asked(method, path, headers, body, connection.getpeercert(binary_form=True), connection)


def http(status: int, body: bytes = b"", content_type: str = "application/json", **headers: str) -> bytes:
    """A well-formed answer; underscores in header names stand for dashes."""
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}", f"Content-Type: {content_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answer(value: object, status: int = 200) -> bytes:
    return http(status, msgspec.json.encode(value))


def refusal(kind: str, status: int = 403, **fields: object) -> bytes:
    problem = Problem(f"/problems/{kind}", kind, status, f"cannot serve this: {kind}", **fields)  # type: ignore[arg-type]
    return http(status, msgspec.json.encode(problem), PROBLEM_JSON)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
