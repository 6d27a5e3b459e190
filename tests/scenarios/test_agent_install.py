"""install.sh and the one-file program, run for real in a scratch prefix against a small HTTPS server."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tidegate import __version__, agent_package
from tidegate.testing.played_node import TOKEN, PlayedNode
from tidegate.testing.tls_server import Asked, http

PYTHON = str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Served:
    """What the node serves below /install/, and the hashes that the printed command carries."""

    node: PlayedNode
    prefix: Path
    files: dict[str, bytes]

    def command(self, **changed: str) -> list[str]:
        given = {
            "url": self.node.server.url,
            "ca-sha256": sha256(self.files["server-ca.pem"]),
            "agent-sha256": sha256(self.files["tidegate-agent.pyz"]),
            "root-sha256": sha256(self.files["root.json"]),
            "installer-sha256": sha256(agent_package.installer_script().read_bytes()),
            "prefix": str(self.prefix),
            "python": PYTHON,
        } | {key.replace("_", "-"): value for key, value in changed.items()}
        options = [part for key, value in given.items() for part in (f"--{key}", value)]
        return ["sh", str(agent_package.installer_script()), *options]

    def install(self, token: str = TOKEN, **changed: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(**changed), input=f"{token}\n", capture_output=True, text=True, timeout=100, check=False
        )


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "node").mkdir()
    with PlayedNode(tmp_path / "node") as node:
        files = {
            "server-ca.pem": node.pki.ca_pem.encode(),
            "tidegate-agent.pyz": agent_package.agent_program().read_bytes(),
            "root.json": node.world.served["metadata/1.root.json"],
        }
        found = Served(node, tmp_path / "prefix", files)

        def handler(asked: Asked) -> bytes:
            return http(200, found.files[asked.path.rpartition("/")[2]], "application/octet-stream")

        for name in files:
            node.refuse[f"/install/{name}"] = handler
        yield found


def test_no_module_of_the_folder_it_is_run_in_is_executed() -> None:
    """It runs as root, wherever the command was pasted: Python started without -I would import what lies there."""
    script = agent_package.installer_script().read_text()
    started = [line for line in script.splitlines() if re.search(r'"\$python" ', line)]
    assert started
    assert [line for line in started if '"$python" -I ' not in line and 'command -v "$python" ' not in line] == []


@pytest.mark.slow
def test_installs_enrolls_and_keeps_everything_when_run_again(served: Served) -> None:
    done = served.install()
    assert done.returncode == 0, done.stderr
    assert "start it yourself" in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    program = served.prefix / "bin/tidegate-agent"
    status = subprocess.run([program, "status"], capture_output=True, text=True, timeout=60, check=True)
    assert "device cam-7 of fleet default" in status.stdout
    kept = {name: (served.prefix / name).read_bytes() for name in ("state/identity/current.pem", "etc/agent.toml")}
    (served.prefix / "etc/agent.d/own.toml").write_text("[allow]\nprobe_ports = [8080]\n")
    again = served.install(token="")
    assert again.returncode == 0, again.stderr
    assert len(served.node.enrolls) == 1
    for name, data in kept.items():
        assert (served.prefix / name).read_bytes() == data
    assert (served.prefix / "etc/agent.d/own.toml").exists()
    for path in served.prefix.rglob("*"):
        if path.is_file() and path.stat().st_size < 1_000_000:
            assert TOKEN.encode() not in path.read_bytes(), path

    # An older agent takes the place of a newer one only where that is said; then the way up is open again.
    newest = served.files["tidegate-agent.pyz"]
    entries = dict(agent_package._entries()) | {"lib/tidegate/__init__.py": b'__version__ = "0.0.9"\n'}
    served.files["tidegate-agent.pyz"] = agent_package.build(entries, "0" * 64)
    refused = served.install(token="")
    assert refused.returncode == 1
    assert f"version 0.0.9 is older than {__version__}, which is on this device" in refused.stderr
    assert "if that is meant, add --allow-older" in refused.stderr
    assert said(program) == f"tidegate-agent {__version__}"
    meant = subprocess.run(
        [*served.command(), "--allow-older"], input="", capture_output=True, text=True, timeout=100, check=False
    )
    assert (meant.returncode, said(program)) == (0, "tidegate-agent 0.0.9"), meant.stderr
    served.files["tidegate-agent.pyz"] = newest
    assert served.install(token="").returncode == 0
    assert said(program) == f"tidegate-agent {__version__}"
    assert (served.prefix / "state/identity/current.pem").read_bytes() == kept["state/identity/current.pem"]


def said(program: Path) -> str:
    """By a program that says its version."""
    done = subprocess.run([program, "version"], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() or done.stderr


#: In place of a tool that the installer changes the device with: the installer is killed before its Nth use, or, where
#: a file is copied, in the middle of that.
KILLER = """#!/bin/sh
echo {tool} >>{folder}/used
if [ "$(wc -l <{folder}/used)" -eq "$(cat {folder}/at)" ]; then
    [ {tool} != cp ] || head -c 1000 "$1" >"$2"
    kill -9 $PPID
    exit 1
