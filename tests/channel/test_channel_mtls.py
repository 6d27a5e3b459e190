"""The device channel behind its real listener: certificates on the wire, refused ones, ended ones."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tidegate.control import server
from tidegate.control.channel import http as http_answers
from tidegate.control.channel.app import HEARTBEAT, ChannelApp
from tidegate.control.domain.access import Scope
from tidegate.control.protocol import Immediate
from tidegate.control.services import certificates, devices
from tidegate.control.services.node import Node
from tidegate.control.store.schema import device_certificates
from tidegate.testing.channel import csr, enroll, mint, new_key, running, until
from tidegate.testing.node import admin_scope
from tidegate.trust.pki.authority import Authority, create_ca, new_serial
from tidegate.trust.pki.profile import spiffe_uri
from tidegate.trust.pki.request import parse_request
from tidegate.trust.signer import FileCertificateSigner
from tidegate.wire import device as wire
from tidegate.wire.problem import Problem

BEAT = msgspec.json.encode(wire.Heartbeat("0" * 32))


@pytest.fixture
def scope(node: Node) -> Scope:
    return admin_scope(node)


@asynccontextmanager
async def listening(node: Node) -> AsyncIterator[tuple[ChannelApp, int]]:
    files = node.keyring.serving_files()
    context = server.device_context(files.certificate, files.key, files.device_ca)
    bound = server.bind("127.0.0.1", 0)
    async with running(node) as app:
        immediate = Immediate(HEARTBEAT, http_answers.OK_HEADERS, app.heartbeat_at_once)
        listener = server.Listener(
            app, bound, context, keep_alive_seconds=30, max_connections=100, immediates=[immediate]
        )
        serving = asyncio.create_task(listener.serve())
        await until(lambda: listener.started)
        try:
            yield app, bound.getsockname()[1]
        finally:
            app.release_held()
            listener.should_exit = True
            await serving


class Client:
    """One keep-alive connection with a client certificate, as an agent has it."""

    def __init__(self, node: Node, folder: Path, port: int, key: ec.EllipticCurvePrivateKey, pem: str) -> None:
        file = folder / f"{new_serial():x}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(private + pem.encode())
        context = ssl.create_default_context(cadata=node.keyring.server_ca_pem().decode())
        context.load_cert_chain(file)
        self._connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)

    def post(self, name: str, body: bytes) -> tuple[int, bytes]:
        self._connection.request("POST", f"/v1/device/{name}", body, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    async def refusal(self) -> tuple[int, str]:
        status, body = await asyncio.to_thread(self.post, "heartbeat", BEAT)
        return status, msgspec.json.decode(body, type=Problem).kind

    async def beat(self) -> int:
        return (await asyncio.to_thread(self.post, "heartbeat", BEAT))[0]

    def close(self) -> None:
        self._connection.close()


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def test_an_enrolled_device_calls_until_it_is_decommissioned_on_the_same_connection(
    node: Node, scope: Scope, tmp_path: Path
) -> None:
    async def story() -> None:
        key = new_key()
        given = enroll(node, mint(scope, node), key, "cam-1")
        async with listening(node) as (app, port):
            client = Client(node, tmp_path, port, key, given.certificate_pem)
            assert [await client.beat() for _ in range(3)] == [200] * 3
            await asyncio.to_thread(devices.decommission, scope, node, "cam-1", stop_workloads=True)
            await until(lambda: len(app.identities) == 0)
            assert await client.refusal() == (403, "device-decommissioned")
            client.close()
            await until(lambda: not app.identities._connections)

    run(story)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_certificate_of_another_authority_does_not_get_in(node: Node, scope: Scope, tmp_path: Path) -> None:
    async def story() -> None:
        key = new_key()
        enroll(node, mint(scope, node), key, "cam-1")
        now = node.clock.now()
        signer = FileCertificateSigner(ec.generate_private_key(ec.SECP256R1()))
        other = Authority(create_ca("Tidegate device CA", signer, new_serial(), now), signer)
        uri = spiffe_uri("tidegate.test", "default", "cam-1")
        forged = other.issue_device(parse_request(csr(key)), uri, new_serial(), now, now + timedelta(days=1)).decode()
        async with listening(node) as (_, port):
            forger = Client(node, tmp_path, port, key, forged)
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
                await forger.beat()
            forger.close()
            bare = ssl.create_default_context(cadata=node.keyring.server_ca_pem().decode())
            connection = http.client.HTTPSConnection("127.0.0.1", port, context=bare, timeout=10)
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
                await asyncio.to_thread(_get, connection)

    run(story)


def _get(connection: http.client.HTTPSConnection) -> None:
    try:
        connection.request("GET", "/v1/device/heartbeat")
        connection.getresponse()
    finally:
        connection.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_really_expired_certificate_gets_through_tls_to_renew_and_no_further(
    node: Node, scope: Scope, tmp_path: Path
) -> None:
    async def story() -> None:
        key = new_key()
        enroll(node, mint(scope, node), key, "cam-1")
        now = node.clock.now().replace(microsecond=0)
        times = {"not_before": now - timedelta(days=91), "not_after": now - timedelta(days=1)}
        expired = (
            node.keyring.authority()
            .issue_device(
                parse_request(csr(key)), spiffe_uri("tidegate.test", "default", "cam-1"), new_serial(), **times
            )
            .decode()
        )
        with node.db.write() as tx:
            tx.execute(
                sa.update(device_certificates).values(
                    **times, pem=expired, fingerprint=certificates.fingerprint(expired)
                )
            )
        async with listening(node) as (_, port):
            client = Client(node, tmp_path, port, key, expired)
            assert await client.refusal() == (403, "certificate-expired")
            fresh = new_key()
            renew = msgspec.json.encode(wire.Renew(csr(fresh)))
            status, body = await asyncio.to_thread(client.post, "renew", renew)
            assert status == 200
            chain = msgspec.json.decode(body, type=wire.Renewed).certificate_chain_pem
            renewed = Client(node, tmp_path, port, fresh, chain)
            assert await renewed.beat() == 200
            assert await client.refusal() == (403, "certificate-replaced")
            client.close()
            renewed.close()

    run(story)
