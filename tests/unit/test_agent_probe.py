"""Probes: what passes, what fails and why, what is refused, and that nothing outlives a probe."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tidegate.agent.parts import ProbeResult
from tidegate.agent.probe import Probes
from tidegate.agent.program import OUTPUT_MAX_BYTES
from tidegate.agent.settings import Allow, ExecEntry
from tidegate.wire.device import ExecProbe, FileProbe, HttpProbe, Probe


def attempt(probe: Probe, allow: Allow | None = None, artifact: Path | None = None) -> ProbeResult:
    return Probes(lambda: allow or Allow()).attempt(probe, artifact)


def shell(script: str, *, timeout_seconds: int = 10, artifact: Path | None = None, user: str = "") -> ProbeResult:
    allow = Allow(exec={"it": ExecEntry(("/bin/sh", "-c", script), user)})
    return attempt(ExecProbe("it", timeout_seconds=timeout_seconds), allow, artifact)


# -- exec --------------------------------------------------------------------------------------------------------------


def test_exit_status_decides_and_output_is_kept(tmp_path: Path) -> None:
    assert shell('echo "at $TIDEGATE_ARTIFACT"', artifact=tmp_path) == ProbeResult(True, f"at {tmp_path}")
    failed = shell("echo out; echo err >&2; exit 3")
    assert not failed.passed
    assert failed.output == "the probe it ended with exit status 3; it said: out\nerr"
    assert "signal 9" in shell("kill -9 $$").output


def test_the_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    names = {line.partition("=")[0] for line in shell("env").output.splitlines()}
    assert names - {"PWD", "SHLVL", "_"} == {"PATH", "LANG"}


def test_output_is_bounded_and_printable() -> None:
    found = shell("head -c 1000000 /dev/zero | tr '\\0' x; printf 'the \\033 end'")
    assert found.passed
    assert len(found.output) <= OUTPUT_MAX_BYTES
    assert found.output.endswith("the � end")


def test_a_timeout_ends_the_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    began = time.monotonic()
    found = shell(f"echo $$ > {pids}; sleep 60 & echo $! >> {pids}; echo waiting; wait", timeout_seconds=1)
    assert not found.passed
    assert found.output == "the probe it was ended after 1 s; it said: waiting"
    assert time.monotonic() - began < 5
    for pid in pids.read_text().split():
        assert gone(int(pid))


def test_what_a_passed_probe_left_behind_is_ended_too(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    began = time.monotonic()
    assert shell(f"sleep 60 & echo $! > {pid}").passed
    assert time.monotonic() - began < 5
    assert gone(int(pid.read_text()))


def test_a_program_that_is_not_there() -> None:
    allow = Allow(exec={"it": ExecEntry(("/no/such/program",))})
    found = attempt(ExecProbe("it"), allow)
    assert not found.passed
    assert found.output.startswith("cannot run the probe it")


def test_only_entries_of_the_allowlist_run() -> None:
    found = attempt(ExecProbe("other"), Allow(exec={"it": ExecEntry(("/bin/true",))}))
    assert found == ProbeResult(
        False, "cannot run the probe other: this device's allowlist has no exec entry of that name"
    )


def test_another_user() -> None:
    assert "no user nobody-here" in shell("true", user="nobody-here").output
    if os.geteuid() == 0:
        assert shell("id -un; id -Gn", user="nobody").output.startswith("nobody\n")
    else:
        assert "does not run as root" in shell("true", user="root").output


def gone(pid: int) -> bool:
    """Whether the process is dead, or dead but not yet reaped by whoever inherited it."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


# -- http --------------------------------------------------------------------------------------------------------------


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    thread.join(5)
    listener.close()


def http(answer: bytes, timeout_seconds: int = 5) -> ProbeResult:
    with listening(lambda connection: connection.sendall(answer)) as port:
        return attempt(HttpProbe(port, "/health", timeout_seconds), Allow(probe_ports=(port,)))