fi
exec {real} "$@"
"""


def test_an_upgrade_that_is_killed_at_any_step_leaves_a_working_agent(served: Served, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("cp", "chmod", "mv", "mkdir", "sync"):
        (tools / tool).write_text(KILLER.format(tool=tool, folder=tools, real=shutil.which(tool)))
        (tools / tool).chmod(0o755)
    environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}

    def install(version: str, at: int) -> tuple[int, list[str]]:
        """How it ended, and which tools it used until then."""
        served.files["tidegate-agent.pyz"] = versioned(version)
        (tools / "at").write_text(str(at))
        (tools / "used").write_text("")
        ended = subprocess.run(
            served.command(), input="", capture_output=True, timeout=100, check=False, env=environment
        ).returncode
        return ended, (tools / "used").read_text().split()

    assert install("1.0", 0)[0] == 0
    program = served.prefix / "bin/tidegate-agent"
    killed_before, versions = [], []
    while (tried := install("1.1", len(versions) + 1))[0] != 0:
        assert tried[0] == -signal.SIGKILL
        killed_before.append(tried[1][-1])
        versions.append(said(program))
    # Until the program is renamed into its place the old one runs, from then on the new one; never none.
    assert versions == sorted(versions)
    assert set(versions) == {"tidegate-agent 1.0", "tidegate-agent 1.1"}
    assert (killed_before.count("cp"), killed_before.count("mv")) == (4, 4)
    assert said(program) == "tidegate-agent 1.1"


def versioned(version: str) -> bytes:
    """A one-file program that does nothing but say its version."""
    main = f"def main():\n    print('tidegate-agent {version}')\n    return 0\n"
    entries = {f"lib/tidegate/{name}": b"" for name in ("__init__.py", "agent/__init__.py")}
    return agent_package.build(entries | {"lib/tidegate/agent/run.py": main.encode()}, sha256(version.encode()))


SMALL = """
import os, sys
def main():
    if sys.argv[1:] == ["wait"]:
        print("up", flush=True)
        sys.stdin.read()
    print("runs", os.path.dirname(__file__))
    return 0
