"""The selector language: what it says of a device, and where it says that it is wrong."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.errors import Invalid
from tidegate.wire.device import HardwareProfile
from tidegate.wire.selector import Subject, matches, parse, unmet

JETSON = HardwareProfile(arch="arm64", os="ubuntu", ram_bytes=8 << 30, cpu_count=6, accelerators=("nvidia-gpu",))
DEVICE = Subject(JETSON, {"site": "plant-7", "line": "2"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('arch == "arm64"', True),
        ('arch != "arm64"', False),
        ('board == ""', False),
        ('board != "x"', False),
        ("ram_bytes >= 8GiB", True),
        ("ram_bytes > 8GiB", False),
        ("cpu_count < 8 and cpu_count >= 6", True),
        ('"nvidia-gpu" in accelerators', True),
        ('not "coral-tpu" in accelerators', True),
        ('tags.site in ("plant-7", "plant-8")', True),
        ('tags.site == "plant-9" or tags.line == "2"', True),
        ('tags.missing == "x" or tags.missing != "x"', False),
        ('(arch == "amd64" or arch == "arm64") and not (cpu_count == 1)', True),
        ('arch == "amd64" and arch == "arm64" or arch == "arm64"', True),
        ("cpu_count in (4, 6)", True),
    ],
)
def test_what_it_says(text: str, expected: bool) -> None:
    assert matches(parse(text), DEVICE) is expected


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("", 1),
        ("arch", 5),
        ("arch ==", 8),
        ('arch = "x"', 6),
        ("arch == arm64", 9),
        ('arch > "a"', 6),
        ('color == "red"', 1),
        ('ram_bytes >= "8"', 14),
        ("ram_bytes >= 8GB2", 17),
        ("ram_bytes >= 8Zb", 15),
        ('(arch == "a"', 13),
        ('arch == "a" arch', 13),
        ('"x" in arch', 8),
        ("arch in ()", 10),
        ('arch == "a" and', 16),
        ('arch == "unended', 9),
        ("__import__", 1),
    ],
)
def test_where_it_is_wrong(text: str, column: int) -> None:
    with pytest.raises(Invalid, match=rf"cannot read the selector: column {column}: expected ") as caught:
        parse(text, "/target")
    assert caught.value.errors[0].pointer == "/target"


@pytest.mark.parametrize("text", ["(" * 5000, "not " * 1000, 'arch == "a" or ' * 400, "x" * 5000])
def test_it_is_bounded(text: str) -> None:
    with pytest.raises(Invalid):
        parse(text)


@settings(max_examples=100)
@given(st.text(alphabet='archostag.in()"=<>!, 8GiB\n\\', max_size=60))
def test_nothing_else_comes_out_of_a_bad_one(text: str) -> None:
    with suppress(Invalid):
        matches(parse(text), DEVICE)


def test_unmet_says_what_the_device_has() -> None:
    assert unmet("", JETSON) == ""
    assert unmet('arch == "arm64"', JETSON) == ""
    assert unmet('arch == "amd64" and board == "x"', JETSON) == (
        'it needs arch == "amd64" and board == "x"; the device has arch arm64, board unknown'
    )
    assert unmet('"tpu" in accelerators', JETSON).endswith("the device has accelerators nvidia-gpu")
