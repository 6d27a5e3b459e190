"""Groups, selectors and sheets on the command line, against a real node."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tidegate.cli import main as cli
from tidegate.testing import live
from tidegate.testing.channel import csr, new_key
from tidegate.testing.live import LiveNode
from tidegate.testing.processes import Processes

Run = Callable[..., tuple[int, str, str]]
PLANT = 'tags.site == "plant-7"'


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """Three devices, one of them on arm64."""
    folder = tmp_path_factory.mktemp("groups")
    made = live.initialise(folder / "data")
    with Processes(folder / "logs") as processes:
        live.serve(made, processes)
        yield made


@pytest.fixture
def run(real: LiveNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "password").write_text(real.password + "\n")

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(["--url", real.console_url, "--ca", str(real.ca), *arguments])
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    assert run("login", "--name", real.admin, "--password-file", str(tmp_path / "password"))[0] == 0
    return run


def data(run: Run, *arguments: str) -> Any:
    code, out, err = run("--json", *arguments)
    assert code == 0, err
    return json.loads(out)


def enroll(real: LiveNode, secret: str, name: str, arch: str) -> None:
    body = {
        "token": secret,
        "device": name,
        "csr_pem": csr(new_key()),
        "agent_version": "1",
        "hardware": {"arch": arch},
    }
    live.Api(real.console_url, real.ca).call("POST", "/v1/enroll", body)


def test_groups_selectors_and_sheets(real: LiveNode, run: Run, tmp_path: Path) -> None:
    secret = run("token", "mint", "--uses", "3")[1].strip()
    for name, arch in (("a", "arm64"), ("b", "amd64"), ("c", "arm64")):
        enroll(real, secret, name, arch)
    assert run("group", "create", "lab")[0] == 0
    sheet = tmp_path / "devices.csv"
    sheet.write_text("name,groups,tag:site\na,lab,plant-7\nb,,plant-7\nnew,lab,plant-9\n")

    code, out, err = run("device", "import", str(sheet), "--yes")
    assert (code, out) == (1, "")
    assert "line 4: no active device is called new" in err
    assert data(run, "device", "import", str(sheet), "--dry-run", "--unknown", "skip")["done"] is False
    tokens = tmp_path / "tokens.csv"
    code, out, err = run("device", "import", str(sheet), "--unknown", "enroll", "--tokens", str(tokens), "--yes")
    assert code == 0, err
    assert stat.S_IMODE(tokens.stat().st_mode) == 0o600
    header, row = tokens.read_text().splitlines()
    assert header == "name,token,expires_at"
    assert row.startswith("new,tge_")
    assert "tge_" not in out + err
    code, _, err = run("device", "import", str(sheet), "--unknown", "enroll", "--tokens", str(tokens), "--yes")
    assert code == 1
    assert "it exists" in err, "what would be lost is not minted"
    enroll(real, row.split(",")[1], "new", "arm64")
    exported = run("device", "export")[1].splitlines()
    assert exported == ["name,groups,tag:site", "a,lab,plant-7", "b,,plant-7", "c,,", "new,lab,plant-9"]

    code, out, _ = run("group", "preview", PLANT, "--device", "c")
    assert code == 0
    assert out.splitlines()[0] == "2 match: a, b"
    assert "c does not match" in out
    assert 'tags.site == "plant-7": the device has tags.site not set' in out
    code, _, err = run("group", "create", "plant", "--selector", "tag.site == 1")
    assert code == 1
    assert "cannot read the selector: at character 1, there is no column tag.site; did you mean tags.site?" in err
    assert run("group", "create", "plant", "--selector", PLANT)[0] == 0
    assert data(run, "group", "show", "plant")["size"] == 2
    assert run("group", "change", "plant", "--rename", "plant-7", "--selector", f'{PLANT} and arch == "arm64"')[0] == 0
    listed = data(run, "group", "list")["items"]
    assert [(one["name"], one["size"]) for one in listed] == [("lab", 2), ("plant-7", 1)]
    found = data(run, "device", "list", "--selector", 'arch == "arm64" and tags.site startswith "plant-"')
    assert [one["name"] for one in found["items"]] == ["a", "new"]
