"""Facts about this device. Detection never fails: what cannot be told is left out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tidegate.wire.device import HardwareProfile

T = TypeVar("T")

READ_MAX_BYTES = 64 * 1024
TEXT_MAX = 256

#: As SPEC section 6 writes architectures in selectors; anything else keeps the kernel's own name.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386", "i386": "386"}
_GPU_VENDORS = {"0x10de": "nvidia-gpu", "0x1002": "amd-gpu", "0x8086": "intel-gpu"}
_DEVICE_FILES = {
    "dev/nvidia0": "nvidia-gpu",
    "dev/nvhost-gpu": "nvidia-gpu",
    "dev/apex_0": "coral-tpu",
    "dev/hailo0": "hailo-npu",
    "dev/rknpu": "rockchip-npu",
    "dev/accel/accel0": "npu",
}
_RUNTIMES = ("podman", "docker", "rauc")


def detect(state_dir: Path, root: Path = Path("/")) -> HardwareProfile:
    """Look at the machine under `root`; `disk_bytes` is the size of the file system that holds `state_dir`."""
    unknown: dict[str, str] = {}
    release = _told(lambda: _os_release(root), unknown)
    return HardwareProfile(
        arch=_told(lambda: _architecture(os.uname().machine), ""),
        os=release.get("ID", "")[:TEXT_MAX],
        os_version=release.get("VERSION_ID", "")[:TEXT_MAX],
        kernel=_told(lambda: os.uname().release[:TEXT_MAX], ""),
        board=_told(lambda: _board(root), ""),
        cpu_count=_told(lambda: os.cpu_count() or 0, 0),
        ram_bytes=_told(lambda: _ram_bytes(root), 0),
        disk_bytes=_told(lambda: _disk_bytes(state_dir), 0),
        accelerators=_told(lambda: _accelerators(root), ()),
        runtimes=_told(lambda: tuple(name for name in _RUNTIMES if shutil.which(name)), ()),
    )


def _told(look: Callable[[], T], unknown: T) -> T:
    """Whatever the machine shows us there (unreadable, missing, nonsense), a device must be able to register."""
    try:
        return look()
    except (OSError, ValueError, LookupError):
        return unknown


def _architecture(machine: str) -> str:
    return _ARCHITECTURES.get(machine, machine)[:TEXT_MAX]


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(READ_MAX_BYTES).decode("utf-8", "replace").strip("\0 \t\r\n")


def _os_release(root: Path) -> dict[str, str]:
    """os-release(5); /etc wins over /usr/lib."""
    for name in ("etc/os-release", "usr/lib/os-release"):
        path = root / name
        if path.is_file():
            pairs = (line.partition("=") for line in _text(path).splitlines() if not line.startswith("#"))
            return {key.strip(): value.strip().strip("\"'") for key, equals, value in pairs if equals}
    return {}


def _board(root: Path) -> str:
    tree = root / "proc/device-tree/model"
    if tree.is_file():
        return _text(tree)[:TEXT_MAX]
    dmi = root / "sys/class/dmi/id"
    words = [_told(lambda name=name: _text(dmi / name), "") for name in ("sys_vendor", "product_name")]  # type: ignore[misc]
    return " ".join(word for word in words if word)[:TEXT_MAX]


def _ram_bytes(root: Path) -> int:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def _disk_bytes(state_dir: Path) -> int:
    path = state_dir
    while not path.exists():
        path = path.parent
    facts = os.statvfs(path)
    return facts.f_blocks * facts.f_frsize


def _accelerators(root: Path) -> tuple[str, ...]:
    found = {name for path, name in _DEVICE_FILES.items() if (root / path).exists()}
    for card in sorted((root / "sys/class/drm").glob("renderD*"))[:16]:
        vendor = _told(lambda card=card: _text(card / "device/vendor"), "")  # type: ignore[misc]
        if vendor in _GPU_VENDORS:
            found.add(_GPU_VENDORS[vendor])
    return tuple(sorted(found))
