"""The signed `descriptor.json` of an artifact version (SPEC section 5): the one document that says what a version is.

Unknown fields are refused on both sides: a device never applies what it does not wholly understand. The bytes are the
RFC 8785 canonical form, so that the digest named by an assignment can be computed anywhere.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import msgspec
import rfc8785
from msgspec import Meta, Struct

from tidegate.wire.config import ConfigOptions
from tidegate.wire.device import ArtifactName, Requirement, Sha256, ShortText, Version

Kind = Literal["model", "container", "config", "os", "agent"]
FileName = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$(?!\\n)")]

DESCRIPTOR_MAX_BYTES = 1 << 20
DESCRIPTOR_FILE = "descriptor.json"


class Strict(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class PayloadFile(Strict, frozen=True):
    name: FileName
    sha256: Sha256
    length: Annotated[int, Meta(ge=0, le=2**53)]


class ModelManifest(Strict, frozen=True):
    """What describes a model; `input` and `metrics` are free but small."""

    framework: ShortText
    input: Annotated[dict[str, str | int | float | list[int]], Meta(max_length=64)] = {}
    metrics: Annotated[dict[str, float], Meta(max_length=64)] = {}
    license: ShortText = ""
    description: Annotated[str, Meta(max_length=4096)] = ""


class Descriptor(Strict, frozen=True):
    fleet: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$(?!\\n)")]
    name: ArtifactName
    version: Version
    kind: Kind
    files: Annotated[tuple[PayloadFile, ...], Meta(min_length=1, max_length=64)]
    schema: Literal[1] = 1
    manifest: ModelManifest | None = None
    target_hardware: Annotated[str, Meta(max_length=4096)] = ""
    requires: Annotated[tuple[Requirement, ...], Meta(max_length=16)] = ()
    config: ConfigOptions | None = None


def encode(descriptor: Descriptor) -> bytes:
    """Canonical bytes (RFC 8785). `schema` is always written, though it is a default."""
    fields = msgspec.to_builtins(descriptor)
    fields["schema"] = descriptor.schema
    return rfc8785.dumps(fields)


def decode(data: bytes) -> Descriptor:
    """Raises `msgspec.ValidationError` or `msgspec.DecodeError` naming the field; the caller translates it."""
    return msgspec.json.decode(data, type=Descriptor, strict=True)


def target_path(fleet: str, name: str, version: str, file: str) -> str:
    """TUF target path of one file of a version."""
    return f"{fleet}/{name}/{version}/{file}"


def signed_files(descriptor: Descriptor, data: bytes) -> tuple[PayloadFile, ...]:
    """Everything of a version that is a TUF target: the descriptor itself, whose bytes are `data`, and its files."""
    own = PayloadFile(DESCRIPTOR_FILE, hashlib.sha256(data).hexdigest(), len(data))
    return (own, *descriptor.files)
