"""Whatever the figures, a picture is well-formed, stays in its box, and carries no style."""

from __future__ import annotations

import re
from decimal import Decimal
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.control.console.gauges import Failures, bar, meter
from tidegate.control.console.pictures import FLOORS, MINI_FLOORS, Gate, Wave, tide_mini, widths
from tidegate.control.console.tide import tide

COUNT = st.one_of(st.integers(0, 3), st.integers(0, 1_000_000))
GATES = st.none() | st.builds(
    Gate,
    st.sampled_from(["open", "closed", "waiting", "halted"]),
    st.sampled_from(["auto", "manual"]),
    st.text(max_size=20).map(lambda text: "".join(c for c in text if c.isprintable())),
    st.just("needs approval"),
)


@st.composite
def rollouts(draw: st.DrawFn) -> list[Wave]:
    percents = sorted(draw(st.lists(st.floats(0.01, 100), min_size=1, max_size=9)))
    return [
        Wave(
            percent,
            "to a part",
            draw(COUNT),
            draw(st.tuples(COUNT, COUNT, COUNT, COUNT)),
            draw(st.booleans()),
            draw(GATES),
        )
        for percent in percents
    ]


@given(st.tuples(COUNT, COUNT, COUNT, COUNT), st.floats(0.5, 1200), st.sampled_from([FLOORS, MINI_FLOORS]))
def test_areas_never_leave_their_basin(
    counts: tuple[int, int, int, int], length: float, floors: tuple[float, ...]
) -> None:
    shares = widths(counts, length, floors)
    assert all(share >= 0 for share in shares)
    assert sum(shares) <= length + 1e-6
    assert all(share > 0 for share, count in zip(shares, counts, strict=True) if count)
    if sum(counts):
        assert abs(sum(shares) - length) < 1e-6


@settings(max_examples=60)
@given(rollouts())
def test_the_wave_picture_is_well_formed_and_stays_in_its_box(waves: list[Wave]) -> None:
    for svg in (tide(waves, "a"), tide_mini(waves, "b")):
        root = ElementTree.fromstring(svg)
        ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib]
        assert len(ids) == len(set(ids))
        assert not any({"style", "onload", "onclick"} & set(e.attrib) for e in root.iter())
        for drawing in [root] if root.tag == "svg" else list(root):
            assert drawing.attrib["aria-hidden"] == "true"
            _, _, width, height = map(float, drawing.attrib["viewBox"].split())
            for rect in drawing.iter("rect"):
                x, y, w, h = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
                assert w >= 0
                assert h >= 0
                assert x + w <= width + 3
                assert y + h <= height + 3
            references = set(re.findall(r"url\(#([^)]+)\)", ElementTree.tostring(drawing, "unicode")))
            assert references <= set(ids)


@settings(max_examples=60)
@given(st.integers(0, 500), st.integers(0, 500), st.decimals(0, Decimal("0.99"), places=3))
def test_the_meter_stays_on_its_staff(count: int, released: int, tolerance: Decimal) -> None:
    failures = Failures(min(count, released), released, tolerance)
    root = ElementTree.fromstring(meter(failures))
    for rect in root.iter("rect"):
        assert 4 <= float(rect.attrib["x"]) <= 316.1
        assert float(rect.attrib["x"]) + float(rect.attrib["width"]) <= 316.2
    assert (failures.more_to_halt == 0) == (failures.count > failures.tolerated)


@settings(max_examples=60)
@given(st.lists(st.tuples(COUNT, st.just("d-healthy")), max_size=8), st.text(max_size=30))
def test_a_bar_never_overflows(parts: list[tuple[int, str]], label: str) -> None:
    label = "".join(c for c in label if c.isprintable())
    root = ElementTree.fromstring(bar(parts, label))
    assert root.attrib["aria-label"] == label
    for rect in root.iter("rect"):
        assert float(rect.attrib["x"]) + float(rect.attrib["width"]) <= 100.2
