"""A clean Debian root, built once and kept outside the tree: what `container.py` boots copies of.

The suite and the mirror are those of this machine's own apt, so that nothing here names a host. Building needs root,
debootstrap and the mirror, and takes about a minute; the result is kept under TIDEGATE_TEST_CACHE or
~/.cache/tidegate-tests, a folder for each suite and list of packages.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = ("ca-certificates", "curl", "dbus", "python3", "sudo", "systemd", "systemd-sysv")
BUILD_SECONDS = 600
_NEEDS = ("debootstrap", "systemd-nspawn", "unshare", "setpriv", "nsenter", "apt-get")


class NoContainer(RuntimeError):
    """This machine cannot boot a container; says what is missing."""


def require() -> None:
    """Raises `NoContainer`."""
    if os.geteuid() != 0:
        raise NoContainer("cannot boot a Debian root: systemd-nspawn and debootstrap need root; run the tests as root")
    missing = [tool for tool in _NEEDS if shutil.which(tool, path=_path()) is None]
    if missing:
        raise NoContainer(f"cannot boot a Debian root: {', '.join(missing)} missing; run deploy/test-system.sh")


def built() -> Path:
    """The root's folder, built now if it is not there; never to be written to.

    Raises:
        NoContainer: not root, or a tool is missing.
        RuntimeError: debootstrap failed.
    """
    require()
    suite = _suite()
    key = hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:8]
    cache = Path(os.environ.get("TIDEGATE_TEST_CACHE") or Path.home() / ".cache/tidegate-tests")
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / f"{suite}-{key}"
    with (cache / f"{root.name}.lock").open("w") as lock:
        # Two test processes build it once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.is_dir():
            _build(suite, root)
    return root


def _build(suite: str, root: Path) -> None:
    sys.stderr.write(f"building a Debian root of {suite} in {root}; later runs use it again\n")
    building = root.with_name(f"{root.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    command = [
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        suite,
        str(building),
        _mirror(suite),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False, env={**os.environ, "PATH": _path()}
    )
    if done.returncode != 0:
        shutil.rmtree(building, ignore_errors=True)
        raise RuntimeError(f"cannot build a Debian root of {suite}: {(done.stderr or done.stdout)[-2000:]}")
    for unwanted in (building / "etc/machine-id", building / "etc/hostname"):
        unwanted.write_text("")
    shutil.rmtree(building / "var/cache/apt/archives", ignore_errors=True)
    building.rename(root)


def _suite() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip('"')
    raise NoContainer("cannot boot a Debian root: /etc/os-release names no suite")


def _mirror(suite: str) -> str:
    """Where this machine's apt has the suite from."""
    query = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    said = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True).stdout
    for line in said.splitlines():
        address, release, component = line.split(" ", 2)
        if (release, component) == (suite, "main"):
            return address
    raise NoContainer(f"cannot build a Debian root: apt on this machine has no mirror of {suite} main")


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
