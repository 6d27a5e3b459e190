"""SBOMs: real ones of real tools, hostile ones, and the job that checks them, on both databases."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import importlib.metadata
import json
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.applications import Starlette

from tidegate.control.api import table
from tidegate.control.api.operations import routes
from tidegate.control.domain.access import Scope
from tidegate.control.domain.artifacts import Upload
from tidegate.control.domain.sboms import CLAIM, MOST_ATTEMPTS, Sbom
from tidegate.control.sbom.check import NoVerdict, check
from tidegate.control.sbom.child import verdict_on
from tidegate.control.services import artifacts, sboms, uploads
from tidegate.control.services.node import Node
from tidegate.control.store import engine, schema
from tidegate.control.workers import sboms as worker
from tidegate.errors import Conflict, Invalid, NotFound, TooLarge
from tidegate.testing.asgi import Client
from tidegate.testing.fleet import catalog
from tidegate.testing.node import admin_scope, api_key

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

SPDX_2: dict[str, Any] = {
    "spdxVersion": "SPDX-2.3",
    "dataLicense": "CC0-1.0",
    "SPDXID": "SPDXRef-DOCUMENT",
    "name": "vad",
    "documentNamespace": "https://example.com/spdx/vad-1",
    "creationInfo": {"created": "2026-11-01T12:00:00Z", "creators": ["Tool: hand"]},
    "packages": [
        {
            "SPDXID": "SPDXRef-Package-zlib",
            "name": "zlib",
            "versionInfo": "1.3.1",
            "downloadLocation": "NOASSERTION",
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "Zlib",
            "externalRefs": [
                {
                    "referenceCategory": "PACKAGE-MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": "pkg:generic/zlib@1.3.1",
                }
            ],
        },
        {"SPDXID": "SPDXRef-Package-model", "name": "model", "downloadLocation": "NONE"},
    ],
    "relationships": [
        {
            "spdxElementId": "SPDXRef-DOCUMENT",
            "relatedSpdxElement": "SPDXRef-Package-model",
            "relationshipType": "DESCRIBES",
        }
    ],
}
SPDX_3: dict[str, Any] = {
    "@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld",
    "@graph": [
        {"type": "CreationInfo", "@id": "_:c", "specVersion": "3.0.1", "created": "2026-11-01T12:00:00Z",
         "createdBy": ["https://example.com/me"]},
        {"type": "SpdxDocument", "spdxId": "https://example.com/doc", "creationInfo": "_:c"},
        {"type": "software_Package", "spdxId": "https://example.com/zlib", "creationInfo": "_:c", "name": "zlib",
         "software_packageVersion": "1.3.1", "software_packageUrl": "pkg:generic/zlib@1.3.1"},
    ],
}  # fmt: skip
CYCLONEDX: dict[str, Any] = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": []}


@functools.cache
def real() -> bytes:
    """What cargo-cyclonedx wrote for jsonschema-rs, as that package (MIT) carries it."""
    files = importlib.metadata.files("jsonschema-rs") or []
    (found,) = (file for file in files if file.name.endswith(".cyclonedx.json"))
    return found.read_binary()


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


@pytest.fixture
def scope(node: Node) -> Scope:
    scope = admin_scope(node)
    catalog(node, scope, "vad", "1")
    return scope


def _upload(scope: Scope, node: Node, data: bytes, name: str = "sbom.json") -> Upload:
    return uploads.upload_stream(scope, node, name, len(data), [data])


def _attach(scope: Scope, node: Node, data: bytes) -> Sbom:
    return sboms.attach(scope, node, "vad", "1", _upload(scope, node, data).id)


def _current(scope: Scope, node: Node) -> Sbom:
    found = sboms.find(scope, node, "vad", "1").current
    assert found is not None
    return found


def _actions(node: Node) -> list[str]:
    records = schema.audit_records
    with node.db.read() as tx:
        query = sa.select(records.c.action).where(records.c.action.like("sbom.%")).order_by(records.c.sequence)
        return list(tx.scalars(query))


# -- what is said about documents -------------------------------------------------------------------------------------


def test_what_cyclonedx_py_says_of_this_environment_is_valid(tmp_path: Path) -> None:
    written = tmp_path / "environment.json"
    command = [
        sys.executable,
        "-m",
        "cyclonedx_py",
        "environment",
        "--no-validate",
        "--of",
        "JSON",
        "--sv",
        "1.6",
        "-o",
        str(written),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    verdict = check([written.read_bytes()])
    assert (verdict.format, verdict.spec_version, verdict.reasons) == ("CycloneDX", "1.6", ())
    named = {one.name: one for one in verdict.components}
    assert named["msgspec"].version == importlib.metadata.version("msgspec")
    assert named["msgspec"].purl == f"pkg:pypi/msgspec@{named['msgspec'].version}"
    assert verdict.component_count == len(verdict.components) > 50


def test_what_cargo_cyclonedx_says_of_a_package_is_valid() -> None:
    verdict = check([real()])
    assert (verdict.format, verdict.spec_version, verdict.reasons) == ("CycloneDX", "1.5", ())
    assert verdict.component_count == len(json.loads(real())["components"]) == len(verdict.components)
    assert sum(count for _, count in verdict.licenses) <= verdict.component_count
    assert ("MIT OR Apache-2.0") in dict(verdict.licenses)


@pytest.mark.parametrize("version", ["1.4", "1.5", "1.6", "1.7"])
def test_every_cyclonedx_version_and_its_nested_components(version: str) -> None:
    inner = {"type": "library", "name": "inner", "version": "2", "licenses": [{"expression": "MIT AND ISC"}]}
    outer = {"type": "library", "group": "org", "name": "outer", "version": "1", "components": [inner]}
    verdict = verdict_on(_json({**CYCLONEDX, "specVersion": version, "components": [outer, inner]}))
    assert verdict.reasons == ()
    assert [(one.name, one.version, one.license) for one in verdict.components] == [
        ("org/outer", "1", ""), ("inner", "2", "MIT AND ISC"), ("inner", "2", "MIT AND ISC"),
    ]  # fmt: skip
    assert verdict.licenses == (("MIT AND ISC", 2), ("", 1))


def test_spdx_2_and_3() -> None:
    two, three = verdict_on(_json(SPDX_2)), verdict_on(_json(SPDX_3))
    assert (two.format, two.spec_version, two.reasons) == ("SPDX", "2.3", ())
    assert [(one.name, one.version, one.purl, one.license) for one in two.components] == [
        ("zlib", "1.3.1", "pkg:generic/zlib@1.3.1", "Zlib"), ("model", "", "", ""),
    ]  # fmt: skip
    assert (three.format, three.spec_version, three.reasons) == ("SPDX", "3.0", ())
    assert [(one.name, one.purl) for one in three.components] == [("zlib", "pkg:generic/zlib@1.3.1")]


@pytest.mark.parametrize(
    ("document", "pointer", "rule"),
    [
        ({**CYCLONEDX, "components": [{"type": "library"}]}, "/components/0", '"name" is a required property'),
        ({**CYCLONEDX, "components": [{"type": "lib", "name": "x"}]}, "/components/0/type", '"lib" is not one of'),
        ({**CYCLONEDX, "a/b~c": 1}, "", "additional"),
        ({**CYCLONEDX, "specVersion": "1.2"}, "", "must be one of 1.4, 1.5, 1.6, 1.7"),
        ({**SPDX_2, "packages": [{"SPDXID": "SPDXRef-x", "name": "x"}]}, "/packages/0", "downloadLocation"),
        ({**SPDX_2, "creationInfo": {"created": "yesterday", "creators": ["me"]}}, "/creationInfo/created", "match"),
        ({key: value for key, value in SPDX_2.items() if key != "documentNamespace"}, "", "documentNamespace"),
        ({**SPDX_3, "@graph": SPDX_3["@graph"][:1]}, "/@graph", "must have exactly one SpdxDocument"),
        ({**SPDX_3, "@graph": 5}, "/@graph", 'is not of type "array"'),
        ({"hello": 1}, "", "must say what it is"),
        ([], "", "must be a JSON object"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(document: Any, pointer: str, rule: str) -> None:
    reasons = verdict_on(_json(document)).reasons
    assert any(one.pointer == pointer and rule.lower() in one.rule.lower() for one in reasons), reasons


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "must be JSON"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b'{"bomFormat": "CycloneDX", "version": NaN}', "NaN is no JSON"),
        (b'<?xml version="1.0"?><bom xmlns="http://cyclonedx.org/schema/bom/1.6"/>', "CycloneDX XML: convert it"),
        (b"SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\n", "tag-value form: convert it"),
        (b"[" * 100_000, "nested at most 64"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "nested at most 64"),
        (gzip.compress(b" " * (65 << 20)), "64 MiB when it is unpacked"),
        (gzip.compress(real())[:-9], "whole gzip file"),
        (gzip.compress(real()) + b"more", "nothing behind it"),
        (b"1" * 5000, "must be JSON"),
        (b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": {"\\ud800": 1}}', "half of a surrogate pair"),
    ],
)
def test_bytes_that_are_no_document_are_refused_in_words(data: bytes, rule: str) -> None:
    verdict = verdict_on(data)
    assert [one.pointer for one in verdict.reasons] == [""]
    assert rule in verdict.reasons[0].rule


def test_reasons_and_texts_are_bounded() -> None:
    wrong = {"type": "x" * 10_000}
    verdict = verdict_on(_json({**CYCLONEDX, "components": [wrong] * 1000}))
    assert len(verdict.reasons) == 20
    assert max(len(one.rule) for one in verdict.reasons) <= 300
    long = {"type": "library", "name": "n\0" + "x" * 9000, "version": "\ud800"}
    (kept,) = verdict_on(_json({**CYCLONEDX, "components": [long]})).components
    assert (len(kept.name), kept.name[:2], kept.version) == (512, "n\ufffd", "?")


def test_a_packed_document_is_checked_as_what_is_in_it() -> None:
    assert verdict_on(gzip.compress(real())) == verdict_on(real())


# -- the child process ------------------------------------------------------------------------------------------------


def test_one_that_eats_memory_ends_with_words_and_the_node_goes_on() -> None:
    hungry = b"[" + b"{}," * 20_000_000 + b"{}]"  # 60 MB of text, gigabytes of objects
    with_verdict = check([hungry])
    assert "1024 MiB of memory" in with_verdict.reasons[0].rule


def test_one_that_takes_too_long_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(NoVerdict, match=r"longer than 0\.2 s"):
        check(_slowly(), max_seconds=0.2)
    assert time.monotonic() - began < 10


def test_one_that_has_closed_its_output_and_hangs_is_ended() -> None:
    hangs = "import os, sys, time; sys.stdin.buffer.read(); os.close(1); time.sleep(30)"
    began = time.monotonic()
    with pytest.raises(NoVerdict, match="longer than 1 s"):
        check([b"{}"], max_seconds=1, program=(sys.executable, "-I", "-c", hangs))
    assert time.monotonic() - began < 60


def _slowly() -> Any:
    """Bytes that do not come to an end by themselves."""
    waits = threading.Event()
    for _ in range(1000):
        yield b" " * 100_000
        waits.wait(0.01)


def test_the_child_gets_nothing_of_the_nodes_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nonexistent")
    monkeypatch.setenv("PYTHONSTARTUP", "/nonexistent")
    assert check([_json(CYCLONEDX)]).reasons == ()


# -- attached, checked, replaced, removed -----------------------------------------------------------------------------


def test_attached_then_checked_then_valid(node: Node, scope: Scope) -> None:
    attached = _attach(scope, node, real())
    assert (attached.state, attached.received_by, attached.size_bytes) == ("received", "user:admin", len(real()))
    nudged = []
    node.hub.subscribe(lambda change: nudged.append(change.kind))
    worker.run(node)
    found = _current(scope, node)
    assert (found.state, found.format, found.spec_version) == ("valid", "CycloneDX", "1.5")
    assert found.component_count == 205
    assert found.licenses[0] == ("MIT OR Apache-2.0", 100)
    assert nudged == ["sboms"]
    page = sboms.components(scope, node, "vad", "1", search="jsonschema", limit=2)
    assert [one.name for one in page.items] == ["jsonschema", "jsonschema-macros"]
    walked, cursor = 0, ""
    while True:
        page = sboms.components(scope, node, "vad", "1", limit=100, cursor=cursor)
        walked += len(page.items)
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert (walked, page.total) == (205, 205)
    assert _actions(node) == ["sbom.attach", "sbom.check"]
    with node.db.read() as tx:
        assert tx.execute(sa.select(schema.uploads)).all() == []


def test_an_invalid_one_says_why(node: Node, scope: Scope) -> None:
    _attach(scope, node, _json({**CYCLONEDX, "components": [{"type": "library"}]}))
    worker.run(node)
    found = _current(scope, node)
    assert (found.state, found.reasons) == ("invalid", (("/components/0", '"name" is a required property'),))
    assert sboms.components(scope, node, "vad", "1").items == []


def test_replaced_and_removed_ones_stay_in_the_history_with_their_bytes(node: Node, scope: Scope) -> None:
    first = _attach(scope, node, real())
    worker.run(node)
    second = _attach(scope, node, gzip.compress(_json(SPDX_2)))
    worker.run(node)
    assert _current(scope, node).format == "SPDX"
    sboms.remove(scope, node, "vad", "1", "of another product")
    view = sboms.find(scope, node, "vad", "1")
    assert view.current is None
    assert [(one.sha256, one.ended_reason, one.ended_by) for one in view.ended] == [
        (second.sha256, "of another product", "user:admin"),
        (first.sha256, "replaced", "user:admin"),
    ]
    for sbom, data in ((first, real()), (second, gzip.compress(_json(SPDX_2)))):
        _, pieces = sboms.document(scope, node, "vad", "1", sbom.sha256)
        assert len(b"".join(pieces)) == len(data)
    with node.db.read() as tx:
        assert tx.execute(sa.select(schema.sbom_components)).all() == []
    with pytest.raises(NotFound, match="attach one first"):
        sboms.remove(scope, node, "vad", "1", "again")
    assert _actions(node) == [
        "sbom.attach", "sbom.check", "sbom.attach", "sbom.check", "sbom.remove",
    ]  # fmt: skip


def test_the_same_again_is_refused_unless_it_was_found_invalid(node: Node, scope: Scope) -> None:
    _attach(scope, node, real())
    with pytest.raises(Conflict, match=r"has it already \(received\)"):
        _attach(scope, node, real())
    _attach(scope, node, b"{}")
    worker.run(node)
    assert _current(scope, node).state == "invalid"
    assert _attach(scope, node, b"{}").state == "received"


def test_what_cannot_be_attached(node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = uploads.create(scope, node, "sbom.json", 10)
    with pytest.raises(Invalid, match="must be whole: 0 of 10 bytes"):
        sboms.attach(scope, node, "vad", "1", upload.id)
    with pytest.raises(Invalid, match="must not be empty"):
        _attach(scope, node, b"")
    with pytest.raises(NotFound):
        sboms.attach(scope, node, "vad", "99", _upload(scope, node, b"{}").id)
    monkeypatch.setattr(sboms, "MAX_BYTES", 100)
    with pytest.raises(TooLarge, match="compress it"):
        _attach(scope, node, b" " * 101)
    assert sboms.find(scope, node, "vad", "1").current is None


# -- the job through crashes ------------------------------------------------------------------------------------------


def test_a_check_that_a_crash_ended_is_made_by_the_next_worker(
    node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    _attach(scope, node, real())

    def crash(_pieces: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sboms, "check", crash)
        with pytest.raises(KeyboardInterrupt):
            sboms.check_next(node)
    assert not sboms.check_next(node)  # it may still be at it, in another process
    _claims_pass(node)
    assert sboms.check_next(node)
    assert (_current(scope, node).state, _current(scope, node).attempts) == ("valid", 2)


def _claims_pass(node: Node) -> None:
    with node.db.write() as tx:
        past = engine.now(tx) - CLAIM - timedelta(seconds=1)
        tx.execute(sa.update(schema.sboms).values(claimed_until=past))


def test_one_that_never_gives_a_verdict_is_called_invalid_in_the_end(
    node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    _attach(scope, node, real())
    monkeypatch.setattr(sboms, "check", functools.partial(check, max_seconds=0.0))
    for attempt in range(1, MOST_ATTEMPTS + 1):
        assert _current(scope, node).state == "received"
        assert sboms.check_next(node)
        assert _current(scope, node).attempts == attempt
    found = _current(scope, node)
    assert found.state == "invalid"
    assert "3 checks ended without a verdict, it took longer than 0 s" in found.reasons[0][1]


def test_one_replaced_while_it_was_checked_changes_nothing(
    node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    _attach(scope, node, real())

    def meanwhile(pieces: Any) -> Any:
        verdict = check(pieces)
        monkeypatch.undo()
        _attach(scope, node, _json(SPDX_2))
        return verdict

    monkeypatch.setattr(sboms, "check", meanwhile)
    assert sboms.check_next(node)
    view = sboms.find(scope, node, "vad", "1")
    assert view.current is not None
    assert (view.current.state, view.ended[0].state) == ("received", "received")
    with node.db.read() as tx:
        assert tx.execute(sa.select(schema.sbom_components)).all() == []


def test_two_workers_never_check_the_same_one(node: Node, scope: Scope) -> None:
    catalog(node, scope, "vad", "2")
    _attach(scope, node, real())
    sboms.attach(scope, node, "vad", "2", _upload(scope, node, _json(SPDX_2)).id)
    threads = [threading.Thread(target=sboms.check_next, args=(node,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = [sboms.find(scope, node, "vad", version).current for version in ("1", "2")]
    assert [(one.state, one.attempts) for one in found if one] == [("valid", 1), ("valid", 1)]


def test_bytes_that_are_gone_are_said_to_be(node: Node, scope: Scope) -> None:
    attached = _attach(scope, node, real())
    node.blobs.delete(attached.sha256)
    worker.run(node)
    assert "bytes are gone" in _current(scope, node).reasons[0][1]


def test_an_abandoned_upload_with_the_same_bytes_takes_none_away(node: Node, scope: Scope) -> None:
    attached = _attach(scope, node, real())
    _upload(scope, node, real())
    with node.db.write() as tx:
        tx.execute(sa.update(schema.uploads).values(touched_at=engine.now(tx) - timedelta(days=30)))
    assert uploads.purge(node) == 1
    assert node.blobs.size(attached.sha256) == len(real())


# -- over HTTP --------------------------------------------------------------------------------------------------------


@on_sqlite
def test_over_http(node: Node, scope: Scope) -> None:
    client = Client(Starlette(routes=routes(node, table.calls())), bearer=api_key(node, "operator"))
    path = "/v1/artifacts/vad/1/sbom"
    assert client.request("GET", path).json() == {"current": None, "ended": []}
    made = client.request("POST", path, body={"upload": _upload(scope, node, real(), "vad.cdx.json").id})
    assert (made.status, made.json()["state"]) == (201, "received")
    worker.run(node)
    current = client.request("GET", path).json()["current"]
    assert (current["state"], current["licenses"][0]) == (
        "valid", {"license": "MIT OR Apache-2.0", "components": 100},
    )  # fmt: skip
    got = client.request("GET", f"{path}/documents/{current['sha256']}")
    assert (got.status, got.body) == (200, real())
    assert got.headers["content-disposition"] == 'attachment; filename="vad.cdx.json"'
    assert got.headers["content-type"] == "application/octet-stream"
    assert client.request("GET", f"{path}/documents/{'0' * 64}").status == 404
    assert client.request("GET", f"{path}/components?search=serde&limit=1").json()["items"][0]["purl"]
    assert client.request("DELETE", path).status == 422
    assert client.request("DELETE", f"{path}?reason=wrong").status == 204
    assert client.request("GET", f"{path}/components").status == 404


@on_sqlite
def test_another_fleets_document_is_not_there(node: Node, scope: Scope) -> None:
    attached = _attach(scope, node, real())
    stranger = dataclasses.replace(scope, fleet_id=type(scope.fleet_id)(999), fleet="other")
    with pytest.raises(NotFound):
        sboms.document(stranger, node, "vad", "1", attached.sha256)
    assert artifacts.find(scope, node, "vad", "1").artifact.version == "1"
