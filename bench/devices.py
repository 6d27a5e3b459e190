"""Devices without an agent: a key, a certificate from the real enrollment, and the channel spoken by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench.load import Client
from tidegate.testing.live import Api, LiveNode


@dataclass(frozen=True, slots=True)
class Device:
    name: str
    client: Client
    root: bytes

    def post(self, node: LiveNode, path: str, body: bytes) -> Any:
        pool = urllib3.PoolManager(
            ca_certs=str(node.ca), cert_file=str(self.client.certificate), key_file=str(self.client.key), retries=False
        )
        answer = pool.request("POST", node.channel_url + path, body=body, timeout=30)
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {answer.data[:300]!r}")
        return msgspec.json.decode(answer.data)

    def heartbeat(self, node: LiveNode, request: bytes) -> Any:
        """Send the body of a raw heartbeat request."""
        return self.post(node, "/v1/device/heartbeat", request.partition(b"\r\n\r\n")[2])


def enroll(node: LiveNode, api: Api, folder: Path, name: str) -> Device:
    """Mint a token, make a key, enroll."""
    folder.mkdir(parents=True, exist_ok=True)
    token = api.call("POST", "/v1/tokens", {"device_name": name})["secret"]
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    body = {
        "token": token,
        "csr_pem": csr.public_bytes(serialization.Encoding.PEM).decode(),
        "agent_version": "bench",
        "device": name,
    }
    answer = Api(node.console_url, node.ca).call("POST", "/v1/enroll", body)
    certificate, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_text(answer["certificate_chain_pem"])
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return Device(name, Client(certificate, key_file, b""), answer["root_chain"][0].encode())
