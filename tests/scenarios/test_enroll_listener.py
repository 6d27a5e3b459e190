"""`enroll_bind`: new devices reach enrollment and the installer, and nothing else of the node."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.control.app import Service
from tidegate.testing.live import AGENT, Api, ApiError
from tidegate.testing.serving import serving

PASSWORD = "a long password of an admin"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("enroll") / "node", PASSWORD, enroll_bind="127.0.0.1:0") as started:
        yield started


def _at(service: Service, url: str, secret: str = "") -> Api:
    return Api(url, service.settings.data_dir / "pki" / "server-ca.pem", secret)


def _operator(service: Service) -> Api:
    console = service.settings.effective_console_url
    session = _at(service, console).call("POST", "/v1/sessions", {"name": "admin", "password": PASSWORD})
    return _at(service, console, session["secret"])


def _status(api: Api, method: str, path: str) -> int:
    with pytest.raises(ApiError) as refused:
        api.call(method, path, {} if method == "POST" else None)
    return refused.value.status


def test_a_device_enrolls_there_and_the_printed_command_leads_there(service: Service, tmp_path: Path) -> None:
    minted = _operator(service).call("POST", "/v1/tokens", {"device_name": "boat-1"})
    url = service.settings.effective_enroll_url
    assert url not in (service.settings.effective_console_url, service.settings.effective_channel_url)
    assert f"{url}/install/install.sh" in minted["installer"]["command"]
    assert f"--url {url}" in minted["installer"]["command"]
    (tmp_path / "agent.toml").write_text(f'state_dir = "{tmp_path}/state"\nrun_dir = "{tmp_path}/run"\n')
    done = subprocess.run(
        [*AGENT, "--config", str(tmp_path / "agent.toml"), "enroll", "--url", url,
         "--token-stdin", "--ca", str(service.settings.data_dir / "pki" / "server-ca.pem"),
         "--root-sha256", minted["installer"]["root_sha256"]],
        input=minted["secret"], capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert _operator(service).call("GET", "/v1/devices/boat-1")["device"]["state"] == "active"


def test_nothing_of_the_operators_answers_there(service: Service) -> None:
    there = _at(service, service.settings.effective_enroll_url, _operator(service).secret)
    for method, path in (
        ("GET", "/v1/devices"), ("POST", "/v1/sessions"), ("GET", "/v1/openapi.json"), ("POST", "/v1/tokens"),
        ("GET", "/signin"), ("GET", "/"), ("GET", "/v1/warnings"),
    ):  # fmt: skip
        assert _status(there, method, path) == 404, path
    assert there.call("GET", "/healthz") == {"alive": True}


def test_the_console_no_longer_answers_new_devices(service: Service) -> None:
    console = _at(service, service.settings.effective_console_url)
    assert _status(console, "POST", "/v1/enroll") == 404
    assert _status(console, "GET", "/install/root.json") == 404
