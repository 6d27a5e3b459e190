"""The guide of a production node, played on a clean Debian with a systemd of its own; and the unit that it installs."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.testing import runbook
from tidegate.testing.container import Container
from tidegate.testing.ports import free_ports

PROJECT = Path(__file__).parents[2]
GUIDE = PROJECT / "docs" / "guides" / "run-a-node.md"
UNIT = PROJECT / "deploy" / "tidegate.service"
PROGRAM = """#!/usr/bin/python3
import sys
sys.path.insert(0, "/opt/tidegate/lib")
from tidegate.cli.main import main
main()
"""
DEADLINE_SECONDS = 60.0


class Server:
    """A machine on which the guide's first part, the installation from package registries, has been done."""

    def __init__(self, container: Container, folder: Path) -> None:
        self.container = container
        console, device, metrics = (str(port) for port in free_ports(3))
        # It shares this machine's network, where the documented ports may be taken.
        self._here = {
            ":8443": f":{console}", ":9443": f":{device}", ":9464": f":{metrics}",
        }  # fmt: skip
        self.metrics = f"http://127.0.0.1:{metrics}/metrics"
        name = container.run(["hostname"], check=True).stdout.strip()
        container.write("/etc/hosts", f"127.0.0.1 localhost tidegate.example.com {name}\n")
        container.run(["useradd", "--system", "--home-dir", "/var/lib/tidegate", "tidegate"], check=True)
        container.write("/opt/tidegate/bin/tidegate", PROGRAM, 0o755)
        container.write("/root/deploy/tidegate.service", UNIT.read_text())
        packed = folder / "lib.tar"
        with tarfile.open(packed, "w") as archive:
            for source, name in _program():
                archive.add(source, name)
        with packed.open("rb") as stdin:
            unpacking = container.popen(["tar", "--directory", "/opt/tidegate", "-xf", "-"], stdin=stdin)
            assert unpacking.wait(DEADLINE_SECONDS) == 0

    def typed(self, command: runbook.Command) -> None:
        text = command.text
        for documented, here in self._here.items():
            text = text.replace(documented, here)
        expected = tuple(self._said(line) for line in command.expected)
        ends = time.monotonic() + DEADLINE_SECONDS
        while True:
            done = self.container.run(["bash", "-c", f"cd /root && {text}"])
            said = done.stdout + done.stderr
            if done.returncode == command.exit_status and (not expected or runbook.says(expected, said)):
                return
            journal = self.container.run(["journalctl", "--no-pager", "-u", "tidegate", "-n", "30"]).stdout
            assert command.again, (
                f"line {command.line}: {text} ended with {done.returncode} and said\n{said}\n{journal}"
            )
            assert time.monotonic() < ends, f"line {command.line}: {text} goes on saying\n{said}\n{journal}"
            time.sleep(0.3)  # between two looks at a condition

    def _said(self, line: str) -> str:
        for documented, here in self._here.items():
            line = line.replace(documented, here)
        return line

    def shows(self, name: str) -> str:
        done = self.container.run(["systemctl", "show", "--value", "-p", name, "tidegate"], check=True)
        return done.stdout.strip()


def _program() -> Iterator[tuple[Path, str]]:
    """What the guide's pip installs: this program and the packages of requirements/run.txt, as they are here."""
    names = re.findall(r"^([A-Za-z0-9._-]+)==", (PROJECT / "requirements" / "run.txt").read_text(), re.MULTILINE)
    for name in (*names, "tidegate"):
        try:
            files = importlib.metadata.files(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
        for file in files:
            source = Path(str(file.locate()))
            if ".." not in file.parts and source.is_file():
                yield source, f"lib/{file}"
    yield PROJECT / "src" / "tidegate", "lib/tidegate"
    yield PROJECT / "deploy", "lib/tidegate/deploy"


@pytest.mark.slow
@pytest.mark.timeout(400)  # where the Debian root has to be built first
def test_the_guide_on_a_clean_debian(tmp_path: Path) -> None:
    with Container(tmp_path / "server") as container:
        server = Server(container, tmp_path)
        typed = 0
        for part in runbook.read(GUIDE):
            assert isinstance(part, runbook.Block)
            for command in part.commands:
                server.typed(command)
                typed += 1
        assert typed > 15
        assert server.shows("ActiveState") == "active"
        owner = container.run(["stat", "-c", "%U", f"/proc/{server.shows('MainPID')}"], check=True)
        assert owner.stdout.strip() == "tidegate"
        # The unit hides much of the machine, not what the node tells of its own process.
        told = container.run(["curl", "-fsS", server.metrics], check=True).stdout
        assert "\nprocess_open_fds " in told
        # Killed, it comes back by itself.
        before = server.shows("MainPID")
        container.run(["systemctl", "kill", "--signal=KILL", "tidegate"], check=True)
        ends = time.monotonic() + DEADLINE_SECONDS
        while server.shows("MainPID") in ("0", before) or server.shows("ActiveState") != "active":
            assert time.monotonic() < ends
            time.sleep(0.3)  # between two looks at a condition


def test_systemd_takes_the_unit_and_calls_it_hardened(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/tidegate/bin/tidegate", "/bin/true"))
    for arguments in (["verify"], ["security", "--offline=true", "--threshold=15", "--no-pager"]):
        command = ["systemd-analyze", *arguments, str(unit)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert arguments != ["verify"] or UNIT.name not in done.stderr, done.stderr
