"""Bytes in a folder and in a real S3-compatible store: the same calls, and the same words when it fails."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3
from tests.store.relay import Relay, relaying

from tidegate.control.blobs import Blobs, open_blobs
from tidegate.control.settings import Settings, parse
from tidegate.errors import Invalid, NotFound, Unavailable
from tidegate.testing import live, s3
from tidegate.testing.processes import Processes

ABSENT = "0" * 64
#: More than two parts of a multipart upload.
LARGE = random.Random(4).randbytes((16 << 20) + 12_345)


def _open(blob_url: str, folder: Path) -> Blobs:
    return open_blobs(Settings(data_dir=folder, blob_url=blob_url))


@pytest.fixture
def blobs(blob_url: str, tmp_path: Path) -> Blobs:
    return _open(blob_url, tmp_path)


both = pytest.mark.parametrize("blob_url", ["folder", "s3"], indirect=True)
only_s3 = pytest.mark.parametrize("blob_url", ["s3"], indirect=True)


@pytest.fixture
def relay(object_store: s3.Store, blob_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    at = urlsplit(object_store.url)
    with relaying(at.hostname or "", at.port or 0) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.url)
        yield relay


@both
def test_what_was_put_is_read_in_whole_and_in_parts(blobs: Blobs, tmp_path: Path) -> None:
    blobs.check()
    file = tmp_path / "large"
    file.write_bytes(LARGE)
    sha256 = hashlib.sha256(LARGE).hexdigest()
    for _ in range(2):
        blobs.put_file(file, sha256)
        assert blobs.size(sha256) == len(LARGE)
    assert blobs.read(sha256) == LARGE
    part = 8 << 20
    for start, end in ((0, 1), (part - 3, part + 3), (len(LARGE) - 2, None), (1, len(LARGE))):
        assert b"".join(blobs.stream(sha256, start, end)) == LARGE[start:end], (start, end)
    assert blobs.put(b"") == hashlib.sha256(b"").hexdigest()
    assert blobs.read(blobs.put(b"")) == b""
    small = {blobs.put(str(number).encode()) for number in range(3)}
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert set(itertools.chain.from_iterable(blobs.listed(later))) == {sha256, blobs.put(b""), *small}
    assert set(itertools.chain.from_iterable(blobs.listed(later - timedelta(hours=1)))) == set()
    blobs.delete(sha256)
    blobs.delete(sha256)
    assert blobs.size(sha256) is None


@both
def test_what_is_not_there_is_not_found(blobs: Blobs) -> None:
    assert blobs.size(ABSENT) is None
    with pytest.raises(NotFound):
        blobs.read(ABSENT)
    with pytest.raises(NotFound):
        list(blobs.stream(ABSENT, 5, 9))


def test_a_folder_that_is_broken_is_said_in_the_systems_words(tmp_path: Path) -> None:
    blobs = _open("", tmp_path)
    (tmp_path / "blobs").rmdir()
    with pytest.raises(Unavailable, match=r"^cannot use the blobs: No such file or directory"):
        blobs.check()
    (tmp_path / "blobs").write_text("a file where the folder was")
    with pytest.raises(Unavailable, match=r"^cannot read the blob: not a directory"):
        blobs.read(ABSENT)


@only_s3
def test_two_prefixes_of_a_bucket_know_nothing_of_each_other(blobs: Blobs, blob_url: str, tmp_path: Path) -> None:
    sha256 = blobs.put(b"mine")
    beside = _open(f"{blob_url}-beside", tmp_path)
    assert beside.size(sha256) is None
    assert list(itertools.chain.from_iterable(beside.listed(datetime.now(UTC) + timedelta(minutes=1)))) == []


@pytest.mark.parametrize(
    ("environment", "bucket", "said"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "tests", "nothing listens at AWS_ENDPOINT_URL"),
        ({"AWS_SECRET_ACCESS_KEY": "a wrong secret"}, "tests", "AWS_SECRET_ACCESS_KEY is not the one of AWS_ACCESS"),
        ({"AWS_ACCESS_KEY_ID": "somebody"}, "tests", "it does not know AWS_ACCESS_KEY_ID"),
        ({}, "nowhere", "there is no such bucket; make it, or mend blob_url"),
        ({"AWS_ALLOW_HTTP": "false"}, "tests", "plain http, which is used only with AWS_ALLOW_HTTP=true"),
    ],
)
@only_s3
def test_a_store_that_refuses_is_said_in_words_without_secrets(
    blob_url: str,
    environment: dict[str, str],
    bucket: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    blobs = _open(blob_url.replace("tests", bucket), tmp_path)
    with pytest.raises(Unavailable) as looked:
        blobs.check()
    assert said in looked.value.detail
    for act in (lambda: blobs.put(b"x"), lambda: blobs.read(ABSENT), lambda: blobs.delete(ABSENT)):
        with pytest.raises(Unavailable, match=r"^cannot (store|read|delete) the blob: the blob store") as refused:
            act()
        for secret in (s3.SECRET_KEY, "a wrong secret", s3.ACCESS_KEY, "Signature="):
            assert secret not in refused.value.detail
        assert "\n" not in refused.value.detail


@only_s3
def test_a_store_that_says_nothing_is_found_out_within_seconds(blob_url: str, relay: Relay, tmp_path: Path) -> None:
    relay.mode = "silent"
    began = time.monotonic()
    with pytest.raises(Unavailable, match="it does not answer in time"):
        _open(blob_url, tmp_path).check()
    assert time.monotonic() - began < 15


@only_s3
def test_an_answer_that_ends_early_is_gone_on_with_or_told(blob_url: str, relay: Relay, tmp_path: Path) -> None:
    blobs = _open(blob_url, tmp_path)
    sha256 = blobs.put(LARGE)
    relay.mode, relay.cut_after, relay.cuts = "cut", 5 << 20, 1
    assert blobs.read(sha256) == LARGE
    assert relay.cuts == 0
    relay.cuts, relay.cut_after = 1_000, 2 << 20
    received = b""
    with pytest.raises(Unavailable, match="cannot read the blob"):
        for piece in blobs.stream(sha256):
            received += piece
    assert LARGE.startswith(received)
    assert len(received) < len(LARGE)


def test_keys_do_not_belong_into_the_address(tmp_path: Path) -> None:
    for address in ("s3://key:secret@bucket", "s3://bucket?x=y", "https://bucket", "s3://", "s3://bucket/../x"):
        with pytest.raises(Invalid, match="blob_url must be s3://bucket") as refused:
            parse(f'blob_url = "{address}"', folder=tmp_path)
        assert "secret" not in refused.value.detail


@only_s3
@pytest.mark.timeout(180)
def test_a_node_tells_that_its_store_is_away_and_goes_on_when_it_is_back(
    blob_url: str, relay: Relay, tmp_path: Path
) -> None:
    node = live.initialise(tmp_path / "node", blob_url=blob_url)
    with Processes(tmp_path / "logs") as processes:
        live.serve(node, processes)
        api = node.sign_in()
        pool = urllib3.PoolManager(ca_certs=str(node.ca), timeout=30, retries=False)
        model = tmp_path / "model.onnx"
        model.write_bytes(b"weights")
        live.publish(api, "vad", "1", model)
        begun = api.call("POST", "/v1/uploads", {"file_name": "late.bin", "length": 4})
        path = f"/v1/uploads/{begun['id']}"
        pieces = {"headers": {"content-type": "application/octet-stream"}}
        api.call("PATCH", path, raw=b"ab", offset=0, **pieces)

        relay.away()
        ready = pool.request("GET", f"{node.console_url}/readyz")
        assert (ready.status, json.loads(ready.data)["detail"]) == (503, "cannot serve for now: blobs")
        assert pool.request("GET", f"{node.console_url}/healthz").status == 200
        with pytest.raises(live.ApiError) as refused:
            api.call("PATCH", path, raw=b"cd", offset=2, **pieces)
        assert refused.value.status == 503
        assert "nothing listens at AWS_ENDPOINT_URL" in refused.value.problem["detail"]
        assert api.call("GET", "/v1/artifacts")["total"] == 1

        relay.back()
        live.await_ready(node, processes)
        # The bytes had arrived; only storing them had failed: an empty piece ends what is whole.
        assert api.call("PATCH", path, raw=b"", offset=4, **pieces)["sha256"] is not None
        log = (tmp_path / "logs" / "node.log").read_text()
    assert "nothing listens at AWS_ENDPOINT_URL" in log
    assert s3.SECRET_KEY not in log
