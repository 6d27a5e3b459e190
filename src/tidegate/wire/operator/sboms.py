"""SBOMs in the operator API."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from tidegate.wire.device import Sha256, ShortText
from tidegate.wire.operator.artifacts import UploadId
from tidegate.wire.operator.common import ListQuery, OperatorRequest, Time


class AttachSbom(OperatorRequest, frozen=True, kw_only=True):
    """`upload`: a sealed upload of at most 32 MiB: CycloneDX 1.4 to 1.7 or SPDX 2.2, 2.3 or 3.0 as JSON, plain or
    compressed with gzip."""

    upload: UploadId


class RemoveSbom(OperatorRequest, frozen=True, kw_only=True):
    reason: Annotated[str, Meta(min_length=1, max_length=1024)]


class ComponentQuery(ListQuery, frozen=True, kw_only=True):
    """`search`: part of a component's name or purl."""

    search: ShortText = ""


class SbomReason(Struct, frozen=True, kw_only=True):
    """`pointer`: where in the document (RFC 6901); empty: the whole of it."""

    pointer: str
    rule: str


class LicenseCount(Struct, frozen=True, kw_only=True):
    """`license` empty: components that name none."""

    license: str
    components: int


class SbomInfo(Struct, frozen=True, kw_only=True):
    """`state` is received until the job has checked it. `reasons` (at most 20) of an invalid one; `licenses` are the
    20 most frequent. `ended_at`: replaced or removed then."""

    id: int
    state: Literal["received", "valid", "invalid"]
    sha256: Sha256
    size_bytes: int
    file_name: str
    received_at: Time
    received_by: str
    checked_at: Time | None
    format: str
    spec_version: str
    component_count: int
    licenses: tuple[LicenseCount, ...]
    reasons: tuple[SbomReason, ...]
    ended_at: Time | None
    ended_by: str | None
    ended_reason: str | None


class ArtifactSbom(Struct, frozen=True, kw_only=True):
    """`current` null: the version has none now; `ended`: the last 20 before it, the latest first."""

    current: SbomInfo | None
    ended: tuple[SbomInfo, ...]


class ComponentInfo(Struct, frozen=True, kw_only=True):
    name: str
    version: str
    purl: str
    license: str
