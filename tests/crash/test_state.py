"""What the transaction stands on: journal, outbox, content store, and what is not believed of a node."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from tests.crash.real import BEFORE, C6, DESTINATION, Outside, at_destination, executor
from tests.crash.scenarios import REMOVE, V5, V6, install, wants

from tidegate.agent import journal as journals
from tidegate.agent import state
from tidegate.agent.execute import Executor
from tidegate.agent.journal import Damaged
from tidegate.agent.orders import order_of, work_of
from tidegate.agent.outbox import MAX_REPORTS
from tidegate.agent.payloads.owner import NOBODY
from tidegate.agent.requirements import satisfies
from tidegate.agent.transaction.book import Book
from tidegate.agent.transaction.model import Record
from tidegate.agent.view import View
from tidegate.clock import SystemClock
from tidegate.errors import Conflict, Invalid, Unavailable, Untrusted
from tidegate.versions import compare
from tidegate.wire.device import Report, ReportResult, ReportsAnswer, Work


def test_a_name_keeps_its_kind_while_something_of_it_runs(tmp_path: Path) -> None:
    """Else two would run under one name, and the way back would be looked for among the wrong versions."""
    (tmp_path / "etc").mkdir()
    (tmp_path / DESTINATION[1:]).write_bytes(BEFORE)
    executor(tmp_path, "one").run(wants(install(V5, "r1")))
    executor(tmp_path, "two").run(wants(install(C6, "r2")))
    pending = state.outbox(tmp_path).pending()
    assert pending is not None
    last = pending.items[-1]
    assert (last.work, last.state) == ("r2", "failed")
    assert last.reason == "cannot apply vad 6 as a config: vad is a model on this device; remove that first"
    assert (tmp_path / "models/vad/current").readlink().name.startswith("5@")
    assert at_destination(tmp_path) == BEFORE
    executor(tmp_path, "three").run(wants(REMOVE))
    executor(tmp_path, "four").run(wants(install(C6, "r4")))
    assert at_destination(tmp_path) == b"model 6"


def test_a_journal_with_fields_of_a_later_release_is_read(tmp_path: Path) -> None:
    book = Book(records=(Record(order_of(install(V6))),))
    fields = msgspec.json.decode(journals.encode(book).partition(b"\n")[2])
    fields["later"] = fields["records"][0]["later"] = {"a": 1}
    body = msgspec.json.encode(fields)
    assert journals.decode(b"tidegate-journal 1 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body) == book
    assert isinstance(journals.decode(body), Damaged)


def report(work: str, what: str) -> Report:
    return msgspec.convert({"sequence": 1, "work": work, "state": what, "at": datetime.now(UTC)}, Report)


def test_reports_are_told_once_and_kept_until_acknowledged(tmp_path: Path) -> None:
    box = state.outbox(tmp_path)
    for what in ("ready", "ready", "healthy"):
        box.add(report("r1", what))
    pending = box.pending()
    assert pending is not None
    assert [(item.sequence, item.state) for item in pending.items] == [(1, "ready"), (2, "healthy")]
    box.acknowledge(ReportsAnswer((ReportResult(1, "accepted"), ReportResult(2, "refused")), 2))
    box.add(report("r1", "healthy"))
    assert box.pending() is None
    box.node_knows(1)
    box.add(report("r1", "healthy"))
    again = box.pending()
    assert again is not None
    assert [item.sequence for item in again.items] == [3]


def test_a_full_outbox_gives_up_what_went_on_since_and_nothing_else(tmp_path: Path) -> None:
    box = state.outbox(tmp_path)
    box.add(report("first", "ready"))
    for number in range(MAX_REPORTS):
        box.add(report("first" if number == 0 else f"r{number}", "failed"))
    with pytest.raises(Unavailable, match="wait for the node"):
        box.add(report("one more", "failed"))
    pending = box.pending(1000)
    assert pending is not None
    assert {item.state for item in pending.items} == {"failed"}


def test_a_damaged_outbox_begins_a_new_installation(tmp_path: Path) -> None:
    box = state.outbox(tmp_path)
    before = box.installation()
    (tmp_path / "outbox").write_bytes(b"torn")
    box.add(report("r1", "failed"))
    assert box.installation() != before
    assert (tmp_path / "outbox.damaged").read_bytes() == b"torn"


def test_a_download_resumes_and_is_whole_only_when_it_verifies(tmp_path: Path) -> None:
    data = b"0123456789"
    digest, store = hashlib.sha256(data).hexdigest(), state.store(tmp_path)
    store.append(digest, data[:4], 10)
    assert (state.store(tmp_path).partial_length(digest), store.has(digest)) == (4, False)
    with pytest.raises(Untrusted, match="more than its signed length"):
        store.append(digest, data, 10)
    store.append(digest, b"x" * 10, 10)
    with pytest.raises(Untrusted, match="another hash or length"):
        store.finish(digest, 10)
    assert store.partial_length(digest) == 0
    store.append(digest, data, 10)
    store.finish(digest, 10)
    assert store.read(digest, 10) == data
    store.path(digest).chmod(0o600)
    store.path(digest).write_bytes(b"changed")
    with pytest.raises(Untrusted, match="have changed"):
        store.read(digest, 10)
    assert not store.has(digest)


@pytest.mark.parametrize(
    "field",
    [{"artifact": "../etc"}, {"version": "a/b"}, {"descriptor_sha256": "x"}, {"descriptor_path": ""}, {"id": ""}],
    ids=str,
)
def test_work_that_breaks_a_rule_is_not_taken_up(tmp_path: Path, field: dict[str, str]) -> None:
    work = msgspec.structs.replace(install(V6), **field)
    with pytest.raises(Invalid):
        order_of(work)
    root = tmp_path / "state"
    root.mkdir()
    assert executor(root, "one").run(wants(work)).waiting_on.startswith("cannot take up what the node asks for")
    assert not (root / "journal").exists()


def test_an_order_keeps_all_that_a_fetcher_needs() -> None:
    assert work_of(order_of(install(V6))) == install(V6)
    assert work_of(order_of(Work("v1", "remove", "vad"))) == Work("v1", "remove", "vad")


def test_one_executor_at_a_time(tmp_path: Path) -> None:
    outside = Outside()

    def opened() -> Executor:
        return state.open_executor(
            tmp_path, fetcher=outside, prober=outside, leave=outside, inhibitor=outside, clock=SystemClock(),
            pause=lambda _: False, owner=NOBODY,
        )  # fmt: skip

    first = opened()
    with pytest.raises(Conflict, match="another process"):
        opened()
    first.close()
    opened().close()


@pytest.mark.parametrize(
    ("left", "right", "order"),
    [("2.10", "2.9", 1), ("1", "1.0", 0), ("2.0rc1", "2.0", -1), ("1.2+build7", "1.2", 0), ("v2", "v10", -1)],
)
def test_versions_are_ordered(left: str, right: str, order: int) -> None:
    assert compare(left, right) == order
    assert compare(right, left) == -order


@pytest.mark.parametrize(
    ("version", "versions", "met"),
    [("2.5", ">=2,<3", True), ("3.0", ">=2,<3", False), ("1", "", True), ("1", "~1", False), ("1.0", "==1,!=2", True)],
)
def test_ranges(version: str, versions: str, met: bool) -> None:
    assert satisfies(version, versions) is met


def test_a_download_says_how_far_it_has_come(tmp_path: Path) -> None:
    state.journal(tmp_path).write(Book(records=(Record(order_of(install(V6))),)))
    view = View(tmp_path)
    assert [(one.state, one.detail) for one in view.in_progress()] == [("downloading", "")]
    view.downloaded = {"r1": 42}
    assert [(one.state, one.detail) for one in view.in_progress()] == [("downloading", "42 %")]
