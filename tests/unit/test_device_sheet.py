"""A sheet of devices: read strictly line by line, told by line, written so that it reads back to the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.control.domain.device_import import MAX_TOKENS, Known, plan
from tidegate.control.domain.sheet import MAX_CELLS, MAX_LINE_BYTES, MAX_ROWS, MAX_TOLD, Line, Reader, Sheet, rows
from tidegate.errors import Invalid, TooLarge
from tidegate.ids import DEVICE_NAME, TAG_VALUE, DeviceId, GroupId


def read(data: bytes, pieces: int = 7) -> Sheet:
    reader = Reader()
    for start in range(0, len(data), pieces):
        reader.feed(data[start : start + pieces])
    return reader.end()


@pytest.mark.parametrize(
    "text",
    [
        b"name,groups,tag:site\ncam-1,lab floor,plant-7\n",
        b"\xef\xbb\xbfname,groups,tag:site\r\ncam-1,lab floor,plant-7",
        b"name;groups;tag:site\r\ncam-1;lab floor;plant-7\r\n",
        b"tag:site\tname\tgroups\nplant-7\tcam-1\tlab  floor lab\n",
        b'"name","groups","tag:site"\n\n"cam-1","lab floor","plant-7"\n  \n',
    ],
)
def test_what_spreadsheets_write_is_read_alike(text: bytes) -> None:
    (line,) = read(text).lines
    assert (line.name, line.groups, line.tags) == ("cam-1", ("lab", "floor"), {"site": "plant-7"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "line 1 is missing: the first line names the columns"),
        (b"site\ncam-1\n", "line 1 has an unknown column 'site'; allowed are name, groups and tag:KEY"),
        (b"name,tag:Site\n", "line 1 has an unknown column 'tag:Site'"),
        (b"name,name\n", "line 1 names the column name twice"),
        (b"groups\n", "line 1 has no column name"),
        (b"name\ncam\xff\n", "line 2 is not UTF-8; save the file as CSV in UTF-8"),
        ("name\ncam-1\n".encode("utf-16"), "line 1 is UTF-16"),
        (b"name\n" + b"x" * (MAX_LINE_BYTES + 1), "line 2 is longer than 65,536 bytes"),
        (b"name," + b",".join(b"tag:k%d" % number for number in range(300)), "line 1 has more than 256 columns"),
    ],
)
def test_what_is_no_sheet_at_all_is_refused_at_its_line(text: bytes, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(text, 4096)
    assert said in refused.value.detail


def test_mistakes_of_lines_are_told_together_by_number() -> None:
    found = read(b'name,groups,tag:site\nCam,,x\ncam-1,,x\ncam-1,,y\ncam-2,,=cmd\ncam-3,x\ncam-4,"open,\ncam-5,,y\n')
    assert [line.name for line in found.lines] == ["cam-1", "cam-5"]
    told = [error.detail for error in found.errors]
    assert found.wrong == len(told) == 5
    assert told[0].startswith("line 2: 'Cam' is no device name")
    assert told[1] == "line 4: cam-1 stands on line 3 already"
    assert told[2].startswith("line 5: tag:site '=cmd' is no tag value")
    assert told[3] == "line 6: has 2 cells, the first line has 3"
    assert "line 7: cannot be read as CSV" in told[4]
    assert found.errors[1].pointer == "/lines/4"


def test_size_rows_and_what_is_told_are_bounded() -> None:
    with pytest.raises(TooLarge, match="more than 8 MiB"):
        read(b"name\n" + (b"x" * 60_000 + b"\n") * 150, 1 << 20)
    with pytest.raises(TooLarge, match="more than 50,000 rows"):
        read(b"name\n" + b"=\n" * (MAX_ROWS + 1), 1 << 16)
    found = read(b"name\n" + b"BAD\n" * 250, 4096)
    assert (len(found.errors), found.wrong) == (MAX_TOLD, 250)


def test_commas_alone_make_no_file_large_in_memory() -> None:
    head = ",".join(["name", *(f"tag:k{number}" for number in range(255))]).encode() + b"\n"
    lines = b"".join(b"a%d%s\n" % (number, b"," * 255) for number in range(MAX_CELLS // 255 + 1))
    with pytest.raises(TooLarge, match="more than 2,000,000 tags and groups"):
        read(head + lines, 1 << 20)


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.from_regex(DEVICE_NAME, fullmatch=True),
        st.tuples(
            st.sets(st.from_regex(DEVICE_NAME, fullmatch=True), max_size=3),
            st.one_of(st.just(""), st.from_regex(TAG_VALUE, fullmatch=True)),
        ),
        max_size=5,
    )
)
def test_what_is_written_reads_back_to_the_same(devices: dict[str, tuple[set[str], str]]) -> None:
    text = rows([["name", "groups", "tag:k"], *([name, " ".join(sorted(g)), v] for name, (g, v) in devices.items())])
    found = read(text.encode(), 64)
    assert found.errors == ()
    assert {line.name: (set(line.groups or ()), line.tags["k"]) for line in found.lines} == devices


@pytest.mark.parametrize("cell", ["=1+1", "+49", "-2", "@cmd", "\tx", "'=x"])
def test_no_cell_that_is_written_is_a_formula(cell: str) -> None:
    written = rows([[cell]])
    assert not written.lstrip('"').startswith(("=", "+", "-", "@", "\t", "\r"))


def test_the_difference_is_what_the_sheet_says_and_no_more() -> None:
    known = {
        "a": Known(DeviceId(1), {"site": "x", "line": "1"}, frozenset({"lab"})),
        "b": Known(DeviceId(2), {}, frozenset()),
    }
    groups = {"lab": GroupId(1), "floor": GroupId(2)}
    sheet = read(b"name,groups,tag:site,tag:line\na,floor,y,\nb,,,\n")
    found = plan(sheet, known, groups, "refuse")
    (change,) = found.changes
    assert (change.put, change.remove, change.join, change.leave) == ({"site": "y"}, ("line",), ("floor",), ("lab",))
    assert change.words() == "site=y, not line, into floor, out of lab"
    only_tags = plan(read(b"name,tag:site\na,x\n"), known, groups, "refuse")
    assert only_tags.changes == ()
    wrong = plan(read(b"name,groups\na,nowhere\nc,lab\n"), known, groups, "refuse")
    assert [error.detail for error in wrong.errors] == [
        "line 2: no static group is called nowhere; create it first",
        "line 3: no active device is called c",
    ]
    assert plan(read(b"name\nc\n"), known, groups, "skip").errors == ()
    many = Sheet(tuple(Line(n, f"n{n}", {}, None) for n in range(MAX_TOKENS + 5)), (), 0)
    assert [error.detail for error in plan(many, known, groups, "enroll").errors] == [
        f"line {MAX_TOKENS}: at most 1,000 names are given tokens at a time; split the file"
    ]
    full = {"a": Known(DeviceId(1), {f"k{n}": "v" for n in range(64)}, frozenset())}
    assert plan(read(b"name,tag:new\na,x\n"), full, {}, "refuse").errors[0].detail.endswith("more than 64 tags")
