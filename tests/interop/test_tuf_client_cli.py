"""`tidegate-agent tuf-client` by its command line: the interesting cases of the public conformance suite, kept here.

How the suite itself is run stands in docs/design/trust.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner, Signer
from tests.interop.served import Web, web
from tests.interop.simulator import Simulator, digest

from tidegate.agent import run
from tidegate.agent.work import trust_folder
from tidegate.trust.tuf.client import Client
from tidegate.trust.tuf.target import Policy

TOP = ["root", "snapshot", "targets", "timestamp"]


class Driver:
    """The program with its two folders, against one simulator."""

    def __init__(self, folder: Path, server: Web) -> None:
        self.metadata, self.targets, self._root = folder / "metadata", folder / "targets", folder / "root.json"
        self.server = server

    def serve(self, simulator: Simulator) -> None:
        self.server.sites["sim"] = simulator.site

    def init(self, root: bytes) -> int:
        self._root.write_bytes(root)
        return self._run("--metadata-dir", str(self.metadata), "init", str(self._root))

    def refresh(self) -> int:
        return self._run(*self.words(), "refresh")

    def download(self, *names: str) -> int:
        named = [word for name in names for word in ("--target-name", name)]
        there = ["--target-base-url", self.server.url("sim") + "/targets/", "--target-dir", str(self.targets)]
        return self._run(*self.words(), *named, *there, "download")

    def words(self) -> list[str]:
        return ["--metadata-dir", str(self.metadata), "--metadata-url", self.server.url("sim") + "/metadata/"]

    def versions(self) -> dict[str, int]:
        found = {path.stem: json.loads(path.read_bytes()) for path in self.metadata.glob("*.json")}
        return {name: document["signed"]["version"] for name, document in sorted(found.items())}

    def downloaded(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.targets.glob("*")) if path.is_file()}

    def asked(self) -> list[str]:
        """What was requested since the last question."""
        asked = list(self.server.requests)
        self.server.requests.clear()
        return asked

    def _run(self, *words: str) -> int:
        return run.main(["tuf-client", *words])


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    with web() as running:
        yield running


@pytest.fixture
def client(tmp_path: Path, server: Web) -> Driver:
    server.requests.clear()
    return Driver(tmp_path, server)


def _ready(client: Driver, simulator: Simulator) -> Simulator:
    client.serve(simulator)
    assert client.init(simulator.anchor) == 0
    return simulator


def test_init_asks_for_nothing_and_refresh_for_each_role_in_its_order(client: Driver) -> None:
    _ready(client, Simulator())
    assert client.asked() == []
    assert client.versions() == {"root": 1}
    assert client.refresh() == 0
    assert client.asked() == [f"metadata/{name}.json" for name in ("2.root", "timestamp", "1.snapshot", "1.targets")]
    assert client.versions() == dict.fromkeys(TOP, 1)


def test_without_consistent_snapshots_nothing_but_the_root_bears_a_version(client: Driver) -> None:
    simulator = _ready(client, Simulator(consistent=False))
    simulator.delegate("targets", "team", "*")
    simulator.add_target("file.txt", b"content", "team")
    simulator.publish("team", "targets", "snapshot", "timestamp")
    assert client.download("file.txt") == 0
    names = ["metadata/2.root.json", *(f"metadata/{n}.json" for n in ("timestamp", "snapshot", "targets", "team"))]
    assert client.asked() == [*names, "targets/file.txt"]
    assert client.downloaded() == {"file.txt": b"content"}


def test_a_refused_role_leaves_what_was_trusted_before_it(client: Driver) -> None:
    simulator = _ready(client, Simulator())
    assert client.refresh() == 0
    simulator.signers["snapshot"] = [CryptoSigner.generate_ed25519()]
    simulator.publish("root", "targets", "snapshot", "timestamp")
    assert client.refresh() == 1
    assert client.versions() == {"root": 2, "snapshot": 1, "targets": 1, "timestamp": 2}


def test_an_anchor_that_does_not_verify_is_never_used(client: Driver) -> None:
    simulator = Simulator()
    client.serve(simulator)
    broken = json.loads(simulator.anchor)
    broken["signatures"][0]["sig"] = "00" * 64
    assert client.init(json.dumps(broken).encode()) == 1
    assert client.refresh() == 1
    assert client.asked() == []


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(CryptoSigner.generate_rsa(), id="rsa-pss"),
        pytest.param(CryptoSigner.generate_rsa(scheme="rsa-pkcs1v15-sha256"), id="rsa-pkcs1v15"),
        pytest.param(CryptoSigner.generate_ecdsa(), id="ecdsa"),
        pytest.param(CryptoSigner.generate_ed25519(), id="ed25519"),
    ],
)
def test_every_type_of_key_of_the_specification(client: Driver, key: Signer) -> None:
    _ready(client, Simulator(key=key))
    assert client.refresh() == 0


def test_targets_come_in_order_and_stop_at_the_first_failure(client: Driver) -> None:
    simulator = _ready(client, Simulator())
    for name in ("a.txt", "b.txt", "c.txt"):
        simulator.add_target(name, name.encode())
    simulator.publish("targets", "snapshot", "timestamp")
    assert client.download("c.txt", "missing", "a.txt") == 1
    assert client.downloaded() == {"c.txt": b"c.txt"}
    asked = client.asked()
    assert asked[-1] == f"targets/{digest(b'c.txt')}.c.txt"
    assert asked.count("metadata/timestamp.json") == 1, "one updater for all targets"


def test_a_cached_target_is_not_fetched_again_unless_it_changed(client: Driver) -> None:
    simulator = _ready(client, Simulator())
    simulator.add_target("sub/file.txt", b"one")
    simulator.publish("targets", "snapshot", "timestamp")
    assert client.download("sub/file.txt") == 0
    client.asked()
    assert client.download("sub/file.txt") == 0
    assert not [path for path in client.asked() if path.startswith("targets/")]
    (at,) = [path for path in client.targets.iterdir() if path.is_file()]
    at.chmod(0o600)
    at.write_bytes(b"two")
    assert client.download("sub/file.txt") == 0, "what was altered on the device is no cache"
    assert client.downloaded() == {at.name: b"one"}
    simulator.add_target("sub/file.txt", b"another")
    simulator.publish("targets", "snapshot", "timestamp")
    assert client.download("sub/file.txt") == 0
    assert client.downloaded() == {at.name: b"another"}


@pytest.mark.parametrize("hashes", [("sha256",), ("sha512",), ("sha256", "sha512")])
def test_either_hash_will_do_and_all_that_are_given_must_be_right(client: Driver, hashes: tuple[str, ...]) -> None:
    simulator = _ready(client, Simulator())
    simulator.add_target("good", b"content", hashes=hashes)
    simulator.add_target("bad", b"content!", hashes=hashes)
    simulator.targets["targets"].targets["bad"].hashes[hashes[-1]] = digest(b"other", hashes[-1])
    simulator.site[f"targets/{digest(b'other', hashes[-1])}.bad"] = b"content!"
    simulator.publish("targets", "snapshot", "timestamp")
    assert client.download("good", "bad") == 1
    assert client.downloaded() == {"good": b"content"}


@pytest.mark.parametrize("name", ["?", "#", "/absolute", "../above", ".", "ü %41"])
def test_a_role_may_bear_any_name_and_is_only_ever_one_file(client: Driver, name: str) -> None:
    simulator = _ready(client, Simulator())
    simulator.delegate("targets", name, "*")
    simulator.add_target("file", b"content", name)
    simulator.publish(name, "targets", "snapshot", "timestamp")
    assert client.download("file") == 0
    kept = sorted(path.name for path in client.metadata.rglob("*") if path.is_file())
    assert len(client.versions()) == 5
    assert all("/" not in name and not name.startswith(".") for name in kept)
    assert not list(client.metadata.parent.glob("*above*"))


def test_roles_are_asked_in_preorder_and_a_circle_ends(client: Driver) -> None:
    simulator = _ready(client, Simulator())
    for parent, child in (("targets", "a"), ("targets", "b"), ("a", "c"), ("c", "a"), ("c", "d")):
        simulator.delegate(parent, child, "*")
    simulator.add_target("in-b", b"found", "b")
    simulator.publish("a", "b", "c", "d", "targets", "snapshot", "timestamp")
    assert client.download("in-b") == 0
    roles = [path.split(".")[1] for path in client.asked() if path.startswith("metadata/1.")]
    assert roles == ["a", "c", "d", "b"]


def test_a_long_chain_of_roots_with_rotating_keys_is_followed(client: Driver) -> None:
    simulator = _ready(client, Simulator())
    for _ in range(40):
        old = simulator.signers["root"][0]
        simulator.rotate("root")
        simulator.signers["root"].append(old)
        simulator.publish("root")
        simulator.signers["root"].pop()
    assert client.refresh() == 0
    assert client.versions()["root"] == 41


def test_rolled_back_targets_are_refused_until_the_snapshot_key_is_rotated(client: Driver) -> None:
    simulator = _ready(client, Simulator())
    for _ in range(3):
        simulator.publish("targets")
    simulator.publish("snapshot", "timestamp")
    assert client.refresh() == 0
    simulator.targets["targets"].version = 0
    simulator.publish("targets", "snapshot", "timestamp")
    assert client.refresh() == 1
    assert client.versions()["targets"] == 4
    simulator.rotate("snapshot")
    simulator.publish("root", "snapshot", "timestamp")
    assert client.refresh() == 0
    assert client.versions()["targets"] == 1


def test_time_comes_from_the_c_library(client: Driver) -> None:
    """The program itself, as the suite starts it: preloaded time moves what counts as expired."""
    simulator = _ready(client, Simulator())
    later = (simulator.root.expires + timedelta(days=1)).strftime("%Y-%m-%d %H:%M:%S")
    argv = [sys.executable, "-m", "tidegate.agent.run", "tuf-client", *client.words(), "refresh"]
    assert subprocess.run(argv, check=False, capture_output=True, timeout=60).returncode == 0
    said = subprocess.run(["faketime", later, *argv], check=False, capture_output=True, text=True, timeout=60)
    assert said.returncode == 1
    assert "expired" in said.stderr


def test_what_cannot_be_understood_ends_with_status_one(client: Driver) -> None:
    with pytest.raises(SystemExit) as ended:
        run.main(["tuf-client", "refresh"])
    assert ended.value.code == 1
    assert run.main(["tuf-client", "--metadata-dir", str(client.metadata), "refresh"]) == 1


def test_it_cannot_reach_what_a_device_trusts(tmp_path: Path, server: Web) -> None:
    state = tmp_path / "state"
    before = Driver(tmp_path, server)
    before.metadata = state
    _ready(before, Simulator())
    assert before.refresh() == 0
    # Not enrolled yet: nothing was pinned for the device.
    device = Client(trust_folder(state), lambda _path, _most: b"", Policy("default"))
    assert not device.has_anchor()
    (state / "identity").mkdir()
    for folder in (state, state / "trust", state / "models/m"):
        before.metadata = folder
        assert before.init(Simulator().anchor) == 1
        assert before.refresh() == 1
    assert not device.has_anchor()
    assert not (state / "models").exists()
    other = Driver(tmp_path, server)
    simulator = _ready(other, Simulator())
    simulator.add_target("current", b"bytes")
    simulator.publish("targets", "snapshot", "timestamp")
    other.targets = state / "models/m"
    assert other.download("current") == 1
    assert not (state / "models").exists()


def test_ordinary_help_does_not_name_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["--help"])
    assert "tuf-client" not in capsys.readouterr().out
