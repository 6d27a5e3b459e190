"""Distinct types for identities, and the names' grammar (SPEC section 1 and 5)."""

from __future__ import annotations

import re
from typing import NewType

from tidegate.errors import FieldError, Invalid

FleetId = NewType("FleetId", int)
DeviceId = NewType("DeviceId", int)
ArtifactId = NewType("ArtifactId", int)
RolloutId = NewType("RolloutId", int)
GroupId = NewType("GroupId", int)
TokenId = NewType("TokenId", int)
OperatorId = NewType("OperatorId", int)
ApiKeyId = NewType("ApiKeyId", int)

FLEET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
DEVICE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
ARTIFACT_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
TAG_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
TAG_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:/@+ -]{0,126}[A-Za-z0-9])?")
SHA256_HEX = re.compile(r"[0-9a-f]{64}")


def checked(pattern: re.Pattern[str], value: str, pointer: str) -> str:
    """Give back `value` when the whole of it matches `pattern`.

    Raises:
        Invalid: it does not; the error names `pointer` and the pattern.
    """
    if pattern.fullmatch(value) is None:
        rule = f"must match {pattern.pattern}"
        raise Invalid(f"{pointer.lstrip('/') or 'value'} {rule}", (FieldError(pointer, rule),))
    return value
