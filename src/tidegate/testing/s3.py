"""A real S3-compatible store on loopback for tests: SeaweedFS from its wheel, in a folder that is thrown away."""

from __future__ import annotations

import json
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import urllib3

from tidegate.testing.ports import free_ports
from tidegate.testing.processes import Processes

ACCESS_KEY = "tidegate-test"
SECRET_KEY = "the-secret-of-the-test-store"  # noqa: S105 - of a store that lives as long as the test
READY_SECONDS = 60
_ACTIONS = ["Admin", "Read", "Write", "List", "Tagging"]


@dataclass(frozen=True, slots=True)
class Store:
    """A running store. Buckets are made through the filer that is behind its S3 side."""

    url: str
    filer: str

    @property
    def environment(self) -> dict[str, str]:
        """What a node needs in its environment to use it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }

    def make_bucket(self, name: str) -> None:
        """Returns when the S3 side knows it."""
        until = time.monotonic() + READY_SECONDS
        while not (self._made(name) and self._known(name)):
            if time.monotonic() > until:
                raise RuntimeError(f"the store does not make the bucket {name}")
            time.sleep(0.05)  # between two looks at a condition

    def _made(self, name: str) -> bool:
        try:
            answer = urllib3.request("POST", f"{self.filer}/buckets/{name}/", timeout=5, retries=False)
        except urllib3.exceptions.HTTPError:
            return False
        return answer.status in (201, 409)  # made now, or by the look before

    def _known(self, name: str) -> bool:
        import obstore
        from obstore.exceptions import BaseError
        from obstore.store import S3Store

        store = S3Store(
            name, endpoint=self.url, region="us-east-1", access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY,
            client_options={"allow_http": True}, retry_config={"max_retries": 0},
        )  # fmt: skip
        try:
            obstore.put(store, "made", b"")
            obstore.delete(store, "made")
        except BaseError:
            return False
        return True


@contextmanager
def running(folder: Path) -> Iterator[Store]:
    """A store of its own below `folder`; it knows one pair of keys and makes no bucket by itself."""
    with Processes(folder / "logs") as processes:
        yield start(folder, processes)
        processes.kill("s3")  # it takes half a minute to end by itself, and nothing of it is kept


def start(folder: Path, processes: Processes, name: str = "s3") -> Store:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    identity = {
        "name": "node",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": _ACTIONS,
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    parts = ("master", "volume", "filer", "s3")
    ports = free_ports(2 * len(parts))
    listens = [
        option
        for at, part in enumerate(parts)
        for option in (f"-{part}.port={ports[2 * at]}", f"-{part}.port.grpc={ports[2 * at + 1]}")
    ]
    processes.start(
        name,
        [
            str(Path(sysconfig.get_path("scripts")) / "weed"), "-logtostderr=true", "server", f"-dir={folder / 'data'}",
            "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *listens, "-volume.max=0", "-master.volumeSizeLimitMB=64",
            "-master.telemetry=false", "-s3", f"-s3.config={folder / 's3.json'}", "-s3.autoCreateBucket=false",
            "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        ],
        {"HOME": str(folder)},
    )  # fmt: skip
    store = Store(f"http://127.0.0.1:{ports[6]}", f"http://127.0.0.1:{ports[4]}")
    try:
        store.make_bucket("ready")
    except RuntimeError as error:
        raise RuntimeError(f"{error}: {processes.tail(name)}") from error
    return store
