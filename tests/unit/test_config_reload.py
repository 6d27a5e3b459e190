"""Telling a program to read its configuration anew: real programs, exactly as the owner allowlisted them.

Units are reloaded by a real systemd in tests/scenarios/test_agent_systemd.py.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tidegate.agent import reload as reloads
from tidegate.agent.payloads.base import NotTaken
from tidegate.agent.perform import Stopped
from tidegate.agent.program import OUTPUT_MAX_BYTES, Ended, Interrupted, Runner
from tidegate.agent.reload import Reloader
from tidegate.agent.settings import Allow
from tidegate.clock import SystemClock
from tidegate.errors import Refused
from tidegate.wire.config import ProgramReload, UnitReload


def program(text: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", text)


def reloader(*argvs: tuple[str, ...], stopping: bool = False) -> Reloader:
    allow = Allow(reload_argvs=argvs, units=("app.service",))
    return Reloader(lambda: allow, Runner(SystemClock(), lambda: stopping))


def test_the_program_runs_as_it_stands_without_a_shell(tmp_path: Path) -> None:
    text = f"import sys; open({str(tmp_path / 'told')!r}, 'w').write(repr(sys.argv[1:]))"
    argv = (*program(text), "$HOME; true", "*")
    reloader(argv).reload(ProgramReload(argv), "")
    assert (tmp_path / "told").read_text() == "['$HOME; true', '*']"


def test_what_fails_says_how_and_what_it_said_last() -> None:
    argv = program("print('x' * 100_000); print('no such level'); raise SystemExit(3)")
    with pytest.raises(NotTaken, match="ended with exit status 3") as failed:
        reloader(argv).reload(ProgramReload(argv), "")
    assert failed.value.output.endswith("no such level")
    assert len(failed.value.output) <= OUTPUT_MAX_BYTES


def test_what_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloads, "RELOAD_SECONDS", 0.5)
    argv = program("import time; print('waiting', flush=True); time.sleep(600)")
    with pytest.raises(NotTaken, match="was ended after"):
        reloader(argv).reload(ProgramReload(argv), "")


#: Makes itself a daemon as daemon(7) says it: twice forked, in a session of its own, its pipes closed.
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 64)
        with open(sys.argv[1], "w") as file:
            file.write(str(os.getpid()))
        os.rename(sys.argv[1], sys.argv[2])
        time.sleep(600)
    os._exit(0)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
if sys.argv[3] == "hang":
    time.sleep(600)
"""


def daemon(tmp_path: Path, then: str) -> tuple[str, ...]:
    return (*program(DAEMON), str(tmp_path / "made"), str(tmp_path / "pid"), then)


def lives(tmp_path: Path) -> bool:
    return Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()


def test_what_does_not_end_is_ended_with_the_daemon_it_has_started(tmp_path: Path) -> None:
    ended = Runner(SystemClock()).run(daemon(tmp_path, "hang"), 1.0, may_leave=True)
    assert "was ended after" in ended.how
    assert not lives(tmp_path)


def test_a_probe_leaves_no_daemon_and_a_reload_may(tmp_path: Path) -> None:
    for may_leave in (False, True):
        (tmp_path / "pid").unlink(missing_ok=True)
        assert Runner(SystemClock()).run(daemon(tmp_path, "end"), 20.0, may_leave=may_leave) == Ended("", "")
        assert lives(tmp_path) is may_leave
    # What an earlier program left on purpose is none of a later one's.
    left = (tmp_path / "pid").read_text()
    (tmp_path / "probe").mkdir()
    assert Runner(SystemClock()).run(daemon(tmp_path / "probe", "end"), 20.0).how == ""
    assert (lives(tmp_path), lives(tmp_path / "probe")) == (True, False)
    os.kill(int(left), signal.SIGKILL)


def test_asking_to_stop_ends_the_daemon_too(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        Runner(SystemClock(), (tmp_path / "pid").exists).run(daemon(tmp_path, "hang"), 60.0)
    assert not lives(tmp_path)


def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(NotTaken, match="cannot run /no/such/program: No such file"):
        reloader(("/no/such/program",)).reload(ProgramReload(("/no/such/program",)), "")


def test_nothing_begins_when_the_agent_is_asked_to_stop() -> None:
    argv = program("import time; time.sleep(600)")
    with pytest.raises(Stopped):
        reloader(argv, stopping=True).reload(ProgramReload(argv), "")


@pytest.mark.parametrize(
    "wanted",
    [
        ProgramReload(("/usr/sbin/app", "-s", "reload", "--config=/tmp/evil")),
        ProgramReload(("/usr/sbin/app", "-s")),
        ProgramReload(("/usr/sbin/app", "-s reload")),
        UnitReload("other.service"),
        UnitReload("app.socket"),
    ],
)
def test_what_differs_in_one_word_is_refused(wanted: ProgramReload | UnitReload) -> None:
    one = reloader(("/usr/sbin/app", "-s", "reload"))
    assert "allowlist" in one.refusal(wanted)
    with pytest.raises(Refused, match="allowlist"):
        one.reload(wanted, "active")
    with pytest.raises(Refused, match="allowlist"):
        one.before(wanted)


@pytest.mark.parametrize("unit", ["tidegate-agent.service", "tidegate-agent@x.service"])
def test_the_agents_own_unit_is_refused_whatever_the_owner_allows(unit: str) -> None:
    one = Reloader(lambda: Allow(units=(unit,)), Runner(SystemClock()))
    assert one.refusal(UnitReload(unit)) == f"cannot reload {unit}: it is the agent's own"
