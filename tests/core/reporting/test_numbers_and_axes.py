"""Numbers as texts, and the axes under every figure."""

from __future__ import annotations

import math
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefw.reporting.numbers import mebibytes, megabytes, milliseconds, percent, plain, points, significant
from edgefw.reporting.svg import Axis, around, element, figure, nice_ticks, text, tick_label


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (percent(0.9124), "91.2 %"),
        (percent(None), "–"),
        (percent(float("nan")), "–"),
        (points(-0.0141), "−1.4"),
        (points(0.5), "+50.0"),
        (points(0.0001), "±0.0"),
        (milliseconds(2.4123), "2.41 ms"),
        (milliseconds(0.01234), "0.0123 ms"),
        (milliseconds("fast"), "–"),
        (megabytes(2_402_118), "2.40 MB"),
        (mebibytes(10.67578), "10.7 MiB"),
        (mebibytes(None), "–"),
        (plain(1200), "1,200"),
        (plain(0.6), "0.6"),
        (plain(True), "true"),
        (plain(None), "–"),
        (plain("text"), "text"),
        (significant(0.0), "0"),
        (significant(1234.5), "1234"),
    ],
)
def test_numbers_read_as_a_person_writes_them(said: str, expected: str) -> None:
    assert said == expected


@given(st.floats(1e-4, 1e14))
def test_three_digits_are_within_half_a_percent(number: float) -> None:
    assert float(significant(number)) == pytest.approx(number, rel=0.0051)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_even_round_and_inside(low: float, width: float) -> None:
    ticks = nice_ticks(low, low + width)
    assert 2 <= len(ticks) <= 7
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in ticks)
    steps = {round((b - a) / width, 6) for a, b in pairwise(ticks)}
    assert len(steps) == 1


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9))
def test_an_axis_holds_its_values(values: list[float]) -> None:
    axis = around(values, 300.0, 20.0)
    assert all(20.0 <= axis(value) <= 300.0 for value in values)
    assert axis(max(values)) <= axis(min(values))


def test_a_logarithmic_axis_spaces_powers_evenly() -> None:
    axis = Axis(0.1, 1000.0, 0.0, 400.0, log=True)
    assert [round(axis(tick)) for tick in axis.ticks()] == [0, 100, 200, 300, 400]
    assert len(Axis(1.0, 9.0, 0, 1, log=True).ticks()) >= 3


@pytest.mark.parametrize(
    ("value", "label"), [(0, "0"), (0.25, "0.25"), (20000, "20k"), (2e6, "2M"), (1e-5, "1e-05"), (1500, "1500")]
)
def test_tick_labels_are_short(value: float, label: str) -> None:
    assert tick_label(value) == label


def test_text_and_attributes_are_escaped_and_figures_parse() -> None:
    hostile = '"><script>alert(1)</script>&'
    drawn = figure(100, 50, hostile, hostile, [text(1, 2, hostile), element("rect", x=1.5, class_=hostile, rx=None)])
    assert "<script>" not in drawn
    tree = ElementTree.fromstring(drawn)
    assert tree.attrib["role"] == "img"
    titles = [child.text for child in tree if child.tag.endswith(("title", "desc"))]
    assert titles == [hostile, hostile]
    assert not math.isnan(float(tree.find("{*}rect").attrib["x"]))  # type: ignore[union-attr]


def test_two_figures_of_a_page_have_names_of_their_own() -> None:
    one, other = (ElementTree.fromstring(figure(1, 1, "a", "b", [])) for _ in range(2))
    assert one.attrib["aria-labelledby"] != other.attrib["aria-labelledby"]
