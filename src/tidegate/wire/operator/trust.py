"""The trust domain as the operator API shows it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tidegate.wire.device import Sha256
from tidegate.wire.operator.common import Time


class RoleInfo(Struct, frozen=True):
    """`location`: on this node, in its folder of offline keys, or elsewhere. The bins are told as one role."""

    role: str
    version: int
    expires_at: Time
    key_ids: tuple[Sha256, ...]
    threshold: int
    location: Literal["node", "node-offline-folder", "elsewhere"]
    count: int = 1


class CertificateInfo(Struct, frozen=True):
    use: Literal["device-ca", "server-ca", "server"]
    subject: str
    sha256: Sha256
    not_after: Time


class WarningInfo(Struct, frozen=True):
    kind: str
    text: str


class TrustDomain(Struct, frozen=True):
    """`anchor_sha256`: of the oldest root, what the first devices pinned; `root_sha256`: of the current one."""

    fleet: str
    convenience: bool
    publisher_on_node: bool
    root_version: int
    root_sha256: Sha256
    anchor_sha256: Sha256
    roles: tuple[RoleInfo, ...]
    certificates: tuple[CertificateInfo, ...]
    audit_key_id: str
    warnings: tuple[WarningInfo, ...]
