"""Probes: does what was installed work here? Only what the device's owner allowlisted is ever run, asked or looked at.

One call is one attempt; how often and when is the transaction's to decide. A probe that is not allowed fails, with the
reason, and `refusal` tells so before anything is switched.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from tidegate.agent.parts import ProbeResult
from tidegate.agent.program import Runner, user_refusal
from tidegate.agent.settings import Allow, ExecEntry
from tidegate.clock import Clock, SystemClock
from tidegate.wire.device import ExecProbe, FileProbe, HttpProbe, Probe

STATUS_LINE_MAX_BYTES = 4096
_HTTP_PATH = re.compile(r"/[!-~]*")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")


class Probes:
    """`allow` gives the allowlists in force now: the owner may change them while the agent runs."""

    def __init__(
        self, allow: Callable[[], Allow], clock: Clock | None = None, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self._allow = allow
        self._clock = clock or SystemClock()
        self._runner = Runner(self._clock, stopping)

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
        match probe:
            case ExecProbe(name=name):
                return self._exec(name, self._allow().exec[name], artifact, probe.timeout_seconds)
            case HttpProbe():
                return self._http(probe, self._clock.monotonic() + probe.timeout_seconds)
            case FileProbe(path=path):
                return _file(path, self._allow())

    def _exec(self, name: str, entry: ExecEntry, artifact: Path | None, seconds: int) -> ProbeResult:
        more = {} if artifact is None else {"TIDEGATE_ARTIFACT": str(artifact)}
        try:
            ended = self._runner.run(entry.argv, seconds, user=entry.user, more=more)
        except OSError as error:
            return ProbeResult(False, f"cannot run the probe {name}: {error}")
        if ended.how:
            return ProbeResult(False, f"the probe {name} {ended.how}; it said: {ended.output}")
        return ProbeResult(True, ended.output)

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
    refused = user_refusal(entry.user)
    return f"cannot run the probe {name} as {entry.user}: {refused}" if refused else ""
