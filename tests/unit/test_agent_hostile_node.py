"""What a node that means harm, or is broken, can make of a device by its answers alone: nothing that lasts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import msgspec
import pytest
from tuf.api.metadata import Metadata, Timestamp

from tidegate.agent import identity as identities
from tidegate.agent.backoff import Backoff
from tidegate.agent.identity import Final, Identity
from tidegate.agent.link import ChannelProblem, Link
from tidegate.agent.renewal import Renewal
from tidegate.agent.session import Over, UsePending, course
from tidegate.agent.status import Status, in_words
from tidegate.agent.words import WORDS_MAX, plain
from tidegate.agent.work import Moved, Rests
from tidegate.agent.worker import Child, Works
from tidegate.errors import Invalid, TidegateError, Unavailable
from tidegate.testing.clock import FakeClock
from tidegate.testing.tls_server import Handler, Pki, TlsServer, answer, http
from tidegate.testing.tuf import World
from tidegate.trust.tuf import client as tuf_client
from tidegate.trust.tuf import roles
from tidegate.wire import device as wire
from tidegate.wire.problem import PROBLEM_JSON, Problem

ESCAPE = "\x1b]0;owned\x07\nfake line\r\x9b2J"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@contextmanager
def linked(pki: Pki, handler: Handler) -> Iterator[Link]:
    with TlsServer(pki, handler) as server:
        link = Link(server.url, pki.ca_pem, None, timeout_seconds=5)
        yield link
        link.close()


def beaten(pki: Pki, **fields: object) -> wire.HeartbeatAnswer:
    said = {
        "interval_seconds": 30, "desired_digest": "a" * 64, "ca_bundle_sha256": "b" * 64,
        "server_time": "2026-01-01T00:00:00Z", "desired": {"work": []},
    }  # fmt: skip
    with linked(pki, lambda _: answer(said | fields)) as link:
        return link.heartbeat(wire.Heartbeat(installation="0" * 32))


def test_a_digest_that_is_none_is_never_said_back(pki: Pki) -> None:
    """A good node would refuse the malformed heartbeat that carries it, and all that follow."""
    assert beaten(pki, desired_digest="x" * 5000).desired_digest == ""
    assert beaten(pki).desired_digest == "a" * 64


def test_words_from_the_node_do_not_reach_a_terminal_raw(pki: Pki) -> None:
    notice = beaten(pki, desired={"work": [], "notice": ESCAPE + "x" * 100_000}).desired
    assert isinstance(notice, wire.DesiredState)
    assert notice.notice.isprintable()
    assert len(notice.notice) <= WORDS_MAX
    said = wire.LeaveAnswer(granted=False, reason=ESCAPE * 10_000)
    with linked(pki, lambda _: answer(said)) as link:
        reason = link.leave(wire.LeaveRequest("r1")).reason
    assert reason.isprintable()
    assert len(reason) <= WORDS_MAX
    with (
        linked(pki, lambda _: problem(ESCAPE)) as link,
        pytest.raises(ChannelProblem) as caught,
    ):
        link.leave(wire.LeaveRequest("r1"))
    assert caught.value.detail.isprintable()


def problem(detail: str) -> bytes:
    return http(409, msgspec.json.encode(Problem("/problems/conflict", "no", 409, detail)), PROBLEM_JSON)


@pytest.mark.parametrize(("said", "kept"), [(0, 1), (-5, 1), (30, 30), (10**18, 3600)])
def test_when_to_ask_for_leave_again_is_bounded(pki: Pki, said: int, kept: int) -> None:
    """At once would be a loop, in years would outlast the node that said it."""
    given = wire.LeaveAnswer(granted=False, reason="no", retry_after_seconds=said)
    with linked(pki, lambda _: answer(given)) as link:
        assert link.leave(wire.LeaveRequest("r1")).retry_after_seconds == kept


def test_a_deep_problem_is_trouble_and_nothing_else(pki: Pki) -> None:
    deep = b'{"x":' * 9_000
    with linked(pki, lambda _: http(409, deep, PROBLEM_JSON)) as link, pytest.raises(TidegateError) as caught:
        link.leave(wire.LeaveRequest("r1"))
    assert type(caught.value) is Unavailable


def test_a_server_of_another_time_says_so_and_what_this_clock_says(pki: Pki, tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    from tidegate.testing import tls_server
    from tidegate.trust.pki.authority import new_serial

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    served = pki.server_ca.issue_server(
        key.public_key(), ["127.0.0.1"], new_serial(), now + timedelta(days=1), now + timedelta(days=2)
    )
    assert x509.load_pem_x509_certificates(served)
    other = Pki(tmp_path)
    other.server_file.write_bytes(tls_server._pem(key) + served)
    with TlsServer(other, lambda _: None) as server:
        link = Link(server.url, pki.ca_pem, None, timeout_seconds=5)
        with pytest.raises(TidegateError, match=r"not yet valid; the clock of this device says 20\d\d-"):
            link.heartbeat(wire.Heartbeat(installation="0" * 32))


def test_a_snapshot_as_long_as_the_node_says_is_not_taken(tmp_path: Path) -> None:
    """Whoever holds the timestamp key says how long the snapshot is; the device's memory is not theirs to fill."""
    world, asked = World(), dict[str, int]()
    timestamp = Metadata[Timestamp].from_bytes(world.rows["timestamp"].data).signed
    timestamp.version += 1
    timestamp.snapshot_meta.length = 1 << 40
    world.put({"timestamp": roles.sign("timestamp", timestamp, [world.keys["timestamp"]])})
    device = world.client(tmp_path)

    def fetch(path: str, max_bytes: int) -> bytes:
        asked[path] = max_bytes
        return world.fetch(path, max_bytes)

    device._fetch = fetch
    with pytest.raises(TidegateError):
        device.refresh()
    assert max(asked.values()) <= tuf_client.TARGETS_MAX_BYTES


