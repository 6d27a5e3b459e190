"""Who may become a device, over every combination of what can be on record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.control.domain.enrollment import (
    RENEWAL_PAUSE_SECONDS,
    Admitted,
    Certificate,
    Holder,
    Issue,
    IssuePending,
    OnRecord,
    Refusal,
    Resume,
    SameAgain,
    Token,
    decide_enrollment,
    decide_renewal,
    decide_use,
    new_token,
)
from tidegate.errors import Invalid
from tidegate.ids import DeviceId, TokenId

NOW = datetime(2026, 5, 1, tzinfo=UTC)
GRACE = timedelta(days=365)
DAY = timedelta(days=1)

days = st.integers(-400, 400).map(lambda n: NOW + n * DAY)
states = st.sampled_from(["intended", "pending", "current", "retired"])
names = st.sampled_from(["cam-1", "cam-2"])
holders = st.builds(
    Holder,
    id=st.sampled_from([DeviceId(1), DeviceId(2)]),
    name=names,
    state=st.sampled_from(["active", "decommissioned"]),
    ever_signed=st.booleans(),
)


@st.composite
def certificates(draw: st.DrawFn, device_id: DeviceId | None = None) -> Certificate:
    not_before = draw(days)
    return Certificate(
        id=draw(st.integers(1, 9)),
        device_id=device_id or draw(st.sampled_from([DeviceId(1), DeviceId(2)])),
        state=draw(states),
        public_key_sha256=draw(st.sampled_from(["a", "b"])),
        not_before=not_before,
        not_after=not_before + 90 * DAY,
        issued_at=not_before,
        token_id=draw(st.sampled_from([None, TokenId(1), TokenId(2)])),
    )


tokens = st.builds(
    Token,
    id=st.just(TokenId(1)),
    device_name=st.none() | names,
    may_replace=st.booleans(),
    uses_allowed=st.integers(1, 2),
    uses_spent=st.integers(0, 2),
    expires_at=days,
    revoked_at=st.none() | days,
)


@st.composite
def records(draw: st.DrawFn) -> OnRecord:
    holder = draw(st.none() | holders.filter(lambda one: one.state == "active"))
    same_key = []
    for owner in draw(st.lists(holders, max_size=2)):
        same_key.append((draw(certificates(owner.id)), owner))
    return OnRecord(draw(st.none() | tokens), holder, same_key)


def live(**changes: object) -> Token:
    values: dict[str, object] = {
        "id": TokenId(1), "device_name": None, "may_replace": False, "uses_allowed": 1, "uses_spent": 0,
        "expires_at": NOW + DAY, "revoked_at": None,
    }  # fmt: skip
    return Token(**{**values, **changes})  # type: ignore[arg-type]


def certificate(**changes: object) -> Certificate:
    values: dict[str, object] = {
        "id": 1, "device_id": DeviceId(1), "state": "current", "public_key_sha256": "a", "not_before": NOW - DAY,
        "not_after": NOW + 89 * DAY, "issued_at": NOW - DAY, "token_id": TokenId(1),
    }  # fmt: skip
    return Certificate(**{**values, **changes})  # type: ignore[arg-type]


@given(records(), st.none() | names)
def test_a_new_certificate_needs_a_live_token_and_a_name_it_may_take(record: OnRecord, asked: str | None) -> None:
    decided = decide_enrollment(record, asked_name=asked, now=NOW)
    if isinstance(decided, Issue):
        token = record.token
        assert token is not None
        assert token.state(NOW) == "live"
        assert decided.name == (token.device_name or asked)
        if record.holder is None:
            assert decided.device_id is None
        else:
            assert decided.device_id == record.holder.id
            assert token.may_replace or not record.holder.ever_signed


@given(records(), st.none() | names)
def test_a_retired_certificate_is_never_given_again(record: OnRecord, asked: str | None) -> None:
    decided = decide_enrollment(record, asked_name=asked, now=NOW)
    if isinstance(decided, SameAgain):
        assert decided.certificate.in_force(NOW)
    if isinstance(decided, Resume):
        assert decided.certificate.state == "intended"
    if isinstance(decided, SameAgain | Resume):
        owner = next(owner for mine, owner in record.same_key if mine is decided.certificate)
        assert owner.state == "active"


@given(records(), st.none() | names)
def test_a_revoked_or_unknown_token_answers_nobody(record: OnRecord, asked: str | None) -> None:
    decided = decide_enrollment(record, asked_name=asked, now=NOW)
    if record.token is None:
        assert decided == Refusal("token-unknown", "cannot enroll: this enrollment token is not known here")
    elif record.token.revoked_at is not None:
        assert isinstance(decided, Refusal)
        assert decided.kind == "token-revoked"


@given(st.none() | certificates(), st.sampled_from(["active", "decommissioned"]), st.booleans())
def test_only_what_is_in_force_serves(mine: Certificate | None, device: str, renewing: bool) -> None:
    decided = decide_use(mine, device, NOW, renewing=renewing, grace=GRACE)  # type: ignore[arg-type]
    if isinstance(decided, Admitted):
        assert mine is not None
        assert device == "active"
        assert mine.state in ("current", "pending")
        assert decided.promote == (mine.state == "pending")
        assert mine.not_before <= NOW < mine.not_after + (GRACE if renewing else timedelta(0))
    elif mine is not None and device == "active" and mine.state != "intended":
        assert decided.kind in ("certificate-replaced", "certificate-not-yet-valid", "certificate-expired")


@given(st.lists(certificates(DeviceId(1)), max_size=3), st.lists(certificates(), max_size=2))
def test_a_renewal_never_takes_a_key_that_served_before(issued: list[Certificate], same_key: list[Certificate]) -> None:
    decided = decide_renewal(DeviceId(1), issued, same_key, NOW)
    if isinstance(decided, IssuePending):
        assert all(
            other.device_id == DeviceId(1) and other.state in ("pending", "intended") for other in same_key
        )  # fmt: skip
        assert set(decided.supersedes) == {
            other.id for other in issued if other.state in ("pending", "intended") and other.token_id is None
        }
    if isinstance(decided, SameAgain):
        assert decided.certificate.device_id == DeviceId(1)
        assert decided.certificate.state == "pending"


@pytest.mark.parametrize(
    ("token", "asked", "kind"),
    [
        (None, "cam-1", "token-unknown"),
        (live(revoked_at=NOW), "cam-1", "token-revoked"),
        (live(expires_at=NOW), "cam-1", "token-expired"),
        (live(uses_spent=1), "cam-1", "token-spent"),
        (live(), None, "name-required"),
        (live(device_name="cam-2"), "cam-1", "name-mismatch"),
    ],
)
def test_refusals_by_name(token: Token | None, asked: str | None, kind: str) -> None:
    decided = decide_enrollment(OnRecord(token, None), asked_name=asked, now=NOW)
    assert isinstance(decided, Refusal)
    assert decided.kind == kind
    assert decided.detail.startswith("cannot ")


def test_a_name_that_a_device_holds_is_taken_only_with_may_replace() -> None:
    holder = Holder(DeviceId(1), "cam-1", "active", ever_signed=True)
    refused = decide_enrollment(OnRecord(live(), holder), asked_name="cam-1", now=NOW)
    assert isinstance(refused, Refusal)
    assert refused.kind == "name-taken"
    replacing = OnRecord(live(may_replace=True), holder)
    assert decide_enrollment(replacing, asked_name="cam-1", now=NOW) == Issue("cam-1", DeviceId(1))


def test_a_record_that_never_got_a_certificate_does_not_hold_its_name() -> None:
    holder = Holder(DeviceId(1), "cam-1", "active", ever_signed=False)
    assert decide_enrollment(OnRecord(live(), holder), asked_name="cam-1", now=NOW) == Issue("cam-1", DeviceId(1))


@pytest.mark.parametrize("changes", [{"uses_spent": 1}, {"expires_at": NOW - DAY}, {}])
def test_a_lost_answer_is_given_again_for_nothing(changes: dict[str, object]) -> None:
    holder = Holder(DeviceId(1), "cam-1", "active", ever_signed=True)
    mine = certificate()
    record = OnRecord(live(**changes), holder, [(mine, holder)])
    assert decide_enrollment(record, asked_name="cam-1", now=NOW) == SameAgain(mine)


def test_an_unfinished_signature_is_taken_up_again() -> None:
    holder = Holder(DeviceId(1), "cam-1", "active", ever_signed=False)
    mine = certificate(state="intended")
    record = OnRecord(live(uses_spent=1), holder, [(mine, holder)])
    assert decide_enrollment(record, asked_name="cam-1", now=NOW) == Resume(mine)


def test_a_key_of_another_device_is_refused() -> None:
    other = Holder(DeviceId(2), "cam-2", "active", ever_signed=True)
    record = OnRecord(live(), None, [(certificate(device_id=DeviceId(2), token_id=TokenId(9)), other)])
    decided = decide_enrollment(record, asked_name="cam-1", now=NOW)
    assert isinstance(decided, Refusal)
    assert decided.kind == "key-reused"


def test_renewing_with_key_after_key_has_to_wait() -> None:
    waiting = certificate(
        id=2, state="pending", token_id=None, issued_at=NOW - timedelta(seconds=RENEWAL_PAUSE_SECONDS - 1)
    )
    decided = decide_renewal(DeviceId(1), [certificate(), waiting], [], NOW)
    assert isinstance(decided, Refusal)
    assert decided.kind == "renewed-too-often"
    later = decide_renewal(DeviceId(1), [certificate(), waiting], [], NOW + timedelta(seconds=1))
    assert later == IssuePending((2,))


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"expires_in_seconds": 30 * 86_400 + 1}, "/expires_in_seconds"),
        ({"expires_in_seconds": 59}, "/expires_in_seconds"),
        ({"uses": 0}, "/uses"),
        ({"uses": 10_001}, "/uses"),
        ({"uses": 2, "device_name": "cam-1"}, "/uses"),
    ],
)
def test_limits_of_a_token_are_named(asked: dict[str, object], pointer: str) -> None:
    values: dict[str, object] = {"expires_in_seconds": None, "uses": None, "device_name": None, "may_replace": None}
    with pytest.raises(Invalid) as caught:
        new_token(**{**values, **asked})  # type: ignore[arg-type]
    assert [error.pointer for error in caught.value.errors] == [pointer]


def test_defaults_of_a_token() -> None:
    bound = new_token(expires_in_seconds=None, uses=None, device_name="cam-1", may_replace=None)
    free = new_token(expires_in_seconds=None, uses=None, device_name=None, may_replace=None)
    assert (bound.may_replace, free.may_replace) == (True, False)
    assert (bound.expires_in, bound.uses) == (timedelta(hours=1), 1)
