"""What a published version is to the control plane."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from tidegate.errors import Conflict, FieldError, Invalid
from tidegate.ids import ARTIFACT_NAME, FILE_NAME, VERSION, ArtifactId, FleetId, checked

#: What can be published today; the others of SPEC section 5 come with their payloads on the device.
KINDS = ("model", "config")
MAX_REASON = 1024


@dataclass(frozen=True, slots=True)
class Artifact:
    """One version. `descriptor` is the signed JSON, canonical; `size_bytes` counts the payload files."""

    id: ArtifactId
    fleet_id: FleetId
    name: str
    version: str
    kind: str
    descriptor: str
    descriptor_sha256: str
    size_bytes: int
    published_at: datetime
    published_by: str
    withdrawn_at: datetime | None
    withdrawn_reason: str | None

    @property
    def subject(self) -> str:
        """As the audit log names it."""
        return f"artifact:{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on its way in; `sha256` is there once it is whole and stored."""

    id: str
    fleet_id: FleetId
    file_name: str
    length: int
    received: int
    sha256: str | None
    created_at: datetime
    created_by: str


def check_new(name: str, version: str, kind: str, files: Collection[str], reserved: str) -> None:
    """Whether a version of this form may be published at all.

    Raises:
        Invalid: naming every field that breaks a rule.
    """
    errors: list[FieldError] = []
    for pattern, value, pointer in ((ARTIFACT_NAME, name, "/name"), (VERSION, version, "/version")):
        if pattern.fullmatch(value) is None:
            errors.append(FieldError(pointer, f"must match {pattern.pattern}"))
    if kind not in KINDS:
        errors.append(FieldError("/kind", f"must be one of {', '.join(KINDS)}"))
    if not files:
        errors.append(FieldError("/files", "must name at least one file"))
    seen: set[str] = set()
    for index, file in enumerate(files):
        pointer = f"/files/{index}/name"
        if FILE_NAME.fullmatch(file) is None:
            errors.append(FieldError(pointer, f"must match {FILE_NAME.pattern}"))
        elif file == reserved:
            errors.append(FieldError(pointer, f"must not be {reserved}"))
        elif file in seen:
            errors.append(FieldError(pointer, "must not be given twice"))
        seen.add(file)
    if errors:
        listed = "; ".join(f"{error.pointer.lstrip('/')} {error.detail}" for error in errors[:5])
        raise Invalid(f"cannot publish this version: {listed}", tuple(errors))


def check_free(name: str, version: str, kind: str, same: Artifact | None, other_kind: str | None) -> None:
    """Raises `Conflict` when the version exists (it is immutable), or the name belongs to another kind."""
    if same is not None:
        state = "withdrawn" if same.withdrawn_at else "published"
        raise Conflict(f"cannot publish {name} {version}: it is {state} already, and a version never changes")
    if other_kind is not None and other_kind != kind:
        raise Conflict(f"cannot publish {name} as {kind}: its versions are of the kind {other_kind}")


def check_withdraw(artifact: Artifact, reason: str) -> None:
    """Raises `Invalid` without a reason, `Conflict` when it is withdrawn."""
    if not reason.strip() or len(reason) > MAX_REASON:
        rule = f"must be given, at most {MAX_REASON} characters"
        raise Invalid(f"cannot withdraw: reason {rule}", (FieldError("/reason", rule),))
    if artifact.withdrawn_at is not None:
        raise Conflict(f"cannot withdraw {artifact.name} {artifact.version}: it is withdrawn")


def check_file_name(name: str) -> str:
    """Raises `Invalid`."""
    return checked(FILE_NAME, name, "/file_name")