# -- identity ---------------------------------------------------------------------------------------------------------


def test_a_chain_too_long_for_its_file_does_not_stop_renewals(tmp_path: Path, pki: Pki) -> None:
    identity = Identity(tmp_path)
    identity.accept(pki.device(identity.begin()))
    identity.promote()
    (tmp_path / "pending.pem").write_bytes(b"x" * (identities.FILE_MAX_BYTES + 1))
    identity.accept(pki.device(identity.begin()))
    identity.promote()
    assert identity.pending() is None


def test_a_wipe_takes_the_key_out_of_unfinished_writes_too(tmp_path: Path, pki: Pki) -> None:
    identity = Identity(tmp_path)
    identity.accept(pki.device(identity.begin()))
    (tmp_path / ".pending.pem.0123abcd.new").write_bytes((tmp_path / "pending.pem").read_bytes())
    identity.wipe(Final("device-decommissioned", "gone", datetime.now(UTC)))
    assert [path.name for path in tmp_path.iterdir()] == ["final.json"]


def test_a_lost_first_answer_on_the_new_certificate_ends_nothing() -> None:
    """The node retired the old one when it saw the new one; the old one's refusal is then no last word."""
    replaced = ChannelProblem("words", Problem("/problems/x/certificate-replaced", "x", 403), 7)
    assert course(replaced, on_pending=False, has_current=True, has_pending=True) == UsePending()
    assert isinstance(course(replaced, on_pending=False, has_current=True, has_pending=False), Over)


def test_renewals_that_go_well_are_still_spaced(tmp_path: Path, pki: Pki) -> None:
    """A clock years ahead makes every new certificate look old; a hostile node asks for a new one each time."""
    identity = Identity(tmp_path)
    certificate = identity.accept(pki.device(identity.begin(), days=0.01, age_days=1))
    clock, started = FakeClock(datetime.now(UTC)), list[Child]()

    def start() -> Child:
        child = Child.__new__(Child)
        started.append(child)
        return child

    renewal = Renewal(start, clock, Backoff(Random(1), first_seconds=60, max_seconds=21_600))
    for _ in range(24 * 60):
        clock.advance(60)
        renewal.tick(certificate, now_please=True)
        if renewal._child is not None:
            assert renewal.ended(started[-1], 0)
            renewal.settled()
    assert 10 <= len(started) <= 48


# -- the child --------------------------------------------------------------------------------------------------------


class Idle:
    """A view that always has work."""

    def has_work(self, desired: object) -> bool:
        return True


def test_a_child_that_moves_and_dies_is_put_off_ever_longer() -> None:
    clock, waits = FakeClock(datetime.now(UTC)), list[float]()
    works = Works(lambda: _silent(), Idle(), clock, Backoff(Random(1)))  # type: ignore[arg-type]
    for _ in range(8):
        works.wake(None)
        child = works._child
        assert child is not None
        works.said(child, Moved())
        works.ended(child, 1)
        waits.append(works.due_in())
        clock.advance(works.due_in())
        works.tick(None)
        works.ended(works._child, 1) if works._child else None
    assert waits[-1] > 60


def test_why_a_child_gave_up_is_told() -> None:
    works = Works(lambda: _silent(), Idle(), FakeClock(datetime.now(UTC)), Backoff(Random(1)))  # type: ignore[arg-type]
    works.wake(None)
    child = works._child
    assert child is not None
    works.said(child, Rests("cannot work on /x: another process does", None, 0))
    works.ended(child, 2)
    assert works.waiting_on == "the working process ended with status 2: cannot work on /x: another process does"


class _Silent(Child):
    def __init__(self) -> None:
        self._lock = threading.Lock()

    def tell(self, desired: wire.DesiredState | None) -> None:
        return


def _silent() -> Child:
    return _Silent()


# -- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "plain", "two  words", "a\nb\tc", ESCAPE, "é ü 漢", "\u202eevil", "x" * 10_000])
def test_plain_words_are_one_printable_bounded_line(text: str) -> None:
    found = plain(text)
    assert found.isprintable()
    assert len(found) <= WORDS_MAX
    assert plain(found) == found


def test_status_in_words_obeys_nobody() -> None:
    status = Status("0.1.0", running=True, connection=ESCAPE, waiting_on=ESCAPE, problems=(ESCAPE,))
    assert all(line.isprintable() for line in in_words(status))


def test_an_unusable_chain_is_refused_by_its_rule(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no key is waiting"):
        Identity(tmp_path).accept("")