"""


def small_program(folder: Path, digest: str) -> list[str]:
    """A command that runs a one-file program with nothing in it but our start."""
    entries = {f"lib/tidegate/{name}": b"" for name in ("__init__.py", "agent/__init__.py")}
    file = folder / f"{digest[:4]}.pyz"
    file.write_bytes(agent_package.build(entries | {"lib/tidegate/agent/run.py": SMALL.encode()}, digest))
    return [PYTHON, "-I", str(file)]


def started(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def test_unpacked_versions_that_nobody_runs_are_pruned(tmp_path: Path) -> None:
    old, new = small_program(tmp_path, "a" * 64), small_program(tmp_path, "b" * 64)
    cache = tmp_path / ".tidegate-agent"
    with subprocess.Popen([*old, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        (cache / ".unpacking-broken").mkdir()
        (cache / "not-ours").mkdir()
        started(new)
        assert {path.name for path in cache.iterdir()} == {"a" * 64, "b" * 64, "not-ours"}
        running.communicate("")
    assert running.returncode == 0
    started(new)
    assert {path.name for path in cache.iterdir()} == {"b" * 64, "not-ours"}
    assert ("a" * 64) in started(old)


def test_a_full_disk_is_not_filled_further_by_every_start(tmp_path: Path) -> None:
    command = small_program(tmp_path, "a" * 64)
    for _ in range(2):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=False, env={"HOME": str(tmp_path / "home")},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
        )  # fmt: skip
        assert done.returncode == 1
        assert "cannot unpack" in done.stderr
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".pyz"]
    assert left == []
    assert ("a" * 64) in started(command)


def test_an_unpacked_version_that_others_may_change_is_not_run(tmp_path: Path) -> None:
    command = small_program(tmp_path, "a" * 64)
    started(command)
    (tmp_path / ".tidegate-agent" / ("a" * 64)).chmod(0o777)
    environment = {"HOME": str(tmp_path / "home")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, env=environment)
    assert str(tmp_path / "home/.cache/tidegate-agent") in done.stdout


def test_what_is_unpacked_is_readable_and_ours_whatever_the_umask(tmp_path: Path) -> None:
    command = small_program(tmp_path, "a" * 64)
    subprocess.run(command, check=True, timeout=30, preexec_fn=lambda: os.umask(0) and None, capture_output=True)
    for path in (tmp_path / ".tidegate-agent").rglob("*"):
        assert not path.stat().st_mode & 0o022, path


@pytest.mark.parametrize(
    ("option", "thing"),
    [
        ("installer_sha256", "this script"),
        ("ca_sha256", "the node's CA"),
        ("agent_sha256", "the agent program"),
        ("root_sha256", "the trust anchor"),
    ],
)
def test_a_wrong_hash_stops_before_anything_is_run_or_changed(served: Served, option: str, thing: str) -> None:
    done = served.install(**{option: "0" * 64})
    assert done.returncode == 1
    assert f"cannot trust {thing}: its SHA-256 is" in done.stderr
    assert not served.prefix.exists()
    assert served.node.enrolls == []


def test_a_program_that_does_not_run_here_is_not_installed(served: Served) -> None:
    served.files["tidegate-agent.pyz"] = b"not a program"
    done = served.install()
    assert done.returncode == 1
    assert "cannot use the agent program on this device" in done.stderr
    assert not served.prefix.exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"url": "http://127.0.0.1"}, "--url must be https"),
        ({"ca_sha256": "abc"}, "--ca-sha256 must be 64"),
        ({"agent_sha256": "Z" * 64}, "--agent-sha256 must be 64"),
        ({"name": "a;b"}, "characters"),
        ({"fleet": "$(id)"}, "characters"),
        ({"python": "/no/python"}, "is missing"),
        ({"surprise": "1"}, "unknown option --surprise"),
    ],
)
def test_wrong_options_are_named(served: Served, changed: dict[str, str], words: str) -> None:
    done = served.install(**changed)
    assert done.returncode == 1
    assert words in done.stderr
    assert served.node.server.asked == []


def test_there_is_no_option_for_the_token(served: Served) -> None:
    done = subprocess.run([*served.command(), "--token", "x"], capture_output=True, text=True, timeout=60, check=False)
    assert "unknown option --token" in done.stderr


def test_the_program_is_reproducible_and_self_contained(tmp_path: Path) -> None:
    entries = dict(sorted(agent_package._entries()))
    some = dict(list(entries.items())[:40])
    one, two = (agent_package.build(some, "d" * 64) for _ in range(2))
    assert one == two
    assert not any(name.startswith(("lib/tidegate/control", "lib/tidegate/cli", "lib/sqlalchemy")) for name in entries)
    program = tmp_path / "tidegate-agent.pyz"
    program.write_bytes(agent_package.agent_program().read_bytes())
    # -I -S: no environment, no site-packages; everything must come out of the file.
    verb = [
        "--config",
        f"{tmp_path}/agent.toml",
        "--state-dir",
        f"{tmp_path}/s",
        "--run-dir",
        f"{tmp_path}/r",
        "status",
    ]
    done = subprocess.run(
        [PYTHON, "-I", "-S", str(program), *verb], capture_output=True, text=True, timeout=60, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    assert "not enrolled" in done.stdout
    library = next((tmp_path / ".tidegate-agent").glob("*/lib"))
    modules = ", ".join(f"tidegate.agent.{name}" for name in ("enroll", "fetch", "keys", "daemon", "work"))
    heavy = f"import sys; sys.path[:0] = [sys.argv[1]]; import {modules}"
    subprocess.run([PYTHON, "-I", "-S", "-c", heavy, str(library)], check=True, timeout=60, cwd="/")


def test_a_folder_that_others_may_write_to_is_not_unpacked_into(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    environment = {"TIDEGATE_AGENT_CACHE": str(cache), "HOME": str(tmp_path)}
    command = [PYTHON, str(agent_package.agent_program()), "version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 1
    assert "others may write" in done.stderr


@pytest.fixture(scope="module")
def unit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unit as the installer writes it."""
    text = agent_package.deployed("tidegate-agent.service").read_text()
    file = tmp_path_factory.mktemp("unit") / "tidegate-agent.service"
    file.write_text(text.replace("@PROGRAM@", "/bin/true").replace("@CONFIG@", "/etc/tidegate/agent.toml"))
    return file


def test_the_unit_lets_workloads_read_and_ends_for_good_when_told(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    for line in ("RestartPreventExitStatus=78", "UMask=0022", "NoNewPrivileges=yes", "ProtectSystem=strict"):
        assert line in lines


def test_systemd_takes_the_unit_and_calls_it_hardened(unit: Path) -> None:
    def analyze(*arguments: str) -> str:
        command = ["systemd-analyze", *arguments, str(unit)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert str(unit.name) not in analyze("verify")
    # Of ten, which is unprotected; what is left is root with three capabilities, the network and the devices.
    analyze("security", "--offline=true", "--threshold=28", "--no-pager")
