"""A node's life from the outside: made whole or not at all, served over real TLS, ended in time."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import urllib3

from tidegate.cli import main as cli
from tidegate.clock import SystemClock
from tidegate.control import settings
from tidegate.control.services import setup
from tidegate.control.store.engine import Database
from tidegate.errors import Conflict, Invalid, Unavailable
from tidegate.testing.postgres import Cluster

_PORTS: dict[str, str | int] = {
    "console_bind": "127.0.0.1:0", "device_bind": "127.0.0.1:0", "metrics_bind": "127.0.0.1:0",
}  # fmt: skip


# -- init -------------------------------------------------------------------------------------------------------------


def test_init_makes_a_whole_node_that_nobody_else_can_read(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    made = setup.initialise(folder, _PORTS, SystemClock())
    assert {path.name for path in folder.iterdir()} == {"tidegate.db", "blobs", "keys", "pki", "tidegate.toml"}
    for path in (*folder.rglob("*.pem"), *folder.rglob("*.key"), made.settings_file):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(made.password) >= 20
    assert made.password.encode() not in (folder / "tidegate.db").read_bytes()


def test_init_refuses_what_is_there(tmp_path: Path) -> None:
    setup.initialise(tmp_path / "node", _PORTS, SystemClock())
    before = sorted(path for path in (tmp_path / "node").rglob("*"))
    with pytest.raises(Conflict, match="there is a node already"):
        setup.initialise(tmp_path / "node", _PORTS, SystemClock())
    assert sorted(path for path in (tmp_path / "node").rglob("*")) == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(Conflict, match="not empty"):
        setup.initialise(tmp_path / "full", _PORTS, SystemClock())
    assert (tmp_path / "full" / "mine").exists()


def test_init_that_fails_leaves_nothing_and_can_be_run_again(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    nowhere = "postgresql://u@/x?host=/nowhere"
    for values, error in (({"trust_domain": "Bad!"}, Invalid), ({"database_url": nowhere}, Unavailable)):
        with pytest.raises(error):
            setup.initialise(folder, {**_PORTS, **values}, SystemClock())
        assert not folder.exists()
    (folder / ".init" / "keys").mkdir(parents=True)  # what a power cut in the middle leaves
    setup.initialise(folder, _PORTS, SystemClock())
    assert not (folder / ".init").exists()


def test_init_on_postgresql_is_all_or_nothing_too(tmp_path: Path, postgres_cluster: Cluster) -> None:
    with postgres_cluster.fresh("init_test") as url:
        values = {**_PORTS, "database_url": url}
        setup.initialise(tmp_path / "one", values, SystemClock())
        with pytest.raises(Conflict, match="holds a node already"):
            setup.initialise(tmp_path / "two", values, SystemClock())
        assert not (tmp_path / "two").exists()
        database = Database(url)
        with database.read() as tx:
            assert tx.exec_driver_sql("SELECT count(*) FROM fleets").scalar() == 1
        database.dispose()


def test_check_config_shows_every_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tidegate.toml"
    file.write_text("interval_seconds = 7\n")
    with pytest.raises(SystemExit) as ended:
        cli.main(["--json", "check-config", "--config", str(file)])
    assert ended.value.code == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["interval_seconds"] == 7
    assert set(shown) == set(settings.Settings.__struct_fields__)
    file.write_text('database_url = "postgresql://u@h/n"\ndatabase_password_file = "nothing"\n')
    with pytest.raises(SystemExit) as ended:
        cli.main(["check-config", "--config", str(file)])
    assert ended.value.code == 1
    assert "cannot read database_password_file" in capsys.readouterr().err
    file.write_text("colour = 1\n")
    with pytest.raises(SystemExit) as ended:
        cli.main(["check-config", "--config", str(file)])
    assert ended.value.code == 1
    assert "colour" in capsys.readouterr().err


# -- serve ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Running:
    process: subprocess.Popen[str]
    folder: Path
    console: str
    channel: str
    metrics: str
    password: str

    def get(self, url: str) -> urllib3.BaseHTTPResponse:
        with urllib3.PoolManager(ca_certs=str(self.folder / "pki" / "server-ca.pem"), retries=False) as pool:
            return pool.request("GET", url)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("life") / "node"
    made = setup.initialise(folder, _PORTS, SystemClock())
    argv = [sys.executable, "-m", "tidegate.cli.main", "--json", "serve", "--config", str(made.settings_file)]
    with (folder.parent / "log").open("w") as log:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        told = json.loads("".join(lines))
        yield Running(process, folder, told["console"], told["channel"], told["metrics"], made.password)
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def _address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("https://").rpartition(":")
    return host, int(port)


def test_a_served_node_is_ready_and_counts(running: Running) -> None:
    assert running.get(f"{running.console}/readyz").json() == {
        "ready": True, "checks": ["database", "blobs", "keys", "workers", "channel"], "warnings": [],
    }  # fmt: skip
    answer = running.get(f"{running.console}/v1/nothing")
    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"]
    assert "server" not in answer.headers
    text = running.get(running.metrics).data.decode()
    assert 'tidegate_http_requests_total{listener="console",method="GET",status="404"} 1.0' in text


def _connected(running: Running, url: str) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(running.folder / "pki" / "server-ca.pem"))
    return context.wrap_socket(socket.create_connection(_address(url), timeout=10), server_hostname="127.0.0.1")


def test_the_device_channel_takes_no_connection_without_a_device_certificate(running: Running) -> None:
    with _connected(running, running.channel) as tls:
        try:  # with TLS 1.3 the client believes it is connected, and learns better at its first read
            tls.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            received = tls.recv(100)
        except (ssl.SSLError, ConnectionError):
            received = b""
    assert received == b""


def test_nothing_older_than_tls_1_3_is_spoken(running: Running) -> None:
    context = ssl.create_default_context(cafile=str(running.folder / "pki" / "server-ca.pem"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    for url in (running.console, running.channel):
        with socket.create_connection(_address(url), timeout=10) as raw, pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(raw, server_hostname="127.0.0.1")


def test_headers_without_end_are_cut_off(running: Running) -> None:
    with _connected(running, running.console) as tls:
        tls.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * (65 * 1024))
        assert tls.recv(100).startswith(b"HTTP/1.1 431")


def test_the_command_line_signs_in_and_its_exit_codes_hold(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    ca = str(running.folder / "pki" / "server-ca.pem")
    (tmp_path / "password").write_text(running.password + "\n")
    (tmp_path / "wrong").write_text("not the password\n")

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            cli.main(["--json", *arguments])
        assert isinstance(ended.value.code, int)
        return ended.value.code

    sign_in = ("--url", running.console, "--ca", ca, "login", "--name", "admin", "--password-file")
    assert run("user", "list") == 4
    assert run(*sign_in, str(tmp_path / "wrong")) == 4
    assert run("--url", running.console, "login", "--name", "admin", "--password-file", str(tmp_path / "password")) == 6
    assert run("--url", "https://127.0.0.1:9", *sign_in[2:], str(tmp_path / "password")) == 5
    assert run(*sign_in, str(tmp_path / "password")) == 0
    kept = tmp_path / "tidegate" / "contexts.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    capsys.readouterr()
    assert run("user", "create", "bob", "--role", "viewer") == 0
    created = json.loads(capsys.readouterr().out)
    assert created["password"]
    assert run("user", "create", "bob") == 1
    assert run("user", "disable", "nobody") == 3
    assert run("user", "nonsense") == 2
    assert run("key", "create", "ci", "--role", "viewer", "--output", str(tmp_path / "key")) == 0
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert "secret" not in capsys.readouterr().out
    as_key = ("--url", running.console, "--ca", ca, "--key-file", str(tmp_path / "key"))
    assert run(*as_key, "whoami") == 0
    assert json.loads(capsys.readouterr().out)["actor"] == "apikey:ci"
    assert run(*as_key, "user", "list") == 4
    assert run("audit", "verify", "--node") == 0
    assert run("audit", "export", "--node", str(tmp_path / "export")) == 0
    assert run("audit", "verify", str(tmp_path / "export"), "--signature", str(tmp_path / "export.sig")) == 0
    signature = tmp_path / "export.sig"
    signed = json.loads(signature.read_text())
    signature.write_text(json.dumps({**signed, "signature": "A" * 86 + "=="}))
    assert run("audit", "verify", str(tmp_path / "export"), "--signature", str(signature)) == 6
    assert run("logout") == 0
    assert "secret" not in next(iter(json.loads(kept.read_text())["contexts"].values()))


def test_a_node_ends_within_seconds_of_being_told_to(running: Running) -> None:
    started = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(timeout=20) == 0
    assert time.monotonic() - started < 12
    log = (running.folder.parent / "log").read_text()
    assert "stopping" in log
    assert running.password not in log
    assert "Traceback" not in log


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    from tidegate.control import app

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        made = setup.initialise(tmp_path / "node", {**_PORTS, "device_bind": bind}, SystemClock())
        with pytest.raises(Unavailable, match="device_bind"):
            app.Service(settings.load(made.settings_file))
