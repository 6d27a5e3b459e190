"""Two real models, taken from their wheels (pinned by hash, without dependencies), and one really broken one."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

MEMBER = "silero_vad/data/silero_vad.onnx"


@dataclass(frozen=True, slots=True)
class Model:
    version: str
    path: Path


def _wheel(requirements: Path, into: Path) -> Path:
    into.mkdir(parents=True, exist_ok=True)
    have = sorted(into.glob("*.whl"))
    if not have:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
             "--require-hashes", "--dest", str(into), "--requirement", str(requirements)],
            check=True, timeout=180,
        )  # fmt: skip
        have = sorted(into.glob("*.whl"))
    return have[0]


def fetch(project: Path, cache: Path) -> tuple[Model, Model, Model]:
    """Models of version 5, version 6, and a truncated 6 that is signed correctly and cannot run.

    Raises:
        subprocess.CalledProcessError: the package index is out of reach, or a wheel is not the pinned one.
    """
    models = []
    for major in ("5", "6"):
        wheel = _wheel(project / "requirements" / f"model-{major}.txt", cache / f"wheel-{major}")
        version = wheel.name.split("-")[1]
        path = cache / f"v{major}" / "silero_vad.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel) as archive:
            path.write_bytes(archive.read(MEMBER))
        models.append(Model(version, path))
    broken = cache / "broken" / "silero_vad.onnx"
    broken.parent.mkdir(parents=True, exist_ok=True)
    whole = models[1].path.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    return models[0], models[1], Model(models[1].version + "-truncated", broken)
