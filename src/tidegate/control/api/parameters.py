"""What the parts of paths are: their types by name, for the OpenAPI document and the Python client.

A part that does not fit its type names nothing, so it is answered 404 and not 422.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta

from tidegate.wire.device import ArtifactName, DeviceName, Sha256, Version
from tidegate.wire.operator.artifacts import UploadId
from tidegate.wire.operator.people import OperatorName

Number = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Text = Annotated[str, Meta(min_length=1, max_length=128)]

FLEET = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]

_IN_PATH = re.compile(r"\{([a-z_][a-z_0-9]*)(?::[a-z]+)?\}")

#: By the name in the path; what is not here is `Text`.
KINDS: Mapping[str, Any] = {
    "rollout": Number,
    "token": Number,
    "key": Number,
    "request": Number,
    "device": DeviceName,
    "group": DeviceName,
    "operator": OperatorName,
    "name": ArtifactName,
    "version": Version,
    "upload": UploadId,
    "sha256": Sha256,
}


def of_path(path: str) -> dict[str, Any]:
    """The types of the parts of a path, in their order."""
    return {name: KINDS.get(name, Text) for name in _IN_PATH.findall(path)}


def plain(path: str) -> str:
    """The path with its parts as ``{name}`` only, as OpenAPI writes them."""
    return _IN_PATH.sub(r"{\1}", path)
