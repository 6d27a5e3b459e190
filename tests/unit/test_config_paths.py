"""Where a config may go: the rule for paths, for those who publish and for those who apply."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.wire.config import (
    CONFIG_MAX_BYTES,
    ConfigOptions,
    ProgramReload,
    below,
    faults,
    path_fault,
)

PART = st.text(st.sampled_from("ab.-_ é/\\\0\n~$*"), max_size=6)
PATHS = st.one_of(
    st.lists(PART, max_size=6).map("/".join),
    st.lists(st.sampled_from(["etc", "app", ".", "..", "", "a b", "…", "x.conf"]), max_size=6).map(
        lambda parts: "/" + "/".join(parts)
    ),
    st.text(max_size=40),
)


@given(PATHS)
def test_a_clean_path_has_one_spelling_and_stays_where_it_says(path: str) -> None:
    """Whatever passes is its own normal form, so that comparing and joining as text is right."""
    if path_fault(path):
        return
    assert posixpath.normpath(path) == path
    assert posixpath.isabs(path)
    assert "\0" not in path
    assert path.isprintable() or all(letter.isspace() or letter.isprintable() for letter in path)
    assert below(path, posixpath.dirname(path))
    assert not below(path, path + "x")


@given(st.lists(st.text(st.characters(categories=("L", "N")), min_size=1, max_size=8), min_size=1, max_size=5))
def test_plain_names_below_etc_are_clean(parts: list[str]) -> None:
    assert path_fault("/etc/" + "/".join(parts)) == ""


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("etc/app.conf", "must start with /"),
        ("", "must start with /"),
        ("/", "must not end with /"),
        ("/etc/", "must not end with /"),
        ("//etc/app", "//"),
        ("/etc//app", "//"),
        ("/etc/../root/.ssh/authorized_keys", "no part . or .."),
        ("/etc/./app", "no part . or .."),
        ("/etc/app\0.conf", "control characters"),
        ("/etc/app\n.conf", "control characters"),
        ("/etc/app\x7f", "control characters"),
        ("/etc/app\u2028", "control characters"),
        ("/etc/\udcff", "must be UTF-8"),
        ("/etc/" + "a" * 256, "longer than 255 bytes"),
        ("/etc/" + "é" * 128, "longer than 255 bytes"),
        ("/etc" + "/a" * 600, "at most 1024 bytes"),
        ("/proc/sys/kernel/core_pattern", "must not lie in"),
        ("/sys/power/state", "must not lie in"),
        ("/dev/sda", "must not lie in"),
        ("/dev", "must not lie in"),
    ],
)
def test_a_path_that_is_not_clean_is_told_its_rule(path: str, words: str) -> None:
    assert words in path_fault(path)


def test_names_that_only_begin_alike_are_not_below() -> None:
    assert not below("/etc/app2/x", "/etc/app")
    assert below("/etc/app/x", "/etc/app/")
    assert path_fault("/device/x") == path_fault("/process/x") == ""


def test_what_a_config_may_not_say_is_named_by_its_field() -> None:
    found = faults(ConfigOptions(mode="0600", reload=ProgramReload(("nginx", "-s"))), (CONFIG_MAX_BYTES + 1,))
    assert [pointer for pointer, _ in found] == ["/files/0/upload", "/config/mode", "/config/reload/argv/0"]
    assert faults(ConfigOptions("/etc/app.conf", "0777"), (CONFIG_MAX_BYTES,)) == ()
    assert [pointer for pointer, _ in faults(ConfigOptions(), (1, 1))] == ["/files"]
