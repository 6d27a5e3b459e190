"""The agent's status in words: in every state it says what runs, what it waits for, and why."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tidegate.agent.identity import Certificate, Enrollment, Final, Identity
from tidegate.agent.settings import Loaded, Settings
from tidegate.agent.standing import Standing, at_rest
from tidegate.agent.status import CONNECTED, Status, StatusServer, ask, in_words
from tidegate.agent.view import View
from tidegate.wire.device import InProgress, Installed

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
VAD = Installed("vad", "2", "a" * 64, "1")


def status(**fields: object) -> Status:
    given = {"agent_version": "0.1.0", "running": True, "connection": CONNECTED, "device": "cam-7", "fleet": "plant"}
    return Status(**given | fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (status(), ["runs         nothing yet", "waits for    nothing: the node wants nothing else"]),
        (status(installed=(VAD,)), ["vad 2, before that 1", "waits for    nothing: the node wants nothing else"]),
        (status(device="", running=False), ["not enrolled", "waits for    enrollment: tidegate-agent enroll"]),
        (
            status(running=False, connection="the agent does not run", installed=(VAD,)),
            ["the agent does not run", "vad 2", "waits for    somebody to start it"],
        ),
        (status(connection="not connected yet"), ["waits for    its node, to learn what it should run"]),
        (
            status(connection="cannot reach https://node: it does not answer in time"),
            ["connection   cannot reach https://node", "waits for    its node"],
        ),
        (
            status(in_progress=(InProgress("r1", "downloading", "40 %"),)),
            ["downloading  r1 (40 %)", "waits for    nothing: it is working"],
        ),
        (status(in_progress=(InProgress("r1", "verifying"),)), ["verifying    r1", "it is working"]),
        (
            status(in_progress=(InProgress("r1", "ready"),), waiting_on="the rollout is halted"),
            ["ready        r1", "waits for    the rollout is halted"],
        ),
        (status(in_progress=(InProgress("r1", "applying"),)), ["applying     r1", "it is working"]),
        (status(in_progress=(InProgress("r1", "probing", "trial 2"),)), ["probing      r1 (trial 2)", "is working"]),
        (
            status(in_progress=(InProgress("r1", "applying", "rolling back: probe failed"),)),
            ["applying     r1 (rolling back: probe failed)"],
        ),
        (
            status(waiting_on="held on the device by /run/tidegate/inhibit: belt is running"),
            ["waits for    held on the device by /run/tidegate/inhibit: belt is running"],
        ),
        (status(problems=("cannot renew the certificate",)), ["problem      cannot renew the certificate"]),
        (status(reports_waiting=3), ["reports      3 not yet acknowledged by the node"]),
        (
            status(last_contact=NOW, certificate_ends=NOW, certificate_renews=NOW - timedelta(days=30)),
            ["last contact 2026-03-01 12:00:00 UTC", "ends 2026-03-01 12:00:00 UTC, is renewed from 2026-01-30"],
        ),
    ],
)
def test_every_state_says_what_runs_and_what_it_waits_for(said: Status, words: list[str]) -> None:
    text = "\n".join(in_words(said))
    for one in words:
        assert one in text
    assert text.count("waits for") == 1


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("device-decommissioned", "this device was decommissioned; its key and certificate are gone"),
        ("certificate-replaced", "another certificate has taken this device's name"),
        ("something-later", "something-later"),
    ],
)
def test_what_is_over_says_why_and_what_helps(tmp_path: Path, kind: str, words: str) -> None:
    identity = Identity(tmp_path / "identity")
    identity.store_enrollment(Enrollment("cam-7", "plant", "https://node", 30, ""))
    identity.note_final(Final(kind, "in the node's words", NOW))
    text = "\n".join(in_words(at_rest(Loaded(Settings(str(tmp_path), str(tmp_path / "run")), "", ()))))
    assert words in text
    assert "in the node's words" in text
    assert "waits for    a new enrollment" in text


def test_a_damaged_identity_is_told_and_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity/enrollment.json").write_text("{")
    text = "\n".join(in_words(at_rest(Loaded(Settings(str(tmp_path), str(tmp_path / "run")), "", ()))))
    assert "problem      cannot use" in text


def standing(tmp_path: Path) -> Standing:
    loaded = Loaded(Settings(str(tmp_path), str(tmp_path / "run")), "", ())
    certificate = Certificate(tmp_path / "x", "t", "plant", "cam-7", NOW, NOW + timedelta(days=90))
    return Standing(View(tmp_path), loaded, Enrollment("cam-7", "plant", "https://node", 30, ""), certificate)


@pytest.mark.parametrize("trouble", ["disk_trouble", "renewal_trouble", "notice"])
def test_every_trouble_reaches_status_and_heartbeat(tmp_path: Path, trouble: str) -> None:
    found = standing(tmp_path)
    setattr(found, trouble, "cannot do this")
    found.waiting_on = "the rollout is halted"
    assert "cannot do this" in found.status().problems
    assert found.waits() == "the rollout is halted; cannot do this"


def test_one_who_does_not_read_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    large = status(problems=("x" * 1_000_000,))
    server = StatusServer(tmp_path / "run", lambda: large)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(tmp_path / "run/agent.sock"))
        assert ask(Settings(str(tmp_path), str(tmp_path / "run"))) == large
    assert (tmp_path / "run/agent.sock").stat().st_mode & 0o777 == 0o660
    server.close()
    assert not (tmp_path / "run/agent.sock").exists()