@pytest.mark.parametrize(
    ("raw", "passed", "words"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True, "status 200"),
        (b"HTTP/1.0 204 \r\n\r\n", True, "status 204"),
        (b"HTTP/1.1 302 Found\r\nLocation: /ok\r\n\r\n", False, "status 302"),
        (b"HTTP/1.1 500 \r\n\r\n", False, "status 500"),
        (b"SSH-2.0-OpenSSH\r\n", False, "did not answer in HTTP"),
        (b"HTTP/1.1 2000 \r\n", False, "did not answer in HTTP"),
        (b"", False, "did not answer in HTTP"),
        (b"x" * 100_000, False, "did not answer in HTTP"),
    ],
)
def test_http_is_judged_by_its_status(raw: bytes, passed: bool, words: str) -> None:
    found = http(raw)
    assert found.passed is passed
    assert words in found.output


def test_http_that_drips_is_given_up_in_time() -> None:
    def drip(connection: socket.socket) -> None:
        for letter in b"HTTP/1.1 200":
            time.sleep(0.3)
            try:
                connection.sendall(bytes([letter]))
            except OSError:
                return

    with listening(drip) as port:
        began = time.monotonic()
        found = attempt(HttpProbe(port, "/", 1), Allow(probe_ports=(port,)))
        assert not found.passed
        assert time.monotonic() - began < 3


def test_http_only_on_allowlisted_ports() -> None:
    assert attempt(HttpProbe(80)).output == "cannot ask port 80: it is not in this device's allowlist of probe ports"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    assert "cannot ask http://127.0.0.1" in attempt(HttpProbe(free), Allow(probe_ports=(free,))).output


def test_http_paths_cannot_carry_another_request() -> None:
    for path in ("/x\n", "/x y", "/x\r\nHost: elsewhere", "x"):
        assert "characters that HTTP forbids" in attempt(HttpProbe(80, path), Allow(probe_ports=(80,))).output


# -- file --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("x")
    return folder


def look(path: Path | str, inside: Path) -> ProbeResult:
    return attempt(FileProbe(str(path)), Allow(path_prefixes=(str(inside),)))


def test_a_file_that_is_there_and_not_empty(inside: Path) -> None:
    (inside / "ready").write_text("yes")
    assert look(inside / "ready", inside) == ProbeResult(True, f"{inside}/ready has 3 bytes")
    (inside / "empty").touch()
    assert look(inside / "empty", inside).output.endswith("is empty")
    assert "No such file" in look(inside / "missing", inside).output
    (inside / "folder").mkdir()
    assert look(inside / "folder", inside).output.endswith("is not a regular file")


def test_pipes_and_devices_do_not_hold_a_probe_up(inside: Path) -> None:
    os.mkfifo(inside / "pipe")
    assert look(inside / "pipe", inside).output.endswith("is not a regular file")


def test_links_are_resolved_before_they_are_judged(inside: Path) -> None:
    (inside / "escape").symlink_to("../outside/secret")
    (inside / "up").symlink_to("../outside")
    (inside / "loop").symlink_to("loop")
    (inside / "ready").write_text("yes")
    (inside / "within").symlink_to("ready")
    assert look(inside / "within", inside).passed
    for escaping in (inside / "escape", inside / "up/secret", f"{inside}/../outside/secret", "/etc/passwd", inside):
        found = look(escaping, inside)
        assert not found.passed
        assert "below no path prefix" in found.output
    assert not look(inside / "loop", inside).passed


def test_a_prefix_is_a_folder_and_not_a_beginning(inside: Path) -> None:
    beside = inside.with_name("inside-too")
    beside.mkdir()
    (beside / "x").write_text("x")
    assert "below no path prefix" in look(beside / "x", inside).output


def test_nothing_is_allowed_by_default(inside: Path) -> None:
    (inside / "ready").write_text("yes")
    probes = Probes(Allow)
    for probe in (ExecProbe("it"), HttpProbe(80), FileProbe(str(inside / "ready"))):
        assert probes.refusal(probe).startswith("cannot ")
        assert not probes.attempt(probe, None).passed
