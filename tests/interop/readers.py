"""Four readers of one repository: the device's client, its `tuf-client`, python-tuf's own updater, and tuf-js.

Each gives the SHA-256 of what it took for the signed bytes, or raises `Refused`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import urllib3
from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.ngclient import Updater

from tidegate.agent import tuf_client
from tidegate.agent.fetch import receive
from tidegate.agent.link import Link
from tidegate.agent.store import ContentStore
from tidegate.agent.transport import Foreign, Transport
from tidegate.errors import TidegateError
from tidegate.testing import npm
from tidegate.trust.tuf.client import Client, NotServed
from tidegate.trust.tuf.target import Policy

HERE = Path(__file__).parent


class Refused(Exception):
    """The reader took nothing of it for signed."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What to read: `paths` in this order with one updater; `folder` is kept from one question to the next."""

    folder: Path
    url: str
    root: bytes
    paths: Sequence[str]


Reader = Callable[[Ask], list[str]]


def device(ask: Ask) -> list[str]:
    """The verifying client and the downloads of the agent, with the policy of a device of the fleet `default`."""
    host, _, site = ask.url.removeprefix("http://").partition("/")
    pool = urllib3.HTTPConnectionPool(*host.split(":"))
    link = Link.over(Transport(f"http://{host}", pool, 10))

    def fetch(path: str, max_bytes: int) -> bytes:
        try:
            return link.get(f"/{site}/{path}", max_bytes)
        except Foreign as refusal:
            if refusal.status == 404:
                raise NotServed(refusal.detail) from refusal
            raise

    try:
        client = Client(ask.folder / "trust", fetch, Policy("default"))
        if not client.has_anchor():
            client.anchor(ask.root)
        store = ContentStore(ask.folder / "store")
        digests = []
        for path in ask.paths:
            target = client.find(path)
            receive(target, store, partial(link.download, f"/{site}/{target.download_path}"))
            digests.append(hashlib.sha256(store.path(target.digest).read_bytes()).hexdigest())
    except TidegateError as error:
        raise Refused(error.detail) from error
    finally:
        link.close()
    return digests


def entry_point(ask: Ask) -> list[str]:
    """`tidegate-agent tuf-client`, the agent's code under the specification's rules alone."""
    metadata, targets = ask.folder / "metadata", ask.folder / "targets"
    if not metadata.exists():
        (ask.folder / "root.json").write_bytes(ask.root)
        if tuf_client.main(["--metadata-dir", str(metadata), "init", str(ask.folder / "root.json")]) != 0:
            raise Refused("init")
    names = [word for path in ask.paths for word in ("--target-name", path)]
    urls = ["--metadata-url", f"{ask.url}/metadata/", "--target-base-url", f"{ask.url}/targets/"]
    where = ["--metadata-dir", str(metadata), "--target-dir", str(targets)]
    if tuf_client.main([*where, *urls, *names, "download"]) != 0:
        raise Refused("exit status 1")
    return [hashlib.sha256((targets / tuf_client.file_name(path)).read_bytes()).hexdigest() for path in ask.paths]


def python_tuf(ask: Ask) -> list[str]:
    """The stock updater with its stock fetcher."""
    for part in ("metadata", "targets"):
        (ask.folder / part).mkdir(exist_ok=True)
    try:
        updater = Updater(
            str(ask.folder / "metadata"),
            f"{ask.url}/metadata/",
            str(ask.folder / "targets"),
            f"{ask.url}/targets/",
            bootstrap=ask.root,
        )
        digests = []
        for path in ask.paths:
            found = updater.get_targetinfo(path)
            if found is None:
                raise Refused(f"no target {path}")
            file = updater.find_cached_target(found) or updater.download_target(found)
            digests.append(hashlib.sha256(Path(file).read_bytes()).hexdigest())
    except (RepositoryError, DownloadError) as error:
        raise Refused(f"{type(error).__name__}: {error}") from error
    return digests


class TufJs:
    """tuf-js in one Node.js process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def __call__(self, ask: Ask) -> list[str]:
        answer = self.ask(
            {"folder": str(ask.folder), "url": ask.url, "root": ask.root.decode(), "paths": list(ask.paths)}
        )
        if "refused" in answer:
            raise Refused(answer["refused"])
        digests: list[str] = answer["digests"]
        return digests


@contextlib.contextmanager
def tuf_js() -> Iterator[TufJs]:
    folder = npm.installed(HERE)
    argv = [npm.node(), folder / "read.mjs"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield TufJs(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=10)
