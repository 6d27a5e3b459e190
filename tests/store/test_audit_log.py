"""The audit log as a service: listing, checkpoints, verifying, exporting, checking a file offline."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tidegate.cli import main as cli
from tidegate.control.domain import audit as domain
from tidegate.control.domain.access import Scope
from tidegate.control.domain.audit import Head
from tidegate.control.domain.audit_export import SIGNED_PREFIX, check_export, lines_of
from tidegate.control.services import audit, audit_log, checkpoints
from tidegate.control.services.node import Node
from tidegate.control.store import audit as store
from tidegate.control.store.audit import Filter
from tidegate.control.store.schema import audit_heads, audit_records
from tidegate.control.workers import checkpoints as worker
from tidegate.errors import Forbidden, Invalid, Untrusted
from tidegate.testing.node import admin_scope

_CHAIN = audit_records.c.chain == 1


def _write(node: Node, count: int, action: str = "test.act") -> Scope:
    scope = admin_scope(node)
    with node.db.write() as tx:
        for number in range(count):
            audit.record(tx, scope, action=action, subject=f"thing:{number}", data={"n": number})
    return scope


def _run(node: Node, *statements: sa.Executable) -> None:
    with node.db.write() as tx:
        for statement in statements:
            tx.execute(statement)


def _broken(node: Node) -> domain.Broken:
    found = audit_log.verify(admin_scope(node), node).broken
    assert found is not None
    return found


# -- checkpoints ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_written_for_what_is_new_and_not_again_before_its_time(node: Node) -> None:
    _write(node, 3)
    assert [(made.chain, made.sequence) for made in checkpoints.write_due(node)] == [(1, 3)]
    _write(node, 1)
    assert checkpoints.write_due(node) == []
    _write(node, checkpoints.EVERY_RECORDS)
    assert [made.sequence for made in checkpoints.write_due(node)] == [1004]
    assert audit_log.verify(admin_scope(node), node).checkpoint == 1004


def test_what_a_power_cut_left_of_a_checkpoint_counts_for_nothing(node: Node) -> None:
    _write(node, 1)
    checkpoints.write_due(node)
    path = node.settings.data_dir / "audit" / "1.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert len(checkpoints.read(node, 1)) == 1
    _write(node, checkpoints.EVERY_RECORDS)
    checkpoints.write_due(node)
    assert [point.sequence for point in checkpoints.read(node, 1)] == [1, 1001]


def test_rows_cut_off_with_the_head_mended_are_found(node: Node) -> None:
    _write(node, 6)
    checkpoints.write_due(node)
    with node.db.read() as tx:
        fourth = list(store.walk(tx, 1))[3]
    _run(
        node,
        sa.delete(audit_records).where(_CHAIN, audit_records.c.sequence > 4),
        sa.update(audit_heads).where(audit_heads.c.chain == 1).values(sequence=4, hash=fourth.hash),
    )
    assert _broken(node).sequence == 5
    with pytest.raises(Untrusted):
        checkpoints.write_due(node)
    worker.run(node)  # tells it, and goes on


def test_a_chain_written_anew_with_right_hashes_is_found(node: Node) -> None:
    _write(node, 6)
    checkpoints.write_due(node)
    with node.db.read() as tx:
        old = list(store.walk(tx, 1))
    head, forged = domain.EMPTY, []
    for record in old:
        actor = "user:innocent" if record.sequence == 2 else record.actor
        made = domain.following(
            head, chain=1, at=record.at, actor=actor, action=record.action, subject=record.subject, data=record.data
        )
        forged.append(made)
        head = Head(made.sequence, made.hash)
    with node.db.write() as tx:
        tx.execute(sa.delete(audit_records).where(_CHAIN))
        for record in forged:
            store.append(tx, record)
        assert domain.check(store.walk(tx, 1)).broken is None  # the chain alone shows nothing
    broken = _broken(node)
    assert (broken.sequence, "written anew" in broken.reason) == (6, True)


def test_changed_checkpoints_are_found(node: Node) -> None:
    _write(node, 2)
    checkpoints.write_due(node)
    path = node.settings.data_dir / "audit" / "1.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"sequence":2', b'"sequence":1'))
    assert "checkpoint 1" in _broken(node).reason


def test_rows_cut_off_the_end_are_found_by_the_head(node: Node) -> None:
    _write(node, 6)
    _run(node, sa.delete(audit_records).where(_CHAIN, audit_records.c.sequence > 4))
    assert _broken(node).sequence == 5


# -- listing ----------------------------------------------------------------------------------------------------------


def test_records_are_found_by_what_they_say(node: Node) -> None:
    scope = _write(node, 3)
    _write(node, 2, "other.act")
    find = lambda **wanted: audit_log.list_records(scope, node, Filter(**wanted)).total  # noqa: E731
    assert [find(), find(action="test.*"), find(action="test.act"), find(action="test")] == [5, 3, 3, 0]
    assert [find(subject="thing:1"), find(actor="user:admin"), find(action="%*")] == [2, 5, 0]
    now = node.clock.now()
    assert [find(since=now - timedelta(hours=1)), find(before=now - timedelta(hours=1))] == [5, 0]
    first = audit_log.list_records(scope, node, Filter(), limit=2)
    assert [record.sequence for record in first.items] == [5, 4]
    assert first.next_cursor is not None
    rest = audit_log.list_records(scope, node, Filter(), limit=50, cursor=first.next_cursor)
    assert [record.sequence for record in rest.items] == [3, 2, 1]


def test_the_nodes_own_chain_needs_the_permission_for_all_fleets(node: Node) -> None:
    scope = Scope(admin_scope(node).actor, admin_scope(node).fleet_id, "default", frozenset({"audit.read"}))
    audit_log.verify(scope, node)
    with pytest.raises(Forbidden):
        audit_log.verify(scope, node, of_node=True)
    with pytest.raises(Forbidden):
        audit_log.export(scope, node)


# -- export -----------------------------------------------------------------------------------------------------------


def _exported(node: Node, until: int | None = None) -> bytes:
    _, pieces = audit_log.export(admin_scope(node), node, until=until)
    return b"".join(pieces)


def test_an_export_is_the_same_bytes_every_time_and_its_signature_fits(node: Node) -> None:
    scope = _write(node, 1_500)
    signed = audit_log.sign_export(scope, node)
    data = _exported(node, signed.until)
    assert data == _exported(node, 1_500)
    verdict = check_export(lines_of([data[:70_000], data[70_000:]]))
    assert (verdict.count, verdict.broken) == (1_500, None)
    key = load_pem_public_key(signed.public_key.encode())
    assert isinstance(key, Ed25519PublicKey)
    key.verify(base64.b64decode(signed.signature), SIGNED_PREFIX + signed.sha256.encode())
    with pytest.raises(Invalid):
        audit_log.export(scope, node, until=9_999)


def test_an_export_of_a_broken_chain_says_so_itself(node: Node) -> None:
    _write(node, 4)
    _run(node, sa.update(audit_records).where(_CHAIN, audit_records.c.sequence == 2).values(actor="user:x"))
    assert json.loads(_exported(node).splitlines()[-1])["verdict"]["verified"] is False
    _run(node, sa.delete(audit_records).where(_CHAIN, audit_records.c.sequence == 4))
    assert check_export(lines_of([_exported(node)])).broken is not None


_EDITS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], int]] = {
    "altered": (lambda lines: [lines[0], lines[1].replace(b"thing:1", b"thing:9"), *lines[2:]], 2),
    "deleted": (lambda lines: [lines[0], *lines[2:]], 2),
    "reordered": (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], 2),
    "truncated": (lambda lines: lines[:3], 4),
    "truncated with the verdict kept": (lambda lines: [*lines[:3], lines[-1]], 4),
    "lengthened": (lambda lines: [*lines, lines[0]], 6),
    "garbage": (lambda lines: [lines[0], b"{", *lines[1:]], 2),
    "empty": (lambda lines: [], 1),
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", _EDITS)
def test_the_command_line_names_the_first_broken_record_of_a_file_without_a_node(
    node: Node, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    edit, sequence = _EDITS[name]
    _write(node, 5)
    file = tmp_path / "export.jsonl"
    file.write_bytes(_exported(node))
    with pytest.raises(SystemExit) as ended:
        cli.main(["--json", "audit", "verify", str(file)])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["count"] == 5
    file.write_bytes(b"\n".join(edit(file.read_bytes().splitlines())))
    with pytest.raises(SystemExit) as ended:
        cli.main(["--json", "audit", "verify", str(file)])
    assert ended.value.code == 6
    printed = capsys.readouterr()
    assert json.loads(printed.out)["broken_sequence"] == sequence
    assert f"first broken record {sequence}" in printed.err
