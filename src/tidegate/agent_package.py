"""The agent as one file, as the node serves it: a zip that unpacks itself once and runs from there.

It carries the agent's own sources and the dependencies of this installation, native parts included, so it runs on the
node's own platform and Python version; on another it says so. The bytes depend on nothing but what is packed. This
module reads files only: it imports neither the agent nor the control plane.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution
from pathlib import Path, PurePosixPath

#: What the agent imports beyond the standard library, dependencies of dependencies included.
DISTRIBUTIONS = ("cffi", "cryptography", "msgspec", "rfc8785", "securesystemslib", "tuf", "urllib3")
SOURCES = ("__init__.py", "agent", "clock.py", "errors.py", "ids.py", "trust", "versions.py", "wire")
NOT_PACKED = (
    "__pycache__",
    "tidegate/wire/operator/",
    "tests/",
    "/include/",
    *(f".dist-info/{name}" for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "sboms/")),
)
PROGRAM = "tidegate-agent.pyz"
_EPOCH = (1980, 1, 1, 0, 0, 0)


@cache
def agent_program() -> Path:
    """The file to serve; built when its content has changed, kept by the hash of its content."""
    entries = dict(sorted(_entries()))
    digest = hashlib.sha256()
    for name, data in entries.items():
        digest.update(f"{name}\0{len(data)}\0".encode() + hashlib.sha256(data).digest())
    path = _cache_folder() / digest.hexdigest() / PROGRAM
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(build(entries, digest.hexdigest()))
        Path(file.name).chmod(0o755)
        Path(file.name).replace(path)
    return path


def installer_script() -> Path:
    """`install.sh`, which carries nothing secret and is the same for every node."""
    return deployed("install.sh")


def deployed(name: str) -> Path:
    """A file of `deploy/`: inside the installed package, or beside the sources."""
    here = Path(__file__).parent
    installed = here / "deploy" / name
    return installed if installed.exists() else here.parents[1] / "deploy" / name


def build(entries: dict[str, bytes], digest: str) -> bytes:
    """The program's bytes; equal input gives equal bytes."""
    facts = {
        "@DIGEST@": digest,
        "@CACHE_TAG@": str(sys.implementation.cache_tag),
        "@PLATFORM@": sysconfig.get_platform(),
    }
    main = deployed("agent_main.py").read_text()
    for placeholder, value in facts.items():
        main = main.replace(placeholder, value)
    buffer = io.BytesIO()
    buffer.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, data in [("__main__.py", main.encode()), *entries.items()]:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()


def _entries() -> Iterator[tuple[str, bytes]]:
    here = Path(__file__).parent
    for name in SOURCES:
        top = here / name
        for path in [top] if top.is_file() else sorted(top.rglob("*.py")):
            packed = f"lib/tidegate/{path.relative_to(here).as_posix()}"
            if _wanted(packed):
                yield packed, path.read_bytes()
    yield "deploy/tidegate-agent.service", deployed("tidegate-agent.service").read_bytes()
    for name in DISTRIBUTIONS:
        for file in distribution(name).files or ():
            packed = f"lib/{PurePosixPath(file)}"
            if ".." not in PurePosixPath(file).parts and _wanted(packed):
                yield packed, Path(str(file.locate())).read_bytes()


def _wanted(name: str) -> bool:
    return not name.endswith((".pyc", ".pyi")) and not any(part in name for part in NOT_PACKED)


def _cache_folder() -> Path:
    """Below the user's cache; where there is none to write to, a folder of this process."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidegate" / "agent"
    with contextlib.suppress(OSError):
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(base, os.W_OK):
            return base
    return Path(tempfile.mkdtemp(prefix="tidegate-agent-"))
