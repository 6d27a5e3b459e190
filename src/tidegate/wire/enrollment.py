"""What a device without a certificate says to the enrollment endpoint over server-authenticated TLS (SPEC 3)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from tidegate.wire.device import Answer, DeviceName, HardwareProfile, Request, ShortText


class Enroll(Request, frozen=True):
    """The token travels in the body, never in an argument list or URL. The CSR's subject and extensions are ignored."""

    token: Annotated[str, Meta(min_length=8, max_length=128)]
    csr_pem: Annotated[str, Meta(max_length=8192)]
    agent_version: ShortText
    device: DeviceName | None = None
    hardware: HardwareProfile = HardwareProfile()


class Enrolled(Answer, frozen=True):
    """`root_chain` holds the signed root metadata (JSON text), oldest first; followed from the device's own anchor."""

    device: str
    fleet: str
    certificate_chain_pem: str
    ca_bundle_pem: str
    channel_url: str
    root_chain: tuple[str, ...]
    interval_seconds: int
