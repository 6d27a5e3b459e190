"""Probes: does what was installed work here? Only what the device's owner allowlisted is ever run, asked or looked at.

One call is one attempt; how often and when is the transaction's to decide. A probe that is not allowed fails, with the
reason, and `refusal` tells so before anything is switched.
"""

from __future__ import annotations

import os
import pwd
import re
import selectors
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tidegate.agent.parts import ProbeResult
from tidegate.agent.settings import Allow, ExecEntry
from tidegate.clock import Clock, SystemClock
from tidegate.wire.device import ExecProbe, FileProbe, HttpProbe, Probe

OUTPUT_MAX_BYTES = 4096
STATUS_LINE_MAX_BYTES = 4096
LOOK_SECONDS = 0.2
SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HTTP_PATH = re.compile(r"/[!-~]*")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")


class Interrupted(Exception):
    """The agent was asked to stop: what the probe would have said is not known."""


class Probes:
    """`allow` gives the allowlists in force now: the owner may change them while the agent runs."""

    def __init__(
        self, allow: Callable[[], Allow], clock: Clock | None = None, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self._allow = allow
        self._clock = clock or SystemClock()
        self._stopping = stopping

    def refusal(self, probe: Probe) -> str:
        """Why this device will not run `probe`; empty when it will."""
        allow = self._allow()
        match probe:
            case ExecProbe(name=name):
                entry = allow.exec.get(name)
                if entry is None:
                    return f"cannot run the probe {name}: this device's allowlist has no exec entry of that name"
                return _user_refusal(name, entry)
            case HttpProbe(port=port, path=path):
                if port not in allow.probe_ports:
                    return f"cannot ask port {port}: it is not in this device's allowlist of probe ports"
                return "" if _HTTP_PATH.fullmatch(path) else "cannot ask: the path has characters that HTTP forbids"
            case FileProbe(path=path):
                found = _below_a_prefix(path, allow)
                return "" if found else f"cannot look at {path}: it is below no path prefix of this device's allowlist"

    def attempt(self, probe: Probe, artifact: Path | None) -> ProbeResult:
        """Run `probe` once; exec probes find `artifact` in the variable TIDEGATE_ARTIFACT. Its failure never raises.

        Raises:
            Interrupted: `stopping` became true; nothing of an exec probe is left running.
        """
        if refused := self.refusal(probe):
            return ProbeResult(False, refused)
        deadline = self._clock.monotonic() + probe.timeout_seconds
        match probe:
            case ExecProbe(name=name):
                return self._exec(name, self._allow().exec[name], artifact, deadline, probe.timeout_seconds)
            case HttpProbe():
                return self._http(probe, deadline)
            case FileProbe(path=path):
                return _file(path, self._allow())

    def _exec(self, name: str, entry: ExecEntry, artifact: Path | None, deadline: float, seconds: int) -> ProbeResult:
        environment = {"PATH": SAFE_PATH, "LANG": "C.UTF-8"}
        if artifact is not None:
            environment["TIDEGATE_ARTIFACT"] = str(artifact)
        user, group, extra_groups = _switch_user(entry)
        try:
            process = subprocess.Popen(
                list(entry.argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd="/",
                start_new_session=True,
                user=user,
                group=group,
                extra_groups=extra_groups,
            )
        except (OSError, subprocess.SubprocessError) as error:
            return ProbeResult(False, f"cannot run the probe {name}: {error}")
        try:
            said, in_time = self._listen(process, deadline)
        finally:
            _kill_group(process)
        output = _printable(said)
        if not in_time:
            return ProbeResult(False, f"the probe {name} was ended after {seconds} s; it said: {output}")
        code = process.returncode
        if code == 0:
            return ProbeResult(True, output)
        how = f"exit status {code}" if code > 0 else f"signal {-code}"
        return ProbeResult(False, f"the probe {name} ended with {how}; it said: {output}")

    def _listen(self, process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bool]:
        """The last output of `process`, and whether it ended in time; its children may hold the pipe open longer."""
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        os.set_blocking(pipe, False)
        said = b""
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while (left := deadline - self._clock.monotonic()) > 0:
                if self._stopping():
                    raise Interrupted
                ended = process.poll() is not None
                if selector.select(0 if ended else min(left, LOOK_SECONDS)):
                    part = os.read(pipe, 65_536)
                    said = (said + part)[-OUTPUT_MAX_BYTES:]
                    if part:
                        continue
                    return said, _waited(process, deadline - self._clock.monotonic())
                if ended:
                    return said, True
        return said, False

    def _http(self, probe: HttpProbe, deadline: float) -> ProbeResult:
        where = f"http://127.0.0.1:{probe.port}{probe.path}"
        request = f"GET {probe.path} HTTP/1.1\r\nHost: 127.0.0.1:{probe.port}\r\nConnection: close\r\n\r\n".encode(
            "ascii"
        )
        answer = b""
        try:
            with socket.create_connection(("127.0.0.1", probe.port), timeout=probe.timeout_seconds) as connection:
                connection.sendall(request)
                while b"\n" not in answer and len(answer) < STATUS_LINE_MAX_BYTES:
                    connection.settimeout(max(deadline - self._clock.monotonic(), 0.001))
                    part = connection.recv(STATUS_LINE_MAX_BYTES - len(answer))
                    if not part or self._clock.monotonic() >= deadline:
                        break
                    answer += part
        except TimeoutError:
            return ProbeResult(False, f"{where} did not answer within {probe.timeout_seconds} s")
        except OSError as error:
            return ProbeResult(False, f"cannot ask {where}: {error.strerror or error}")
        found = _STATUS_LINE.match(answer)
        if found is None:
            return ProbeResult(False, f"{where} did not answer in HTTP within {probe.timeout_seconds} s")
        status = int(found[1])
        return ProbeResult(200 <= status < 300, f"{where} answered with status {status}")


def _file(path: str, allow: Allow) -> ProbeResult:
    resolved = _below_a_prefix(path, allow)
    if resolved is None:
        return ProbeResult(False, f"cannot look at {path}: it leads out of this device's allowlist")
    try:
        # Nothing is opened: a pipe or a device would block or answer. A link put there since resolving is not followed.
        facts = resolved.stat(follow_symlinks=False)
    except OSError as error:
        return ProbeResult(False, f"cannot look at {path}: {error.strerror}")
    if not stat.S_ISREG(facts.st_mode):
        return ProbeResult(False, f"{path} is not a regular file")
    if facts.st_size == 0:
        return ProbeResult(False, f"{path} is empty")
    return ProbeResult(True, f"{path} has {facts.st_size} bytes")


def _below_a_prefix(path: str, allow: Allow) -> Path | None:
    """`path` with every link resolved, when that is below an allowlisted prefix (links resolved there too)."""
    if "\0" in path:
        return None
    resolved = Path(os.path.realpath(path))
    for prefix in allow.path_prefixes:
        root = Path(os.path.realpath(prefix))
        if resolved != root and resolved.is_relative_to(root):
            return resolved
    return None


def _user_refusal(name: str, entry: ExecEntry) -> str:
    if not entry.user:
        return ""
    try:
        wanted = pwd.getpwnam(entry.user)
    except KeyError:
        return f"cannot run the probe {name}: there is no user {entry.user} on this device"
    if os.geteuid() not in (0, wanted.pw_uid):
        return f"cannot run the probe {name} as {entry.user}: the agent does not run as root"
    return ""


def _switch_user(entry: ExecEntry) -> tuple[int | None, int | None, list[int] | None]:
    """User, group and further groups to switch to; only root can, and `_user_refusal` has seen to that."""
    if not entry.user or os.geteuid() != 0:
        return None, None, None
    wanted = pwd.getpwnam(entry.user)
    return wanted.pw_uid, wanted.pw_gid, os.getgrouplist(wanted.pw_name, wanted.pw_gid)


def _waited(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(max(seconds, 0))
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Nothing that a probe started outlives it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _printable(data: bytes) -> str:
    text = data.decode("utf-8", "replace").strip()
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "�" for letter in text)
