"""`tidegate-agent tuf-client`: a test entry point, by which the public TUF conformance suite drives the agent's code.

The command line is the suite's. Verification (trust/tuf/client.py), transport, resumable download and content store
are those that a device uses; what differs is data: `ANY_REPOSITORY` instead of the fleet's policy, and connections
without the node's pinned CA. What is trusted lies in ``METADATA_DIR/.tuf-client``, kept as on a device; the suite reads
the copies beside it. No folder of a device is used: what that trusts, it learned under the fleet's policy.

Exit status: 0 done, 1 anything else.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote, urlsplit

import urllib3

from tidegate.agent.enroll import read_bounded
from tidegate.agent.fetch import receive
from tidegate.agent.files import RealFiles
from tidegate.agent.link import Download, Link
from tidegate.agent.store import ContentStore
from tidegate.agent.transport import Foreign, Transport
from tidegate.agent.work import trust_folder
from tidegate.errors import Invalid, Refused, TidegateError
from tidegate.trust.tuf.client import Client, NotServed
from tidegate.trust.tuf.durable import make_folder, write_file
from tidegate.trust.tuf.local import LocalMetadata
from tidegate.trust.tuf.target import ANY_REPOSITORY, Target

TIMEOUT_SECONDS = 30.0
#: What a repository that is not ours answers for a root version that is not there (a bucket without listing: 403).
_NOT_THERE = frozenset({403, 404})
_NAME_MAX = 200
#: Not the name of a device's own (agent/work.py): what is pinned here is never found there.
_TRUST = ".tuf-client"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: cannot read the arguments: {message}\n")


def main(arguments: Sequence[str]) -> int:
    """See the module."""
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG, format="%(levelname)s %(message)s")
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except (TidegateError, OSError) as error:
        sys.stderr.write(f"tidegate-agent tuf-client: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="tidegate-agent tuf-client")
    parser.add_argument("--metadata-dir", required=True, type=Path)
    parser.add_argument("--metadata-url", default="")
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-base-url", default="")
    parser.add_argument("--target-dir", type=Path)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("init").add_argument("root", type=Path)
    verbs.add_parser("refresh")
    verbs.add_parser("download")
    return parser


def _run(options: argparse.Namespace) -> int:
    _no_device(options.metadata_dir)
    trust = options.metadata_dir / _TRUST
    try:
        if options.verb == "init":
            Client(trust, _no_request, ANY_REPOSITORY).anchor(read_bounded(options.root, "trust anchor"))
            return os.EX_OK
        client = Client(trust, _Site(options.metadata_url, "--metadata-url").metadata, ANY_REPOSITORY)
        client.refresh()
        if options.verb == "download":
            _download(options, client)
        return os.EX_OK
    finally:
        _show(trust, options.metadata_dir)


def _no_device(given: Path) -> None:
    """Refuse the state of a device, and whatever lies in it."""
    whole = given.resolve()
    for folder in (whole, *whole.parents):
        if (folder / "identity").is_dir() and (trust_folder(folder) / "roots").is_dir():
            raise Refused(f"cannot use {given}: a device keeps its state in {folder}; give another folder")


def _no_request(path: str, _max_bytes: int) -> bytes:
    raise Invalid(f"cannot ask for {path}: init makes no request")


class _Site:
    """One base URL of a repository."""

    def __init__(self, url: str, option: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise Invalid(f"cannot use {option} {url!r}: it must be http(s)://HOST[:PORT]/PATH")
        root = f"{parts.scheme}://{parts.netloc}"
        self._link = Link.over(Transport(root, urllib3.connection_from_url(root), TIMEOUT_SECONDS))
        self._base = parts.path.rstrip("/")

    def metadata(self, path: str, max_bytes: int) -> bytes:
        """The verifying client's `Fetch`."""
        try:
            return self._link.get(f"{self._base}/{path.removeprefix('metadata/')}", max_bytes)
        except Foreign as refusal:
            if refusal.status in _NOT_THERE:
                raise NotServed(refusal.detail) from refusal
            raise

    def body(self, target: Target) -> Callable[[int], AbstractContextManager[Download]]:
        return partial(self._link.download, f"{self._base}/{target.download_path.removeprefix('targets/')}")


def _download(options: argparse.Namespace, client: Client) -> None:
    if options.target_dir is None or not options.target_name:
        raise Invalid("cannot download: give --target-dir and at least one --target-name")
    _no_device(options.target_dir)
    site = _Site(options.target_base_url, "--target-base-url")
    store = ContentStore(options.target_dir / ".content")
    for name in options.target_name:
        target = client.find(name)
        store.recheck(target.digest, target.length)
        receive(target, store, site.body(target))
        _lay_out(store.path(target.digest), options.target_dir / file_name(name))


def _lay_out(content: Path, at: Path) -> None:
    """`at` becomes another name of the verified content."""
    files = RealFiles()
    if at.exists() and at.samefile(content):
        return
    beside = at.with_name(f".{at.name}.new")
    files.remove(beside)
    files.link(content, beside)
    files.rename(beside, at)
    files.sync_folder(at.parent)


def file_name(target_path: str) -> str:
    """One file name for any path: never a folder, a dot file, or longer than file systems take."""
    name = quote(target_path, safe="")
    if not name or name.startswith(".") or len(name) > _NAME_MAX:
        return f"target-{hashlib.sha256(name.encode()).hexdigest()}"
    return name


def _show(trust: Path, folder: Path) -> None:
    """Copies of what is trusted, by their unversioned names."""
    make_folder(folder)
    for name, data in LocalMetadata(trust).documents():
        write_file(folder / f"{name}.json", data)
