"""The audit chain: written once per act, and every way of tampering with its rows is found."""

from __future__ import annotations

import json
import threading

import pytest
import rfc8785
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from tidegate.control.domain import audit as domain
from tidegate.control.domain.access import Actor
from tidegate.control.services import audit
from tidegate.control.services.node import Node
from tidegate.control.store import audit as store
from tidegate.control.store.schema import audit_heads, audit_records
from tidegate.errors import Defect
from tidegate.testing.node import admin_scope


def _write(node: Node, count: int) -> None:
    scope = admin_scope(node)
    with node.db.write() as tx:
        for number in range(count):
            audit.record(tx, scope, action="test.act", subject=f"thing:{number}", data={"n": number, "ü": "é\u2028"})


def _verdict(node: Node) -> domain.Verdict:
    with node.db.read() as tx:
        return domain.check(store.walk(tx, 1))


def test_records_follow_one_another_and_the_head(node: Node) -> None:
    _write(node, 5)
    verdict = _verdict(node)
    assert (verdict.count, verdict.broken) == (5, None)
    with node.db.read() as tx:
        assert store.head(tx, 1) == verdict.head
        first = next(store.walk(tx, 1))
    # Computed again from nothing but the fields, as anybody may.
    body = {"action": first.action, "actor": first.actor, "at": domain.instant(first.at), "chain": 1,
            "data": json.loads(first.data), "sequence": 1, "subject": first.subject}  # fmt: skip
    assert domain.chained(domain.GENESIS, rfc8785.dumps(body)) == first.hash


def test_an_act_that_is_rolled_back_leaves_no_record(node: Node) -> None:
    with pytest.raises(RuntimeError), node.db.write() as tx:
        audit.record(tx, admin_scope(node), action="test.act", subject="thing:1")
        raise RuntimeError
    assert _verdict(node).count == 0


def test_fleet_and_node_have_chains_of_their_own(node: Node) -> None:
    _write(node, 2)
    with node.db.write() as tx:
        record = audit.record_node(tx, Actor("system", "test"), action="test.act", subject="node")
        assert (record.chain, record.sequence) == (0, 1)
        assert store.chains(tx) == [0, 1]


def test_writers_at_once_make_one_chain(node: Node) -> None:
    threads = [threading.Thread(target=_write, args=(node, 5)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verdict = _verdict(node)
    assert (verdict.count, verdict.broken) == (20, None)


_CHAIN = audit_records.c.chain == 1
_TAMPERINGS = {
    "altered data": (sa.update(audit_records).where(_CHAIN, audit_records.c.sequence == 3).values(data='{"n":9}'), 3),
    "altered actor": (sa.update(audit_records).where(_CHAIN, audit_records.c.sequence == 3).values(actor="user:x"), 3),
    "altered hash": (sa.update(audit_records).where(_CHAIN, audit_records.c.sequence == 3).values(hash="0" * 64), 3),
    "deleted": (sa.delete(audit_records).where(_CHAIN, audit_records.c.sequence == 4), 4),
    "first deleted": (sa.delete(audit_records).where(_CHAIN, audit_records.c.sequence == 1), 1),
}


@pytest.mark.parametrize("name", _TAMPERINGS)
def test_a_changed_or_missing_row_is_found(node: Node, name: str) -> None:
    statement, sequence = _TAMPERINGS[name]
    _write(node, 6)
    with node.db.write() as tx:
        tx.execute(statement)
    broken = _verdict(node).broken
    assert broken is not None
    assert broken.sequence == sequence


def test_reordered_rows_are_found(node: Node) -> None:
    _write(node, 6)
    with node.db.write() as tx:
        for old, new in ((2, 99), (3, 2), (99, 3)):
            chosen = sa.and_(_CHAIN, audit_records.c.sequence == old)
            tx.execute(sa.update(audit_records).where(chosen).values(sequence=new))
    broken = _verdict(node).broken
    assert broken is not None
    assert broken.sequence == 2


def test_rows_cut_off_the_end_disagree_with_the_head(node: Node) -> None:
    _write(node, 6)
    with node.db.write() as tx:
        tx.execute(sa.delete(audit_records).where(_CHAIN, audit_records.c.sequence > 4))
        verdict = domain.check(store.walk(tx, 1))
        assert verdict.broken is None
        assert verdict.head != store.head(tx, 1)
        assert tx.scalar(sa.select(audit_heads.c.sequence).where(audit_heads.c.chain == 1)) == 6


def test_what_json_cannot_carry_is_our_mistake() -> None:
    for data in ({"n": 2**53}, {"at": object()}, {1: "x"}):
        with pytest.raises(Defect, match="cannot write an audit record"):
            domain.canonical_data(data)  # type: ignore[arg-type]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(action=st.text(), subject=st.text(), data=st.dictionaries(st.text(), _JSON, max_size=4))
def test_the_bytes_hashed_are_those_of_rfc_8785(action: str, subject: str, data: dict[str, object]) -> None:
    at = domain.datetime(2026, 1, 2, 3, 4, 5, 6)
    text = domain.canonical_data(data)
    body = {"action": action, "actor": "user:a", "at": "2026-01-02T03:04:05.000006Z", "chain": 7, "data": data,
            "sequence": 3, "subject": subject}  # fmt: skip
    assert rfc8785.dumps(body) == domain.canonical_record(
        chain=7, sequence=3, at=at, actor="user:a", action=action, subject=subject, data=text
    )
