"""An SBOM attached to a version: received, then checked in a job, then valid or invalid (SPEC section 5)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from tidegate.control.domain.artifacts import Artifact
from tidegate.errors import Conflict, FieldError, Invalid
from tidegate.ids import ArtifactId, FleetId

State = Literal["received", "valid", "invalid"]
#: As long as a check may take, and somewhat more: then another worker may try.
CLAIM = timedelta(seconds=90)
#: Checks that ended without a verdict before the document is called invalid.
MOST_ATTEMPTS = 3
MAX_REASON = 1024


@dataclass(frozen=True, slots=True)
class Sbom:
    """One document that is or was a version's. `reasons` are (JSON pointer, rule) of an invalid one; `licenses` are
    (licence, components), the most frequent. `ended_at`: replaced or removed then; its bytes are kept.
    """

    id: int
    fleet_id: FleetId
    artifact_id: ArtifactId
    state: State
    sha256: str
    size_bytes: int
    file_name: str
    received_at: datetime
    received_by: str
    attempts: int
    checked_at: datetime | None
    format: str
    spec_version: str
    component_count: int
    licenses: tuple[tuple[str, int], ...]
    reasons: tuple[tuple[str, str], ...]
    ended_at: datetime | None
    ended_by: str | None
    ended_reason: str | None


def check_attach(artifact: Artifact, current: Sbom | None, sha256: str) -> None:
    """Raises `Conflict` when the version has exactly this document already, and nothing is wrong with it."""
    if current is not None and current.sha256 == sha256 and current.state != "invalid":
        what = f"{artifact.name} {artifact.version}"
        raise Conflict(f"cannot attach this SBOM: {what} has it already ({current.state})", type="sbom-attached")


def check_remove(reason: str) -> str:
    """The reason without the blanks around it. Raises `Invalid` without one."""
    said = reason.strip()
    if not said or len(said) > MAX_REASON:
        rule = f"must be given, at most {MAX_REASON} characters"
        raise Invalid(f"cannot remove the SBOM: reason {rule}", (FieldError("/reason", rule),))
    return said
