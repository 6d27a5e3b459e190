"""One signed file as a device sees it, and what a client demands of a repository beyond the specification."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import quote

from tuf.api.metadata import TargetFile

from tidegate.errors import Untrusted

#: What a path segment may hold as it is (RFC 3986, pchar), and the slash.
_IN_PATHS = "/+!$&'()*,;=:@"
_HASHES = {"sha256": re.compile("[0-9a-f]{64}"), "sha512": re.compile("[0-9a-f]{128}")}


@dataclass(frozen=True, slots=True)
class Policy:
    """What a client demands of a repository beyond the specification.

    `fleet`: the root must name it; None takes any root. `consistent_snapshot`: the root must say that they are on.
    `sha256`: a target must be signed with its SHA-256; without it SHA-512 alone will do.
    """

    fleet: str | None
    consistent_snapshot: bool = True
    sha256: bool = True

    def usable(self, found: TargetFile, *, prefixed: bool) -> Target:
        """What was found, when this device can check it. Raises `Untrusted` when it cannot."""
        if unknown := found.hashes.keys() - _HASHES.keys():
            names = ", ".join(sorted(unknown))
            raise Untrusted(f"cannot use the target {found.path}: this device cannot check its {names:.80}")
        for name, digest in found.hashes.items():
            if _HASHES[name].fullmatch(digest) is None:
                raise Untrusted(f"cannot use the target {found.path}: its {name} is none")
        sha256, sha512 = found.hashes.get("sha256", ""), found.hashes.get("sha512", "")
        if self.sha256 and not sha256:
            raise Untrusted(f"cannot use the target {found.path}: the metadata give no SHA-256 of it")
        return Target(found.path, found.length, sha256, sha512, prefixed)


#: The specification and nothing else, for reading repositories that are not ours.
ANY_REPOSITORY = Policy(fleet=None, consistent_snapshot=False, sha256=False)


@dataclass(frozen=True, slots=True)
class Target:
    """What the signed metadata say of one file; hashes are lower-case hex, "" where there is none."""

    path: str
    length: int
    sha256: str
    sha512: str = ""
    prefixed: bool = True

    @property
    def digest(self) -> str:
        """The hash that names its content."""
        return self.sha256 or self.sha512

    @property
    def download_path(self) -> str:
        """Where the repository serves it: the file name prefixed with its hash, when snapshots are consistent."""
        folder, slash, file = self.path.rpartition("/")
        name = f"{self.digest}.{file}" if self.prefixed else file
        return quote(f"targets/{folder}{slash}{name}", safe=_IN_PATHS)

    def matches(self, data: bytes) -> bool:
        """Whether these are the signed bytes."""
        return (
            len(data) == self.length
            and self.sha256 in ("", hashlib.sha256(data).hexdigest())
            and self.sha512 in ("", hashlib.sha512(data).hexdigest())
        )
