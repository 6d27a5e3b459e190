"""Absence counts only while devices could call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.control.channel.load import MAX_FACTOR, Load
from tidegate.control.domain.devices import (
    ChannelUp,
    absence_seconds,
    checked_tags,
    new_hold,
    offline_cutoff,
    presence,
)
from tidegate.errors import Invalid

START = datetime(2026, 5, 1, tzinfo=UTC)
moments = st.integers(0, 1000).map(lambda n: START + timedelta(seconds=n))


@given(st.none() | moments, moments, moments, st.integers(1, 60), st.integers(1, 8))
def test_the_cutoff_of_lists_says_what_presence_says(
    last: datetime | None, one: datetime, other: datetime, interval: int, factor: int
) -> None:
    channel = ChannelUp(min(one, other), max(one, other), factor)
    last = None if last is None else min(last, channel.until)
    cutoff = offline_cutoff(channel, interval)
    by_list = "never" if last is None else "offline" if cutoff is not None and last < cutoff else "online"
    assert presence(last, channel, interval) == by_list


def test_a_time_in_which_the_channel_was_down_is_no_absence() -> None:
    channel = ChannelUp(START, START + timedelta(seconds=100))
    back = channel.beat(START + timedelta(hours=9), gap_seconds=15, interval_factor=1)
    assert back.since == START + timedelta(hours=9)
    assert absence_seconds(START + timedelta(seconds=99), back) == 0
    assert presence(START + timedelta(seconds=99), back, 5) == "online"
    later = back.beat(back.until + timedelta(seconds=10), gap_seconds=15, interval_factor=1)
    assert later.since == back.since
    assert absence_seconds(START, later) == 10


def test_nothing_is_absent_where_the_channel_never_ran() -> None:
    assert absence_seconds(START, None) == 0
    assert presence(START, None, 5) == "online"
    assert presence(None, None, 5) == "never"


def test_a_widened_interval_widens_what_offline_means() -> None:
    channel = ChannelUp(START, START + timedelta(seconds=100), interval_factor=4)
    assert presence(START, channel, 10) == "online"
    assert presence(START, ChannelUp(channel.since, channel.until, 1), 10) == "offline"


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 1000)), max_size=60))
def test_the_interval_widens_under_load_and_comes_back(looks: list[tuple[float, int]]) -> None:
    load = Load()
    for late, queued in looks:
        load = load.look(late_seconds=late, queued=queued)
        assert 1 <= load.factor <= MAX_FACTOR
    for _ in range(60):
        load = load.look(late_seconds=0, queued=0)
    assert load.factor == 1


@pytest.mark.parametrize(
    ("tags", "pointer"),
    [({"Site": "a"}, "/tags/Site"), ({"site": ""}, "/tags/site"), ({"site": "a\nb"}, "/tags/site")],
)
def test_a_malformed_tag_is_named(tags: dict[str, str], pointer: str) -> None:
    with pytest.raises(Invalid) as caught:
        checked_tags(tags, "/tags")
    assert [error.pointer for error in caught.value.errors] == [pointer]


def test_a_hold_needs_a_reason_and_an_end_to_come() -> None:
    with pytest.raises(Invalid) as caught:
        new_hold("  ", START, START)
    assert [error.pointer for error in caught.value.errors] == ["/reason", "/until"]
    assert new_hold(" maintenance ", None, START).reason == "maintenance"
