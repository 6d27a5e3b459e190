"""Artifacts, uploads and what publishes them, as the operator API speaks of them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from tidegate.wire.config import ConfigOptions
from tidegate.wire.descriptor import FileName, Kind, ModelManifest, PayloadFile
from tidegate.wire.device import ArtifactName, Requirement, Sha256, ShortText, Version
from tidegate.wire.operator.common import ListQuery, OperatorRequest, Time

UploadId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]


class NewUpload(OperatorRequest, frozen=True, kw_only=True):
    file_name: FileName
    length: Annotated[int, Meta(ge=0, le=2**53)]


class UploadState(Struct, frozen=True):
    """`sha256` is null until every byte has arrived and was hashed; go on at `received`."""

    id: str
    file_name: str
    length: int
    received: int
    sha256: Sha256 | None = None


class AppendQuery(OperatorRequest, frozen=True, kw_only=True):
    """`offset`: how many bytes were received so far."""

    offset: Annotated[int, Meta(ge=0, le=2**53)]


class NewFile(OperatorRequest, frozen=True, kw_only=True):
    """A sealed upload as a file of the version."""

    name: FileName
    upload: UploadId


class PublishArtifact(OperatorRequest, frozen=True, kw_only=True):
    """`config` goes with the kind config, `manifest` with the kind model.

    `signed`: a sealed upload of metadata that the holder of the publisher key prepared elsewhere, as a JSON object
    from role to document; absent: the node signs.
    """

    name: ArtifactName
    version: Version
    kind: Kind = "model"
    files: Annotated[tuple[NewFile, ...], Meta(min_length=1, max_length=64)]
    manifest: ModelManifest | None = None
    target_hardware: Annotated[str, Meta(max_length=4096)] = ""
    requires: Annotated[tuple[Requirement, ...], Meta(max_length=16)] = ()
    config: ConfigOptions | None = None
    signed: UploadId | None = None


class WithdrawArtifact(OperatorRequest, frozen=True, kw_only=True):
    reason: Annotated[str, Meta(min_length=1, max_length=1024)]
    signed: UploadId | None = None


class RenewMetadata(OperatorRequest, frozen=True, kw_only=True):
    """Publisher and bins signed again elsewhere, nothing in them changed; `signed` as in `PublishArtifact`."""

    signed: UploadId


class ListArtifacts(ListQuery, frozen=True, kw_only=True):
    """`search`: part of the name; `name`: the whole of it."""

    search: ShortText = ""
    name: ShortText = ""
    state: Literal["available", "withdrawn", ""] = ""


class ArtifactSummary(Struct, frozen=True):
    id: int
    name: str
    version: str
    kind: str
    size_bytes: int
    descriptor_sha256: Sha256
    published_at: Time
    published_by: str
    withdrawn_at: Time | None = None
    withdrawn_reason: str | None = None


class ArtifactDetail(Struct, frozen=True):
    """`running_on` names the first hundred of `running_count` devices that last reported to run it."""

    artifact: ArtifactSummary
    files: tuple[PayloadFile, ...]
    target_paths: tuple[str, ...]
    manifest: ModelManifest | None
    target_hardware: str
    requires: tuple[Requirement, ...]
    running_on: tuple[str, ...]
    running_count: int
    config: ConfigOptions | None = None
