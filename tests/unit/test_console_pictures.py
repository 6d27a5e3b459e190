from __future__ import annotations

from decimal import Decimal
from xml.etree import ElementTree

import pytest

from tidegate.control.console.gauges import Failures, bar, meter
from tidegate.control.console.icons import sprite, symbols
from tidegate.control.console.pictures import FLOORS, Gate, Wave, tide_mini, widths
from tidegate.control.console.tide import tide, tide_tall
from tidegate.control.console.words import LOOKS

OPEN = Gate("open", "auto", "auto, soak 30 min", "open since 09:41")
WAITING = Gate("waiting", "manual", "manual, soak 1 h", "needs approval")
HALTED = Gate("halted", "auto", "auto, soak 20 min", "halted 13:58")

RUNNING = (
    Wave(1, "to 1 % of 1,040", 11, (11, 0, 0, 0), True),
    Wave(10, "to 10 % of 1,040", 93, (91, 0, 2, 0), True, OPEN),
    Wave(40, "to 40 % of 1,040", 312, (171, 138, 2, 1), True, OPEN),
    Wave(100, "to 100 % of 1,040", 624, (0, 0, 0, 0), False, WAITING),
)


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def rects(root: ElementTree.Element, name: str) -> list[tuple[float, float]]:
    return [
        (float(e.attrib["x"]), float(e.attrib["width"])) for e in root.iter("rect") if e.attrib.get("class") == name
    ]


def test_the_wide_picture_is_the_design_s_own() -> None:
    """Coordinates of the design's page of rollout 187, to the pixel."""
    wide = parsed(tide(RUNNING, "w187"))[0]
    assert wide.attrib["viewBox"] == "0 0 1120 252"
    clips = [path.attrib["d"] for clip in wide.iter("clipPath") for path in clip]
    assert clips[0] == "M2 113C141.5 113 141.5 107.5 281 107.5L281 144.5C141.5 144.5 141.5 139 2 139Z"
    assert rects(wide, "d-back") == [(554, 6), (824, 6)]
    assert rects(wide, "d-failed") == [(830, 6)]
    fronts = [e.attrib["d"] for e in wide.iter("path") if e.attrib.get("class") == "d-healthy"]
    assert fronts[2] == "M559 56L701.9 56Q725.9 126 701.9 196L559 196Z"
    dry = [e.attrib["d"] for e in wide.iter("path") if e.attrib.get("class") == "d-dry"]
    assert len(dry) == 1
    assert dry[0].startswith("M842 78.2C")


def test_the_gate_before_a_wave_says_what_it_waits_for() -> None:
    wide = parsed(tide(RUNNING, "a"))[0]
    assert [e.attrib["class"] for e in wide.iter("path") if "d-leaf--" in e.attrib.get("class", "")] == [
        "d-leaf d-leaf--wait"
    ]
    halted = parsed(tide((*RUNNING[:3], Wave(100, "x", 624, (0, 0, 0, 0), False, HALTED)), "a"))[0]
    words = ["".join(e.itertext()) for e in halted.iter("text")]
    assert "halted 13:58" in words
    assert "624 pending" in words


def test_above_four_waves_only_the_tall_picture_is_drawn() -> None:
    many = parsed(tide(RUNNING + RUNNING, "a"))
    assert many.attrib["class"] == "tide tide--one"
    assert [e.attrib["class"] for e in many] == ["tide--tall"]


def test_a_gate_before_the_first_wave_is_drawn_too() -> None:
    first = Wave(100, "to 100 % of 3", 3, (0, 0, 0, 0), False, WAITING)
    for svg in (tide((first,), "a"), tide_mini((first,), "b"), tide_tall((first,), "c")):
        assert "d-leaf--wait" in svg


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (1, 0, 0, 0), (0, 0, 0, 9), (1_000_000, 1, 1, 1), (1, 1, 1, 1)])
def test_widths_fill_the_basin(counts: tuple[int, int, int, int]) -> None:
    shares = widths(counts, 276, FLOORS)
    assert sum(shares) == pytest.approx(276 if sum(counts) else 0)
    assert all(share >= floor for share, floor, count in zip(shares, FLOORS, counts, strict=True) if count)


def test_text_is_escaped() -> None:
    hostile = (
        Wave(
            100,
            "<script>",
            1,
            (1, 0, 0, 0),
            True,
            Gate("open", "auto", '"><b>', "&"),
        ),
    ) * 2
    root = parsed(tide(hostile, "a"))
    assert not list(root.iter("script"))
    assert "<script>" in ["".join(e.itertext()) for e in root.iter("text")]


@pytest.mark.parametrize(
    ("failures", "look"),
    [
        (Failures(0, 104, Decimal("0.02")), "m-fill"),
        (Failures(7, 416, Decimal("0.02")), "m-fill m-fill--near"),
        (Failures(7, 64, Decimal("0.05")), "m-fill m-fill--over"),
        (Failures(1, 3, Decimal(0)), "m-fill m-fill--over"),
    ],
)
def test_the_meter_has_three_looks(failures: Failures, look: str) -> None:
    root = parsed(meter(failures))
    assert [e.attrib["class"] for e in root.iter("rect") if "m-fill" in e.attrib["class"]] == [look]


def test_how_many_more_halt() -> None:
    assert Failures(1, 380, Decimal("0.03")).more_to_halt == 11
    assert Failures(0, 64, Decimal("0.05")).more_to_halt == 4
    assert Failures(0, 3, Decimal(0)).more_to_halt == 1
    assert Failures(7, 64, Decimal("0.05")).more_to_halt == 0


def test_the_bar_says_its_numbers() -> None:
    root = parsed(bar([(4138, "d-healthy"), (3, "d-back"), (0, "d-quiet")], '4,138 "online"'))
    assert root.attrib["aria-label"] == '4,138 "online"'
    assert len(list(root)) == 2
    assert parsed(bar([], "none"))[0].attrib["class"] == "d-dry"


def test_a_sprite_holds_only_what_the_page_uses() -> None:
    still = sprite('<use href="#i-plus"/><use href="#i-no-such"/>', live=False)
    assert still.count("<symbol") == 1
    assert "i-halted" in sprite("", live=True)


def test_every_state_has_an_icon() -> None:
    assert {icon for _, icon in LOOKS.values()} <= set(symbols())
