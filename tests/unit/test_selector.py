"""The selector language: what it says of a device, and where it says that it is wrong."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.errors import Invalid
from tidegate.versions import KEY_PARTS, compare, sort_key
from tidegate.wire.device import HardwareProfile
from tidegate.wire.selector import HARDWARE, BadSelector, Subject, matches, parse, unmet, why_not, written

JETSON = HardwareProfile(
    arch="arm64", os="ubuntu", os_version="22.04.3", ram_bytes=8 << 30, cpu_count=6, accelerators=("nvidia-gpu",)
)
DEVICE = Subject(JETSON, {"site": "plant-7", "line": "2"}, {"room": "b"}, "edge-0042", "0.9.1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('arch == "arm64"', True),
        ('arch != "arm64"', False),
        ('board == ""', False),
        ('board != "x"', False),
        ('board not in ("x", "y")', False),
        ('not board in ("x", "y")', True),
        ('not board == "x"', True),
        ("ram_bytes >= 8GiB", True),
        ("ram_bytes > 8GiB", False),
        ("ram_bytes > 8GB", True),
        ("disk_bytes >= 0", False),
        ("cpu_count < 8 and cpu_count >= 6", True),
        ("cpu_count not in (4, 8)", True),
        ('"nvidia-gpu" in accelerators', True),
        ('"coral-tpu" not in accelerators', True),
        ('not "coral-tpu" in accelerators', True),
        ('tags.site in ("plant-7", "plant-8")', True),
        ('tags.site not in ("plant-7", "plant-8")', False),
        ('tags.site == "plant-9" or tags.line == "2"', True),
        ('tags.missing == "x" or tags.missing != "x"', False),
        ('tags.site != ""', True),
        ('tags.room == "b"', False),
        ('declared.room == "b"', True),
        ('declared.site == "plant-7"', False),
        ('name startswith "edge-"', True),
        ('name startswith "EDGE-"', False),
        ('os_version >= "22.4"', True),
        ('os_version < "22.10"', True),
        ('os_version == "22.4.3"', False),
        ('agent_version < "0.10"', True),
        ('agent_version >= "0.9.1-rc1"', True),
        ('kernel >= "1"', False),
        ('(arch == "amd64" or arch == "arm64") and not (cpu_count == 1)', True),
        ('arch == "amd64" and arch == "arm64" or arch == "arm64"', True),
        ("cpu_count in (4, 6)", True),
    ],
)
def test_what_it_says(text: str, expected: bool) -> None:
    tree = parse(text)
    assert matches(tree, DEVICE) is expected
    assert parse(written(tree)) == tree
    assert bool(why_not(tree, DEVICE)) is not expected


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("", 1, "it ends, expected a column (name, arch, "),
        ("arch", 5, "expected after arch one of == != startswith in"),
        ("arch ==", 8, 'expected for arch a text in "quotes"'),
        ('arch = "x"', 6, "a single = is no sign: write =="),
        ("arch == arm64", 9, "there is arm64, expected for arch a text"),
        ("arch == 'arm64'", 9, 'texts stand in double "quotes"'),
        ('arch > "a"', 6, "expected after arch one of"),
        ('color == "red"', 1, "there is no column color; allowed are name, arch, "),
        ('Arch == "x"', 1, "there is no column Arch; did you mean arch?"),
        ("ram_byte > 1", 1, "did you mean ram_bytes?"),
        ("cores > 1", 1, "did you mean cpu_count?"),
        ('tag.site == "a"', 1, "did you mean tags.site?"),
        ('declard.site == "a"', 1, "did you mean declared.site?"),
        ('group == "lab"', 1, "give the group itself as the target"),
        ('accelerators == "gpu"', 1, 'accelerators is a set: ask for "…" in accelerators'),
        ('ram_bytes >= "8"', 14, "expected for ram_bytes a number such as 8 or 8GiB"),
        ("ram_bytes >= 8Zb", 15, "there is no unit Zb; allowed are KiB"),
        ("ram_bytes >= 8GB2", 17, "there is 2, expected 'and', 'or' or the end"),
        ("ram_bytes >= 999999999TiB", 14, "the number is too large"),
        ('(arch == "a"', 13, "it ends, expected ')'"),
        ('arch == "a" arch', 13, "expected 'and', 'or' or the end"),
        ('"x" in arch', 8, "expected one of the sets accelerators, runtimes"),
        ("arch in ()", 10, "expected for arch a text"),
        ('arch == "a" and', 16, "it ends"),
        ('arch == "unended', 9, "a text begins that does not end"),
        ('arch == "a\x00"', 9, "a text begins that does not end"),
        ("__import__", 1, "there is no column __import__"),
        ('arch == "a" ; drop', 13, "';' cannot stand here"),
    ],
)
def test_where_it_is_wrong_and_what_may_stand_there(text: str, position: int, said: str) -> None:
    with pytest.raises(BadSelector) as caught:
        parse(text, "/target")
    assert caught.value.position == position
    assert caught.value.detail.startswith(f"cannot read the selector: at character {position}, ")
    assert said in caught.value.detail
    assert caught.value.errors[0].pointer == "/target"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(" * 5000, "at most 4,096 characters"),
        ("(" * 300, "deeper than 32 levels"),
        ("not " * 500 + 'arch == "a"', "deeper than 32 levels"),
        ('os=="a" or ' * 200, "more than 512 words"),
        (f"cpu_count in ({','.join(['1'] * 300)})", "more than 512 words"),
        (f"cpu_count in ({','.join(['1'] * 201)})", "at most 200 values"),
        (f'arch == "{"a" * 257}"', "does not end"),
    ],
)
def test_it_is_bounded(text: str, said: str) -> None:
    with pytest.raises(BadSelector, match="cannot read the selector: at character") as caught:
        parse(text)
    assert said in caught.value.detail


@settings(max_examples=200)
@given(st.text(alphabet='archostag.in()"=<>!, 8GiB\n\\é\x00', max_size=60))
def test_nothing_else_comes_out_of_a_bad_one(text: str) -> None:
    with suppress(BadSelector):
        matches(parse(text), DEVICE)


def test_a_device_judges_alone_by_its_hardware() -> None:
    assert unmet("", JETSON) == ""
    assert unmet('arch == "arm64"', JETSON) == ""
    assert unmet('arch == "amd64" and board == "x"', JETSON) == (
        'it needs arch == "amd64" and board == "x"; the device has arch arm64, board unknown'
    )
    assert unmet('"tpu" in accelerators', JETSON).endswith("the device has accelerators nvidia-gpu")
    with pytest.raises(Invalid, match=r"tags\.site cannot be asked for here: a device judges this alone, by arch"):
        unmet('tags.site == "a"', JETSON)
    with pytest.raises(BadSelector):
        parse('name == "a"', "/target_hardware", HARDWARE)
    with pytest.raises(BadSelector, match="there is no column colour"):
        parse('colour == "a"', "/target_hardware", HARDWARE)


def test_why_a_device_does_not_match_names_what_it_has() -> None:
    tree = parse('arch == "arm64" and (tags.site == "x" or declared.rack == "1") and not ram_bytes > 1GiB')
    assert why_not(tree, DEVICE) == (
        'tags.site == "x": the device has tags.site plant-7',
        'declared.rack == "1": the device has declared.rack not set',
        "not ram_bytes > 1073741824: the device has ram_bytes 8589934592",
    )


VERSIONS = st.lists(st.one_of(st.integers(0, 10**20).map(str), st.sampled_from(["rc", "a", "ab", "00", "alpha"])),
                    min_size=1, max_size=KEY_PARTS).map(".".join)  # fmt: skip


@settings(max_examples=300)
@given(VERSIONS, VERSIONS)
def test_keys_of_versions_order_as_versions_do(left: str, right: str) -> None:
    first, second = sort_key(left), sort_key(right)
    assert (first > second) - (first < second) == compare(left, right)
