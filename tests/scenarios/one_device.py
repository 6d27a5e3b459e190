"""One real device of the channel, without an agent: its own key, mutual TLS, one call at a time."""

from __future__ import annotations

import http.client
import json
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives import serialization

from tidegate.testing import live
from tidegate.testing.channel import csr, new_key
from tidegate.wire import device as wire


class Device:
    """One real device of the channel: its own key, mutual TLS."""

    def __init__(self, node: live.LiveNode, api: live.Api, folder: Path) -> None:
        token = api.call("POST", "/v1/tokens", {"device_name": "cam-1"})["secret"]
        key = new_key()
        request = {"token": token, "csr_pem": csr(key), "agent_version": "test", "device": "cam-1"}
        enrolled = live.Api(node.console_url, node.ca).call("POST", "/v1/enroll", request)
        (folder / "device.pem").write_text(enrolled["certificate_chain_pem"])
        secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (folder / "device.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *secret))
        context = ssl.create_default_context(cafile=str(node.ca))
        context.load_cert_chain(folder / "device.pem", folder / "device.key")
        at = urlsplit(node.channel_url)
        self.connection = http.client.HTTPSConnection(at.hostname or "", at.port, context=context, timeout=30)
        self.sequence = 0

    def _post(self, path: str, body: Any) -> tuple[int, Any, http.client.HTTPResponse]:
        headers = {"content-type": "application/json"}
        self.connection.request("POST", f"/v1/device/{path}", msgspec.json.encode(body), headers)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read()), answer

    def beat(self, seen: str = "", wait_seconds: int = 0) -> tuple[int, Any]:
        status, answer, _ = self._post("heartbeat", wire.Heartbeat("0" * 32, seen=seen, wait_seconds=wait_seconds))
        return status, answer

    def report(self, work: str) -> tuple[int, Any]:
        self.sequence += 1
        item = wire.Report(self.sequence, work, "downloading", datetime.now(UTC))
        status, answer, _ = self._post("reports", wire.Reports("0" * 32, (item,)))
        return status, answer
