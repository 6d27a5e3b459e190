"""Logs on request, on the device: what the owner allows, its end, within bounds."""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import threading
from pathlib import Path
from random import Random

import pytest

from tidegate.agent import logs
from tidegate.agent.backoff import Backoff
from tidegate.agent.beat import LogSent
from tidegate.agent.settings import Allow, Source, load
from tidegate.errors import Invalid, NotFound, Unavailable
from tidegate.testing.clock import FakeClock
from tidegate.wire.device import LOG_BUNDLE_BYTES_MAX, LogRequest

LINES = b"".join(b"line %d\n" % number for number in range(100_000))


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_bytes(LINES)
    return path


def read(path: Path, most: int) -> bytes:
    return gzip.decompress(logs.collect("app", {"app": str(path)}, most))


def test_the_end_of_a_file_in_whole_lines(app: Path) -> None:
    assert read(app, 20) == b"line 99999\n"
    found = read(app, 700_000)
    assert LINES.endswith(found)
    assert found.startswith(b"line ")
    assert 699_000 < len(found) <= 700_000
    assert read(app, len(LINES)) == read(app, 1 << 24) == LINES
    app.write_bytes(b"")
    assert read(app, 1000) == b""
    app.write_bytes(b"x" * 1000)
    assert read(app, 100) == b"x" * 100  # one long line: its end


def test_what_packs_badly_is_cut_from_the_front_until_it_fits(app: Path) -> None:
    noise = random.Random(1).randbytes(LOG_BUNDLE_BYTES_MAX * 2)
    app.write_bytes(noise)
    packed = logs.collect("app", {"app": str(app)}, len(noise))
    assert len(packed) <= LOG_BUNDLE_BYTES_MAX
    assert noise.endswith(gzip.decompress(packed))
    assert len(gzip.decompress(packed)) > LOG_BUNDLE_BYTES_MAX // 4


def test_only_what_the_owner_allows_and_never_where_it_is(tmp_path: Path, app: Path) -> None:
    (tmp_path / "link").symlink_to(app)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "of root").write_text("secret")
    (tmp_path / "hard").hardlink_to(tmp_path / "of root")
    for name, sources in (
        ("app", {}),
        ("app", {"kernel": str(app)}),
        ("app", {"app": str(tmp_path / "missing")}),
        ("app", {"app": str(tmp_path / "link")}),
        ("app", {"app": str(tmp_path / "hard")}),
        ("app", {"app": str(tmp_path / "pipe")}),
        ("app", {"app": str(tmp_path)}),
        ("app", {"app": "/dev/zero"}),
        ("app", {"app": "/"}),
    ):
        with pytest.raises(NotFound, match="cannot read the log app: ") as found:
            logs.collect(name, sources, 1000)
        assert str(tmp_path) not in found.value.detail
        assert "/dev/zero" not in found.value.detail


def test_a_link_on_the_way_is_not_followed_whenever_it_is_planted(tmp_path: Path) -> None:
    """Whoever may write to a folder above the log would choose any file of that name."""
    secret, folder, aside = tmp_path / "secret", tmp_path / "var/log", tmp_path / "var/aside"
    for made in (secret, folder / "app"):
        made.mkdir(parents=True)
    (secret / "app.log").write_text("secret")
    (folder / "app/app.log").write_text("log")
    path = folder / "app/app.log"
    assert read(path, 100) == b"log"
    (folder / "app").rename(aside)
    (folder / "app").symlink_to(secret)
    with pytest.raises(NotFound, match="a link is on the way to it; the device's owner must name its real path"):
        read(path, 100)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (folder / "app").unlink()
            aside.rename(folder / "app")
            (folder / "app").rename(aside)
            (folder / "app").symlink_to(secret)

    hostile = threading.Thread(target=swap)
    hostile.start()
    found = set()
    try:
        for _ in range(500):
            with contextlib.suppress(NotFound):
                found.add(read(path, 100))
    finally:
        stop.set()
        hostile.join()
    assert found <= {b"log"}


def test_the_journal_of_a_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in place of journalctl shows what it is called with; the real one is asked on a booted system."""
    journal = tmp_path / "journalctl"
    journal.write_text('#!/bin/sh\nfor one in "$@"; do echo "$one"; done\nexit ${STATUS:-0}\n')
    journal.chmod(0o755)
    monkeypatch.setattr(logs, "_JOURNALCTL", (str(tmp_path / "nowhere"), str(journal)))
    said = gzip.decompress(logs.collect("web", {"web": "unit:web@1.service"}, 64_000)).decode().splitlines()
    assert said[:2] == ["--unit=web@1.service", "--lines=1000"]
    journal.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(NotFound, match="ended with status 3"):
        logs.collect("web", {"web": "unit:web.service"}, 64_000)
    journal.write_text("#!/bin/sh\nwhile echo 0123456789; do :; done\n")
    monkeypatch.setattr(logs, "JOURNAL_SECONDS", 0.3)
    with pytest.raises(NotFound, match="did not answer"):
        logs.collect("web", {"web": "unit:web.service"}, 64_000)


@pytest.mark.parametrize(
    "target", ["app.log", "unit:", "unit:-x.service", "unit:a b", "unit:a\n", "/a\x00b", "file:/x"]
)
def test_settings_refuse_what_is_neither_file_nor_unit(tmp_path: Path, target: str) -> None:
    file = tmp_path / "agent.toml"
    escaped = target.replace("\n", "\\n").replace("\x00", "\\u0000")
    file.write_text(f'state_dir = "{tmp_path}"\nrun_dir = "{tmp_path}"\n[allow.log_sources]\napp = "{escaped}"\n')
    with pytest.raises(Invalid, match=r"log_sources"):
        load(Source(file, {}, {}))
    assert Allow().log_sources == {}


@pytest.mark.parametrize("target", ["state/identity/current/device.pem", "log/../state/x", "link/device.pem"])
def test_settings_refuse_the_folder_in_which_the_key_lies(tmp_path: Path, target: str) -> None:
    (tmp_path / "state/identity").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "state/identity")
    file = tmp_path / "agent.toml"
    file.write_text(
        f'state_dir = "{tmp_path}/state"\nrun_dir = "{tmp_path}"\n'
        f'[allow.log_sources]\napp = "{tmp_path}/{target}"\nweb = "unit:web.service"\n'
    )
    with pytest.raises(Invalid, match=r"log_sources\.app must not lie in"):
        load(Source(file, {}, {}))


def test_a_broken_world_is_tried_again_and_a_refusal_is_not() -> None:
    clock = FakeClock()
    desk = logs.Logs(lambda _: None, clock, Backoff(Random(1), first_seconds=4.0))
    requests = (LogRequest(1, "app", 10), LogRequest(2, "app", 10))
    assert desk.due_in() == float("inf")
    desk.asked(requests)
    desk.asked(requests)
    assert desk.due_in() == 0
    desk.sent(LogSent(1, Unavailable("cannot reach it", retry_after_seconds=1)))
    assert 1 < desk.due_in() <= 5
    clock.advance(5)
    desk.sent(LogSent(1))
    desk.sent(LogSent(2, NotFound("cannot find log request 2")))
    assert desk.due_in() == float("inf")
    desk.close(5)
