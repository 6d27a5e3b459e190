"""The fetcher against nodes that send the wrong things: nothing whole appears that was not signed for this device."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tidegate.agent.fetch import Place, TargetFetcher, metadata_over
from tidegate.agent.link import Link
from tidegate.agent.store import ContentStore
from tidegate.errors import Refused, Unavailable, Untrusted
from tidegate.testing.played_node import PlayedNode
from tidegate.testing.tls_server import http, refusal
from tidegate.trust.tuf.client import Client
from tidegate.trust.tuf.target import Policy
from tidegate.wire.device import HardwareProfile, Work

CONTENT = bytes(range(256)) * 4000
HARDWARE = HardwareProfile(arch="arm64")


class Bench:
    """A device's fetcher over a real link to a played node."""

    def __init__(self, node: PlayedNode, folder: Path, keep_free_bytes: int = 0) -> None:
        self.store = ContentStore(folder / "content")
        self.link = Link(node.server.url, node.pki.ca_pem, None, timeout_seconds=5)
        client = Client(folder / "trust", metadata_over(self.link), Policy("default"))
        client.anchor(node.world.served["metadata/1.root.json"])
        self.heard: list[tuple[int, int]] = []
        place = Place("default", HARDWARE, folder, keep_free_bytes)
        self.fetcher = TargetFetcher(self.link, client, place, lambda *far: self.heard.append(far))

    def fetch(self, work: Work, wanted: bool = True) -> None:
        self.fetcher.fetch(work, self.store, lambda: wanted)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[PlayedNode]:
    (tmp_path / "node").mkdir()
    with PlayedNode(tmp_path / "node") as played:
        yield played


@pytest.fixture
def bench(node: PlayedNode, tmp_path: Path) -> Bench:
    return Bench(node, tmp_path)


def payload(node: PlayedNode) -> str:
    """Where the model's bytes are served."""
    return next(path for path in node.files if path.endswith("model.bin"))


def whole(bench: Bench) -> bool:
    return bench.store.has(hashlib.sha256(CONTENT).hexdigest())


def test_verified_files_come_whole(node: PlayedNode, bench: Bench) -> None:
    work = node.publish("vad", "1", CONTENT)
    bench.fetch(work)
    assert whole(bench)
    assert work.descriptor_sha256 is not None
    assert bench.store.has(work.descriptor_sha256)


def test_a_download_goes_on_where_it_stopped(node: PlayedNode, bench: Bench) -> None:
    work = node.publish("vad", "1", CONTENT)
    bench.store.append(hashlib.sha256(CONTENT).hexdigest(), CONTENT[:100_000], len(CONTENT))
    bench.fetch(work)
    assert whole(bench)
    ranges = [asked.headers.get("range") for asked in node.server.asked if asked.path.endswith("model.bin")]
    assert ranges == ["bytes=100000-"]
    assert bench.heard == sorted(set(bench.heard))
    assert bench.heard[0][0] > 100_000
    assert bench.heard[-1] == (len(CONTENT), len(CONTENT))


def test_a_node_that_ignores_the_range_starts_over(node: PlayedNode, bench: Bench) -> None:
    work = node.publish("vad", "1", CONTENT)
    bench.store.append(hashlib.sha256(CONTENT).hexdigest(), CONTENT[:100_000], len(CONTENT))
    node.refuse[f"/repository/{payload(node)}"] = lambda _: http(200, CONTENT)
    bench.fetch(work)
    assert whole(bench)


@pytest.mark.parametrize(
    ("served", "error"),
    [
        (CONTENT[:-1] + b"!", Untrusted),
        (CONTENT + b"more", Untrusted),
        (CONTENT[:-1], Untrusted),
        (b"", Unavailable),
    ],
    ids=["changed", "longer", "shorter", "nothing"],
)
def test_other_bytes_than_the_signed_ones_never_become_whole(
    node: PlayedNode, bench: Bench, served: bytes, error: type[Exception]
) -> None:
    work = node.publish("vad", "1", CONTENT)
    node.files[payload(node)] = served
    with pytest.raises(error):
        bench.fetch(work)
    assert not whole(bench)


def test_a_broken_connection_keeps_what_came(node: PlayedNode, bench: Bench) -> None:
    work = node.publish("vad", "1", CONTENT)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT)

    def broken(asked: object) -> None:
        asked.connection.sendall(head + CONTENT[:600_000])  # type: ignore[attr-defined]

    node.refuse[f"/repository/{payload(node)}"] = broken
    with pytest.raises(Unavailable):
        bench.fetch(work)
    assert bench.store.partial_length(hashlib.sha256(CONTENT).hexdigest()) > 0
    node.refuse.clear()
    bench.fetch(work)
    assert whole(bench)


def test_another_descriptor_than_the_works_is_not_taken(node: PlayedNode, bench: Bench) -> None:
    work = msgspec.structs.replace(node.publish("vad", "1", CONTENT), descriptor_sha256="0" * 64)
    with pytest.raises(Untrusted, match="different descriptors"):
        bench.fetch(work)


def test_a_path_of_another_artifact_or_fleet_is_refused_for_good(node: PlayedNode, bench: Bench) -> None:
    work = node.publish("vad", "1", CONTENT)
    for path in ("other/vad/1/descriptor.json", "default/asr/1/descriptor.json", "default/vad/1/model.bin"):
        with pytest.raises(Refused, match="its descriptor must be"):
            bench.fetch(msgspec.structs.replace(work, descriptor_path=path))


def test_what_nobody_signed_is_not_fetched(node: PlayedNode, bench: Bench) -> None:
    work = node.publish("vad", "1", CONTENT)
    moved = msgspec.structs.replace(work, version="2", descriptor_path="default/vad/2/descriptor.json")
    with pytest.raises(Untrusted, match="signed metadata"):
        bench.fetch(moved)


def test_unmet_hardware_is_refused_for_good(node: PlayedNode, bench: Bench) -> None:
    work = node.publish("vad", "1", CONTENT, target_hardware='arch == "amd64"')
    with pytest.raises(Refused, match="the device has arch arm64"):
        bench.fetch(work)
    assert not whole(bench)


def test_a_disk_too_small_is_said_before_anything_is_downloaded(node: PlayedNode, tmp_path: Path) -> None:
    bench = Bench(node, tmp_path, keep_free_bytes=1 << 60)
    work = node.publish("vad", "1", CONTENT)
    with pytest.raises(Unavailable, match="bytes of disk"):
        bench.fetch(work)
    assert not any(asked.path.endswith("model.bin") for asked in node.server.asked)


def test_work_taken_back_stops_the_download(node: PlayedNode, bench: Bench) -> None:
    with pytest.raises(Unavailable, match="taken back"):
        bench.fetch(node.publish("vad", "1", CONTENT), wanted=False)


def test_a_refusal_by_the_node_does_not_fail_the_version(node: PlayedNode, bench: Bench) -> None:
    work = node.publish("vad", "1", CONTENT)
    node.refuse[f"/repository/{payload(node)}"] = lambda _: refusal("device-held", 403)
    with pytest.raises(Unavailable):
        bench.fetch(work)
