"""install.sh and the one-file program, run for real in a scratch prefix against a small HTTPS server."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tidegate import agent_package
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


def test_the_unit_refuses_what_the_agent_does_not_need() -> None:
    unit = agent_package.deployed("tidegate-agent.service").read_text()
    for line in (
        "RestartPreventExitStatus=78",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "RestrictNamespaces=yes",
    ):
        assert line in unit.splitlines()
