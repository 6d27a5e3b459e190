"""A device without an agent, and the device channel called as an ASGI application, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tidegate.control.channel.app import ChannelApp, create
from tidegate.control.domain.access import Scope
from tidegate.control.services import enrollment, tokens
from tidegate.control.services.enrollment import Enrollment
from tidegate.control.services.node import Node
from tidegate.control.services.tokens import TokenTerms
from tidegate.wire import device as wire
from tidegate.wire.enrollment import Enroll
from tidegate.wire.problem import Problem

T = TypeVar("T")
_JSON = msgspec.json.Encoder()

#: What comes at once may take this long on a busy machine; what it must not be mistaken for takes a minute.
SOON_SECONDS = 30.0


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def csr(key: ec.EllipticCurvePrivateKey) -> str:
    """A request for `key`; nobody looks at its subject."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def mint(scope: Scope, node: Node, **terms: Any) -> str:
    """A token's secret."""
    return tokens.mint(scope, node, TokenTerms(**terms)).secret


def enroll(node: Node, token: str, key: ec.EllipticCurvePrivateKey, name: str | None = None, **said: Any) -> Enrollment:
    return enrollment.enroll(node, Enroll(token=token, csr_pem=csr(key), agent_version="test", device=name, **said))


@dataclass
class Connection:
    """What the listener knows of one connection."""

    certificate_pem: str | None
    tls: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        der = None
        if self.certificate_pem is not None:
            certificate = x509.load_pem_x509_certificate(self.certificate_pem.encode())
            der = certificate.public_bytes(serialization.Encoding.DER)
        self.tls = {"client_certificate_der": der, "on_close": []}

    def close(self) -> None:
        self.tls["closed"] = True
        for call in self.tls["on_close"]:
            call()


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def read(self, kind: type[T]) -> T:
        assert self.status == 200, self.body.decode()
        return msgspec.json.decode(self.body, type=kind)

    @property
    def problem(self) -> Problem:
        assert self.headers["content-type"] == "application/problem+json", self.body.decode()
        return msgspec.json.decode(self.body, type=Problem)


async def call(
    app: ChannelApp,
    connection: Connection,
    path: str,
    body: Any = b"",
    *,
    method: str = "POST",
    content_type: str = "application/json",
) -> Reply:
    """One request on a connection; a struct is sent as JSON."""
    raw = body if isinstance(body, bytes) else _JSON.encode(body)
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(b"content-length", str(len(raw)).encode()), (b"content-type", content_type.encode())],
        "extensions": {"tls": connection.tls},
    }
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Reply(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))


@dataclass
class SimulatedDevice:
    """Calls as an agent would; remembers the digest of the desired state that it was told."""

    app: ChannelApp
    connection: Connection
    installation: str = "0" * 32
    seen: str = ""

    async def beat(self, **said: Any) -> Reply:
        values = {"installation": self.installation, "seen": self.seen, **said}
        reply = await call(self.app, self.connection, "/v1/device/heartbeat", wire.Heartbeat(**values))
        if reply.status == 200:
            self.seen = reply.read(wire.HeartbeatAnswer).desired_digest
        return reply

    async def call(self, name: str, body: Any, *, content_type: str = "application/json") -> Reply:
        return await call(self.app, self.connection, f"/v1/device/{name}", body, content_type=content_type)


async def no_repository(_scope: Any, _receive: Any, send: Any) -> None:
    """Stands where the update repository is served."""
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def running(node: Node) -> AsyncIterator[ChannelApp]:
    """The device channel, started and shut down.

    Tests stand in its event loop themselves while they enroll or hold a device: what it knows of certificates may grow
    older here than in service, where nobody is served from it then.
    """
    app = create(node, no_repository)
    app.identities.max_age_seconds = SOON_SECONDS
    await app.startup()
    try:
        yield app
    finally:
        await app.shutdown()


async def until(condition: Any, seconds: float = SOON_SECONDS) -> None:
    """Wait for a condition of this process; fail when it does not come true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is no event of ours
            await asyncio.sleep(0.005)
