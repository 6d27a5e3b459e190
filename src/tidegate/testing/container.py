"""A Debian root with its own systemd, booted for real in systemd-nspawn, with this machine's network.

    with Container(folder) as container:      # boots a copy of the root that system_root.py has built
        done = container.run(["systemctl", "is-active", "some.service"])

Everything of it lives in a process namespace and a mount namespace of its own and ends with them: also when the
process that started it is killed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tidegate.testing import system_root

BOOT_SECONDS = 90
STOP_SECONDS = 20
#: Each of these that is there gets a group of our own, so that two containers never share one.
_HIERARCHIES = (Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified"))

_START = """
set -eu
root=$1 below=$2 own=$3 group=$4
shift 4
if [ "$own" = mount ]; then
    mount -t overlay overlay -o "lowerdir=$below,upperdir=$root.upper,workdir=$root.work" "$root"
fi
for hierarchy in "$@"; do mkdir -p "$hierarchy/$group"; echo $$ >"$hierarchy/$group/cgroup.procs"; done
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn
keep=$([ -d /run/systemd/system ] || echo --keep-unit)
ended=133
while [ "$ended" -eq 133 ]; do # that it wants to be started again, which a service manager would do
    ended=0
    systemd-nspawn --quiet --boot --register=no $keep --console=pipe --machine "$group" --directory "$root" \
        --link-journal=no --resolv-conf=off --timezone=off || ended=$?
done
exit "$ended"
"""


class Container:
    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self._log = folder / "console.log"
        self._below = system_root.built()
        self._group = f"tidegate-{uuid.uuid4().hex[:8]}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Container:
        for path in (self.root, Path(f"{self.root}.upper"), Path(f"{self.root}.work")):
            path.mkdir(parents=True)
        own = "mount" if _overlay(self._below, self.root) else "copy"
        if own == "copy":
            shutil.rmtree(self.root)
            subprocess.run(["cp", "-a", "--reflink=auto", str(self._below), str(self.root)], check=True, timeout=120)
        hierarchies = [str(path) for path in _HIERARCHIES if path.is_dir()]
        arguments = [str(self.root), str(self._below), own, self._group, *hierarchies]
        # Whoever starts it is killed: so is unshare, and with the first process of the namespace all others.
        command = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "sh", "-c", _START, "sh", *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self.await_booted()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def run(
        self, command: Sequence[str], stdin: str = "", seconds: float = 100, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as its root; with `check` it must end with 0."""
        done = subprocess.run(
            [*self._enter(), *command], input=stdin, capture_output=True, text=True, timeout=seconds, check=False,
            env=_ENVIRONMENT,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(f"{list(command)} ended with {done.returncode}: {done.stderr or done.stdout}")
        return done

    def popen(self, command: Sequence[str], **more: Any) -> subprocess.Popen[bytes]:
        """The same, going on beside the caller."""
        return subprocess.Popen([*self._enter(), *command], env=_ENVIRONMENT, **more)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        self.run(["sh", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1"', "sh", path, oct(mode)[2:]],
                 text, check=True)  # fmt: skip

    def read(self, path: str) -> str:
        return self.run(["cat", path], check=True).stdout

    def reboot(self) -> None:
        """As `systemctl reboot` does it; returns when it is up again."""
        before = self._first()
        self.run(["systemctl", "reboot"])
        _until(lambda: self._first() not in (0, before), "it goes down", BOOT_SECONDS, self._told)
        self.await_booted()

    def await_booted(self) -> None:
        def up() -> bool:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"the container has ended:\n{self._told()}")
            if not self._first():
                return False
            state = self.run(["systemctl", "is-system-running"]).stdout.strip()
            return state in ("running", "degraded")

        _until(up, "it boots", BOOT_SECONDS, self._told)

    def stop(self) -> None:
        """All of its processes end at once; a second time is fine."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait(STOP_SECONDS)
        groups = [hierarchy / self._group for hierarchy in _HIERARCHIES]
        _until(lambda: all(_gone(group) for group in groups), "its groups are empty", STOP_SECONDS, self._told)

    def _enter(self) -> list[str]:
        first = self._first()
        if not first:
            raise RuntimeError(f"the container does not run:\n{self._told()}")
        return ["nsenter", "--target", str(first), "--all", "--"]

    def _first(self) -> int:
        """This machine's number for the container's first process; 0: there is none now."""
        assert self._process is not None
        process = self._process.pid
        for name in ("sh", "systemd-nspawn", "systemd"):
            children = [child for child in _children(process) if _name(child) == name]
            if not children:
                return 0
            process = children[0]
        return process

    def _told(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
}


def _children(process: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def _name(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def _overlay(below: Path, root: Path) -> bool:
    """Whether a copy can be laid over the root; not where this machine's own files are such a copy already."""
    layers = f"lowerdir={below},upperdir={root}.upper,workdir={root}.work"
    trial = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", layers, str(root)]
    return subprocess.run(trial, capture_output=True, timeout=30, check=False).returncode == 0


def _gone(group: Path) -> bool:
    """Remove a control group with all below it; False while a process of it is still ending."""
    for folder, _, _ in os.walk(group, topdown=False):
        try:
            Path(folder).rmdir()
        except OSError:
            return False
    return True


def _until(look: Callable[[], bool], what: str, seconds: float, told: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {seconds} s: {what}\n{told()}")
        time.sleep(0.05)  # between two looks at a condition
