"""The command line against a serving node: signing in with a second factor, and a fleet's settings."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyotp
import pytest
import structlog

from tidegate.cli import main as cli
from tidegate.control.app import Service
from tidegate.control.domain.second_factor import STEP_SECONDS
from tidegate.testing.serving import serving

PASSWORD = "correct horse battery staple"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    # Standard output is the command's: the node in this process logs nothing into it.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with serving(tmp_path_factory.mktemp("cli") / "node", PASSWORD) as running:
        yield running
    structlog.reset_defaults()


@pytest.fixture
def run(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("TIDEGATE_URL", service.addresses.console)
    monkeypatch.setenv("TIDEGATE_CA", str(service.settings.data_dir / "pki" / "server-ca.pem"))
    (tmp_path / "password").write_text(PASSWORD + "\n")

    def run_(*arguments: str, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as ended:
            cli.main([str(tmp_path / "password") if one == "PASSWORD" else one for one in arguments])
        told = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, told.out, told.err

    return run_


def _code(secret: str, steps: int) -> str:
    return pyotp.TOTP(secret).at(time.time() + steps * STEP_SECONDS)


def test_a_second_factor_is_set_up_asked_for_and_removed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    login = ("login", "--name", "admin", "--password-file", "PASSWORD")
    assert run(*login)[0] == 0
    shown: dict[str, str] = {}

    def code_of_what_is_shown(*_: Any, **__: Any) -> str:
        return _code(shown["secret"], -1)

    def told(self: Any, text: str) -> None:
        name, _, value = text.partition(": ")
        shown[name] = value

    with monkeypatch.context() as patch:  # a person reads the secret and types a code made from it
        patch.setattr("tidegate.cli.totp.click.prompt", code_of_what_is_shown)
        patch.setattr("tidegate.cli.output.Output.say", told)
        status, out, _ = run("--json", "totp", "enroll", "--password-file", "PASSWORD")
    assert status == 0
    codes = json.loads(out)["recovery_codes"]
    assert len(codes) == 10
    assert json.loads(run("--json", "totp", "status")[1])["recovery_codes_left"] == 10

    assert run(*login, "--code", "000000")[0] == 1
    status, _, err = run(*login, typed="")  # nobody is there to answer
    assert status != 0
    assert "Code" in err
    assert run(*login, typed=codes[0] + "\n")[0] == 0
    assert run(*login, "--code", codes[0])[0] == 1
    assert run(*login, "--code", _code(shown["secret"], 0))[0] == 0
    fresh = json.loads(run("--json", "totp", "recovery-codes", "--password-file", "PASSWORD", "--code", codes[1])[1])[
        "recovery_codes"
    ]
    assert not set(fresh) & set(codes)
    assert run("totp", "remove", "--password-file", "PASSWORD", "--code", codes[2])[0] == 1
    assert run("totp", "remove", "--password-file", "PASSWORD", "--code", fresh[0])[0] == 0
    assert run(*login)[0] == 0
    assert run("user", "remove-totp", "admin")[0] == 4  # not one's own in this way


def test_a_fleet_is_set_in_parts(run: Run, tmp_path: Path) -> None:
    assert run("login", "--name", "admin", "--password-file", "PASSWORD")[0] == 0
    (tmp_path / "strategy.json").write_text('{"waves": [{"percent": 10}, {"percent": 100}]}')
    (tmp_path / "wrong.json").write_text('{"waves": [{"percent": 0}]}')
    assert run("settings", "set")[0] == 2
    assert run("settings", "set", "--strategy-file", str(tmp_path / "wrong.json"))[0] == 1
    assert run("settings", "set", "--four-eyes", "--strategy-file", str(tmp_path / "strategy.json"))[0] == 0
    assert run("settings", "set", "--interval-seconds", "45", "--device-events-days", "9")[0] == 0
    shown = json.loads(run("--json", "settings", "show")[1])
    assert (shown["interval_seconds"], shown["four_eyes"], shown["device_events_days"]) == (45, True, 9)
    assert [wave["percent"] for wave in shown["default_strategy"]["waves"]] == ["10", "100"]
    assert run("settings", "set", "--no-four-eyes", "--no-strategy", "--node-device-events-days")[0] == 0
    shown = json.loads(run("--json", "settings", "show")[1])
    assert not shown.get("four_eyes")
    assert shown.get("default_strategy") is None
    assert "max_held" in run("settings", "node")[1]
