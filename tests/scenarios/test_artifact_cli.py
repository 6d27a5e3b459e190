"""The command line against a real node: publish, verify, withdraw, and sign where the publisher key is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tidegate.testing import live
from tidegate.testing.live import ApiError, LiveNode
from tidegate.testing.processes import Processes

pytestmark = pytest.mark.slow
CONTENT = os.urandom(9 << 20)  # more than one piece


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    folder = tmp_path_factory.mktemp("live")
    made = live.initialise(folder / "data")
    with Processes(folder / "logs") as processes:
        live.serve(made, processes)
        yield made


class Machine:
    """An operator's machine, with a home of its own."""

    def __init__(self, node: LiveNode, folder: Path) -> None:
        self._node, self.folder = node, folder
        self._environment = {
            **os.environ,
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "state"),
        }
        (folder / "password").write_text(node.password)
        self("login", "--name", node.admin, "--password-file", str(folder / "password"))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*live.TIDEGATE, "--json", "--url", self._node.console_url, "--ca", str(self._node.ca), *arguments]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=60, check=False)

    def __call__(self, *arguments: str) -> Any:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def machine(node: LiveNode, tmp_path: Path) -> Machine:
    (tmp_path / "model.onnx").write_bytes(CONTENT)
    return Machine(node, tmp_path)


def test_publish_show_verify_and_withdraw(machine: Machine) -> None:
    file = str(machine.folder / "model.onnx")
    made = machine("artifact", "publish", "vad", "5", file, "--framework", "onnx", "--license", "MIT")
    assert (made["name"], made["version"], made["size_bytes"]) == ("vad", "5", len(CONTENT))
    shown = machine("artifact", "show", "vad", "5")
    assert shown["files"] == [
        {"name": "model.onnx", "sha256": hashlib.sha256(CONTENT).hexdigest(), "length": len(CONTENT)}
    ]
    assert shown["manifest"] == {"framework": "onnx", "license": "MIT"}
    root = str(machine.folder / "root.json")
    exported = machine("trust", "export-root", root)
    assert exported["sha256"] == machine("trust", "status")["root_sha256"]
    verified = machine("trust", "verify", "--root", root, *shown["target_paths"])
    assert next(one["sha256"] for one in verified["targets"]) == made["descriptor_sha256"]
    again = machine.run("artifact", "publish", "vad", "5", file, "--framework", "onnx")
    assert (again.returncode, again.stdout) == (1, "")
    assert "a version never changes" in again.stderr
    machine("artifact", "withdraw", "vad", "5", "--reason", "crashes")
    gone = machine.run("trust", "verify", "--root", root, *shown["target_paths"])
    assert gone.returncode == 6
    assert [one["version"] for one in machine("artifact", "list", "--state", "withdrawn")["items"]] == ["5"]
    assert machine.run("artifact", "show", "vad", "404").returncode == 3


def test_an_upload_goes_on_where_it_broke_off(node: LiveNode, machine: Machine) -> None:
    api = node.sign_in()
    begun = api.call("POST", "/v1/uploads", {"file_name": "model.onnx", "length": len(CONTENT)})
    sent = api.call("PATCH", f"/v1/uploads/{begun['id']}", raw=CONTENT[: 5 << 20], offset=0)
    assert (sent["received"], sent["sha256"]) == (5 << 20, None)
    for offset in ("0", "-1", "x", ""):
        with pytest.raises(ApiError):
            api.call("PATCH", f"/v1/uploads/{begun['id']}", raw=b"x", offset=offset)
    done = machine("artifact", "upload", str(machine.folder / "model.onnx"), "--upload", begun["id"])
    assert done["sha256"] == hashlib.sha256(CONTENT).hexdigest()


def test_signing_where_the_publisher_key_is(node: LiveNode, machine: Machine) -> None:
    file, root = str(machine.folder / "model.onnx"), str(machine.folder / "root.json")
    machine("artifact", "publish", "det", "1", file, "--framework", "onnx")
    machine("trust", "export-root", root)
    on_node = node.data_dir / "keys" / "online" / "default" / "publisher.pem"
    key = str(shutil.move(on_node, machine.folder / "publisher.pem"))
    try:
        refused = machine.run("artifact", "publish", "det", "2", file, "--framework", "onnx")
        assert refused.returncode == 1
        assert "publisher key is not on this node" in refused.stderr
        unrooted = machine.run("artifact", "publish", "det", "2", file, "--framework", "onnx", "--sign", key)
        assert unrooted.returncode == 1
        assert "--root" in unrooted.stderr
        signed = ("--sign", key, "--root", root)
        machine("artifact", "publish", "det", "2", file, "--framework", "onnx", "--requires", "vad:>=5", *signed)
        machine("artifact", "withdraw", "det", "1", "--reason", "old", "--sign", key)
        assert machine("trust", "renew", "--sign", key) == {"renewed": True}
        assert not machine("trust", "status")["publisher_on_node"]
        machine("trust", "verify", "--root", root, "default/det/2/model.onnx", "default/det/2/descriptor.json")
        assert machine.run("trust", "verify", "--root", root, "default/det/1/model.onnx").returncode == 6
    finally:
        shutil.move(key, on_node)


def test_a_config_is_published_with_where_it_goes(machine: Machine) -> None:
    file = machine.folder / "app.conf"
    file.write_text("level = 3\n")
    where = ("--kind", "config", "--destination", "/etc/app/app.conf", "--mode", "0640")
    machine("artifact", "publish", "app", "1", str(file), *where, "--reload-program", "/usr/sbin/app -s 'reload now'")
    shown = machine("artifact", "show", "app", "1")
    reload = {"kind": "program", "argv": ["/usr/sbin/app", "-s", "reload now"]}
    assert shown["config"] == {"destination": "/etc/app/app.conf", "mode": "0640", "reload": reload}
    refused = machine.run("artifact", "publish", "app", "2", str(file), "--kind", "config", "--destination", "/etc//x")
    assert "config/destination must not end with / or have // in it" in refused.stderr
    mixed = machine.run("artifact", "publish", "app", "2", str(file), "--kind", "config", "--framework", "onnx")
    assert "are for a model only" in mixed.stderr
