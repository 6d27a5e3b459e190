"""Settings are refused by name; secrets never reach the log."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
import structlog

from tidegate.control import settings
from tidegate.errors import Invalid


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("colour = 1", "colour"),
        ("interval_seconds = 0", "interval_seconds"),
        ('console_bind = "8443"', "console_bind"),
        ('device_bind = "[::x]:1"', "device_bind"),
        ('metrics_bind = "localhost:99999"', "metrics_bind"),
        ('console_url = "http://node"', "console_url"),
        ('channel_url = "https://node/path"', "channel_url"),
        ('enroll_bind = "8444"', "enroll_bind"),
        ('enroll_bind = "0.0.0.0:8444"\nenroll_url = "http://x y/"', "enroll_url"),
        ('enroll_url = "https://node:8444"', "enroll_url"),
        ('trust_domain = "Bad Domain"', "trust_domain"),
        ('database_url = "mysql://host/name"', "database_url"),
        ('database_url = "postgresql://u:secret@host/name"', "database_url"),
        ('database_password_file = "p"', "database_password_file"),
        ("data_dir = 3", "data_dir"),
        ('log_format = "xml"', "log_format"),
        ("= 1", "TOML"),
    ],
)
def test_what_cannot_be_used_is_named(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=named) as caught:
        settings.parse(text, folder=tmp_path)
    assert caught.value.detail.startswith("cannot ")
    assert "secret" not in caught.value.detail


def test_a_file_that_is_wrong_or_missing_is_named_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "tidegate.toml"
    with pytest.raises(Invalid, match="tidegate init"):
        settings.load(file)
    file.write_text("wibble = 1\n")
    with pytest.raises(Invalid, match=rf"wibble.*, in {file}"):
        settings.load(file)


def test_what_init_writes_is_what_serve_reads(tmp_path: Path) -> None:
    values: dict[str, str | int] = {"console_bind": "[::1]:0", "trust_domain": "a.b", "interval_seconds": 5}
    (tmp_path / "tidegate.toml").write_text(settings.render(values))
    read = settings.load(tmp_path / "tidegate.toml")
    assert (read.data_dir, read.interval_seconds) == (tmp_path, 5)
    assert settings.split_bind(read.console_bind) == ("::1", 0)
    assert read.effective_database_url == f"sqlite:///{tmp_path}/tidegate.db"


def test_the_database_password_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("s3cret\nsecond line\n")
    text = 'database_url = "postgresql://u@h/n"\ndatabase_password_file = "p"'
    assert settings.parse(text, folder=tmp_path).effective_database_url == "postgresql://u:s3cret@h/n"


def test_no_secret_reaches_the_log(log_text: io.StringIO) -> None:
    log = structlog.get_logger()
    password = "hunter2-hunter2"
    try:
        raise ValueError("key tg_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA is wrong")
    except ValueError as error:
        log.exception("failed", exc_info=error)
    log.info("signed in", password=password, nested={"session_secret": "abc-secret", "fine": [{"csrf": "def-secret"}]})
    log.info("url postgresql://u:ghi-secret@host/name", authorization="Bearer jkl-secret")
    log.info("pem", value="-----BEGIN PRIVATE KEY-----\nMC4CAQAwmno\n-----END PRIVATE KEY-----")
    logging.getLogger("elsewhere").warning("session %s", "tgs_BBBBBBBBBBBBBBBBBBBBBBBB")
    text = log_text.getvalue()
    for secret in (password, "AAAAAAA", "BBBBBBB", "abc-secret", "def-secret", "ghi-secret", "jkl-secret", "mno"):
        assert secret not in text
    assert "signed in" in text
    assert "ValueError" in text


def test_json_lines_are_json(log_text: io.StringIO, request: pytest.FixtureRequest) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger().warning("told", n=1)
    structlog.get_logger().debug("not told")
    (line,) = log_text.getvalue().splitlines()
    if line.startswith("{"):
        said = json.loads(line)
        assert (said["event"], said["n"], said["level"], said["request_id"]) == ("told", 1, "warning", "r1")
