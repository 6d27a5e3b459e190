"""Programs from npm that tests run beside us: installed from a lock file with integrity hashes, once, out of the tree.

A folder such as `tests/oidc` holds `package.json`, `package-lock.json` and the scripts that use what they name.
Dependencies' own install scripts are never run.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

INSTALL_SECONDS = 240
_PACKAGE, _LOCK = "package.json", "package-lock.json"


class CannotInstall(Exception):
    """Node.js is not there, or the packages cannot be had; says what to do."""


def node() -> Path:
    """The Node.js program. Raises `CannotInstall` when it is missing."""
    return _program("node")


def installed(folder: Path) -> Path:
    """A folder with the locked `node_modules` of `folder` and its scripts as they are now; made on first use.

    Parallel workers share it. Changing the lock file makes another one.

    Raises:
        CannotInstall: no Node.js, no npm, or the packages do not come or do not have their hashes.
    """
    lock = (folder / _LOCK).read_bytes()
    cache = Path(sys.prefix) / "npm"
    target = cache / f"{folder.name}-{hashlib.sha256(lock).hexdigest()[:12]}"
    target.mkdir(parents=True, exist_ok=True)
    with (cache / f"{target.name}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not (target / "done").exists():
            _install(folder, target)
        for script in (*folder.glob("*.mjs"), *folder.glob("*.js")):
            copied = target / script.name
            if not copied.exists() or copied.read_bytes() != script.read_bytes():
                fresh = target / f".{script.name}"
                shutil.copyfile(script, fresh)
                fresh.rename(copied)  # another worker may be starting the old one
    return target


def _install(folder: Path, target: Path) -> None:
    for name in (_PACKAGE, _LOCK):
        shutil.copyfile(folder / name, target / name)
    argv: list[str | Path] = [_program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = subprocess.run(
            argv, cwd=target, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_SECONDS,
            env={**os.environ, "NODE_ENV": "production"}, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise CannotInstall(f"cannot install the packages of {folder}: npm took over {INSTALL_SECONDS} s") from error
    if done.returncode != 0:
        raise CannotInstall(f"cannot install the packages of {folder}: {done.stderr.strip()[-2000:]}")
    (target / "done").touch()


def _program(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise CannotInstall(f"cannot find {name}: install it with deploy/test-system.sh")
    return Path(found)
