"""Smaller parts of the agent: what a refusal means, back-off, hardware facts, inhibitor, imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tidegate.agent import hardware, inhibitor
from tidegate.agent.backoff import Backoff
from tidegate.agent.link import CertificateRefused, ChannelProblem, Ended
from tidegate.agent.session import Again, Course, Later, Over, Pace, RenewFirst, UseCurrent, course
from tidegate.errors import TidegateError, Unavailable, Untrusted
from tidegate.wire.problem import Problem


def problem(kind: str, status: int = 403) -> ChannelProblem:
    return ChannelProblem("words", Problem(f"/problems/{kind}", kind, status), 7)


@pytest.mark.parametrize(
    ("error", "on_pending", "has_current", "expected"),
    [
        (Ended("x"), False, True, Again()),
        (problem("device-decommissioned"), False, True, Over("device-decommissioned", "words", wipe=True)),
        (problem("device-decommissioned"), True, True, Over("device-decommissioned", "words", wipe=True)),
        (problem("device-decommissioned", 401), False, True, Later(7)),
        (problem("certificate-replaced"), False, True, Over("certificate-replaced", "words", wipe=False)),
        (problem("certificate-replaced"), True, False, Over("certificate-replaced", "words", wipe=False)),
        (problem("certificate-replaced"), True, True, UseCurrent(forget=True)),
        (problem("certificate-unknown"), True, True, UseCurrent(forget=True)),
        (problem("certificate-unknown"), False, True, Later(7)),
        (problem("certificate-expired"), False, True, RenewFirst()),
        (problem("anything-else", 400), False, True, Later(7)),
        (CertificateRefused("x"), True, True, UseCurrent(forget=False)),
        (CertificateRefused("x"), False, True, Later()),
        (Unavailable("x", retry_after_seconds=9), False, True, Later(9)),
        (Untrusted("x"), False, True, Later()),
    ],
)
def test_only_the_node_itself_ends_an_identity(
    error: TidegateError, on_pending: bool, has_current: bool, expected: Course
) -> None:
    assert course(error, on_pending=on_pending, has_current=has_current) == expected


def test_a_node_that_does_not_hold_is_not_asked_in_a_loop() -> None:
    pace = Pace(0)
    assert pace.wait(100, held_seconds=0.1, asked_seconds=30, news=False) == pytest.approx(29.9)
    assert pace.wait(130, held_seconds=30, asked_seconds=30, news=False) == 0
    assert pace.wait(135, held_seconds=5, asked_seconds=30, news=True) == 0
    assert pace.wait(135.2, held_seconds=0, asked_seconds=30, news=True) == pytest.approx(0.8)


def test_backoff_doubles_is_bounded_spread_and_forgets() -> None:
    backoff = Backoff(Random(1), first_seconds=1, max_seconds=60)
    waits = [backoff.next() for _ in range(50)]
    assert 0.5 <= waits[0] <= 1
    assert 8 <= waits[4] <= 16
    assert all(30 <= wait <= 60 for wait in waits[6:])
    assert len(set(waits)) == 50
    backoff.reset()
    assert backoff.next() <= 1
    assert backoff.next(100) >= 100


def test_hardware_of_this_machine(tmp_path: Path) -> None:
    found = hardware.detect(tmp_path / "not/made/yet")
    assert found.arch in ("amd64", "arm64") or found.arch
    assert found.kernel == os.uname().release
    assert found.ram_bytes > 1 << 28
    assert found.disk_bytes > 1 << 20
    assert found.cpu_count >= 1


def test_hardware_never_fails(tmp_path: Path) -> None:
    """A machine that shows nothing, or nonsense, can still register."""
    nothing = hardware.detect(tmp_path, tmp_path / "empty")
    assert (nothing.os, nothing.board, nothing.ram_bytes, nothing.accelerators) == ("", "", 0, ())
    for path, data in {
        "etc/os-release": b"\xff\xfe=\x00\nID=\n=x\nVERSION_ID='" + b"9" * 1000,
        "proc/meminfo": b"MemTotal: lots\n",
        "sys/class/dmi/id/product_name": b"\xff" * 100_000,
        "sys/class/drm/renderD128/device/vendor": b"0x10de\n",
        "dev/apex_0": b"",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    (tmp_path / "sys/class/dmi/id/sys_vendor").mkdir()
    found = hardware.detect(tmp_path, tmp_path)
    assert found.ram_bytes == 0
    assert len(found.os_version) == 256
    assert len(found.board) == 256
    assert found.accelerators == ("coral-tpu", "nvidia-gpu")


def test_boards_that_have_a_device_tree(tmp_path: Path) -> None:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Orin Nano\0")
    assert hardware.detect(tmp_path, tmp_path).board == "NVIDIA Jetson Orin Nano"


def test_the_inhibitor_says_why(tmp_path: Path) -> None:
    file = tmp_path / "inhibit"
    assert inhibitor.reason(file) == ""
    file.touch()
    assert inhibitor.reason(file) == f"held on the device by {file}"
    file.write_bytes(b"belt is \x1b[31mrunning\xff\nmore")
    assert inhibitor.reason(file) == f"held on the device by {file}: belt is [31mrunning�"
    file.unlink()
    file.mkdir()
    assert inhibitor.reason(file).startswith("held on the device by")


def test_the_inhibitor_waits_for_nobody_and_tells_on_nothing(tmp_path: Path) -> None:
    """Its folder may be one that others write to: a pipe would hold the agent, a link tell a secret's first line."""
    (tmp_path / "secret").write_text("root:hash\n")
    (tmp_path / "link").symlink_to("secret")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        found = inhibitor.reason(tmp_path / name)
        assert found.startswith("held on the device by")
        assert "hash" not in found


def test_the_idle_agent_loads_no_certificate_library_and_no_metadata_client() -> None:
    program = (
        "import sys, tidegate.agent.run, tidegate.agent.daemon\n"
        "heavy = {'cryptography', 'tuf', 'securesystemslib', 'sqlalchemy', 'starlette', 'asyncio'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
