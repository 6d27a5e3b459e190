"""What our node publishes, read by programs that nobody here wrote; and what is wrong, refused by all of them."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop import readers
from tests.interop.readers import Ask, Reader, Refused, TufJs
from tests.interop.repository import CONTENT, FILE, Repository, publish_all
from tests.interop.served import Web, web
from tests.interop.variants import PYTHON_TUF, TUF_JS, VARIANTS, Variant
from tuf.api.metadata import Metadata

from tidegate.control.store.engine import Database
from tidegate.testing.node import make_node


@pytest.fixture(scope="module")
def honest(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    folder = tmp_path_factory.mktemp("node")
    shutil.copyfile(sqlite_template, folder / "tidegate.db")
    database = Database(f"sqlite:///{folder / 'tidegate.db'}")
    with pytest.MonkeyPatch.context() as patched:
        yield publish_all(make_node(folder, database), patched)
    database.dispose()


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    with web() as running:
        yield running


@pytest.fixture(scope="module")
def tuf_js() -> Iterator[TufJs]:
    with readers.tuf_js() as running:
        yield running


@pytest.fixture(scope="module")
def all_readers(tuf_js: TufJs) -> dict[str, Reader]:
    return {
        "device": readers.device,
        "tuf-client": readers.entry_point,
        PYTHON_TUF: readers.python_tuf,
        TUF_JS: tuf_js,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that is possible: four readers flush some hundred files for each variant."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as made:
        yield Path(made)


def _said(reader: Reader, ask: Ask) -> str:
    """ "accepted" only for the very bytes that were signed."""
    try:
        digests = reader(ask)
    except Refused:
        return "refused"
    return "accepted" if hashlib.sha256(CONTENT).hexdigest() == digests[0] else f"took other bytes: {digests}"


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name[:80]) for case in VARIANTS])
def test_all_readers_agree(
    case: Variant, honest: Repository, server: Web, all_readers: dict[str, Reader], folder: Path
) -> None:
    changed = honest.copied()
    case.change(changed)
    said = {}
    for name, reader in all_readers.items():
        own = folder / name
        own.mkdir()
        server.sites = {"site": honest.site()}
        if case.warm:
            warm = Ask(own, server.url("site"), honest.anchor, (FILE,))
            assert _said(reader, warm) == "accepted", f"{name} does not read the honest repository"
            # What a reader has downloaded it may use again; what it must judge is the metadata.
            shutil.rmtree(own / "targets", ignore_errors=True)
        server.sites = {"site": changed.site()}
        said[name] = _said(reader, Ask(own, server.url("site"), honest.anchor, case.paths))
    right, wrong = ("accepted", "refused") if case.accepted else ("refused", "accepted")
    assert said == {name: wrong if name in case.holes else right for name in all_readers}


def test_there_are_variants_of_every_kind() -> None:
    refused = [case for case in VARIANTS if not case.accepted]
    assert len(refused) >= 30
    assert len({case.name for case in VARIANTS}) == len(VARIANTS)
    assert all(reason for case in VARIANTS for reason in case.holes.values())


def test_key_ids_and_signatures_are_over_the_canonical_form(honest: Repository, tuf_js: TufJs) -> None:
    """Computed by another program, for every document that was ever published."""
    keys = {}
    documents = {path: data.decode() for path, data in honest.served.items() if path.startswith("metadata/")}
    assert len(documents) > 100
    for text in documents.values():
        signed = json.loads(text)["signed"]
        keys |= signed.get("keys", {}) | (signed.get("delegations") or {}).get("keys", {})
    assert tuf_js.ask({"what": "strict", "documents": documents, "keys": keys}) == {"wrong": []}
    spoilt = {name: text.replace('"sig":"', '"sig":"00', 1) for name, text in documents.items()}
    assert len(tuf_js.ask({"what": "strict", "documents": spoilt, "keys": keys})["wrong"]) == len(documents)
    assert all(Metadata.from_bytes(text.encode()).signed_bytes for text in documents.values())
