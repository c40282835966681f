"""metrics.jsonl becomes curves: per phase, resumed steps once, half lines passed over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgefw.reporting.curves import flat_numbers, phase_curves, smoothed, thinned
from edgefw.reporting.figure_curves import line_figure, loss_figure, validation_figure
from edgefw.reporting.run_data import read_lines

ROWS = [
    {"phase": "a", "step": 1, "loss": 2.0, "losses": {"x": 1.5, "y": 0.5}},
    {"phase": "a", "step": 2, "loss": 1.0, "losses": {"x": 0.5, "y": 0.5}},
    {
        "phase": "a",
        "step": 2,
        "validation": {"loss": 1.2, "loss/x": 1.0, "accuracy": {"rgb": 0.5}, "agreement/depth": 0.25},
    },
    {"phase": "a", "step": 2, "loss": 0.9, "losses": {"x": 0.4, "y": 0.5}},
    {"phase": "b", "step": 1, "loss": 0.8, "losses": {"x": 0.8}},
]


def test_phases_and_kinds_of_lines_are_kept_apart() -> None:
    first, second = phase_curves(ROWS)
    assert first.loss == [(1.0, 2.0), (2.0, 0.9)]  # the resumed step counts as it was logged last
    assert first.losses == {"x": [(1.0, 1.5), (2.0, 0.4)], "y": [(1.0, 0.5), (2.0, 0.5)]}
    assert first.validation_loss == [(2.0, 1.2)]
    assert first.validation == {"accuracy, rgb": [(2.0, 0.5)], "agreement, depth": [(2.0, 0.25)]}
    assert (second.phase, second.loss, second.losses) == ("b", [(1.0, 0.8)], {})


def test_lines_that_are_no_numbers_are_passed_over() -> None:
    assert phase_curves([{"phase": "a"}, {"phase": "a", "step": None, "loss": 1.0}]) == []
    (curves,) = phase_curves([{"phase": "a", "step": 1, "loss": None}])
    assert curves.loss == [] and loss_figure(curves) == "" and validation_figure(curves) == ""
    assert flat_numbers({"a": {"b": 1, "c": "x"}, "d": float("inf")}) == {"a, b": 1.0}


def test_what_a_sampler_reports_is_kept_by_epoch_as_it_was_logged_last() -> None:
    rows = [
        {"phase": "a", "step": 0, "epoch": 1, "sampler": {"anchors": 7.0}},
        {"phase": "a", "step": 1, "epoch": 1, "loss": 2.0},
        {"phase": "a", "step": 8, "epoch": 3, "sampler": {"anchors": 5.0}},
        {"phase": "a", "step": 4, "epoch": 2, "sampler": {"anchors": 9.0, "filled": None}},
        {"phase": "a", "step": 4, "epoch": 2, "sampler": {"anchors": 6.0, "filled": 1.0}},
        {"phase": "a", "step": 9, "sampler": {"anchors": 1.0}},
        {"phase": "a", "step": 9, "epoch": 4, "sampler": "half"},
        {"phase": "b", "step": 1, "epoch": 1, "loss": 1.0},
    ]
    first, second = phase_curves(rows)
    assert list(first.sampler.items()) == [
        (1, {"anchors": 7.0}),
        (2, {"anchors": 6.0, "filled": 1.0}),
        (3, {"anchors": 5.0}),
    ]
    assert first.loss == [(1.0, 2.0)] and second.sampler == {}


def test_a_half_written_line_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n[1]\n{"step": 2, "lo')
    assert read_lines(file) == [{"step": 1}]
    assert read_lines(tmp_path / "absent") == []


CURVES = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=3000).map(
    lambda v: [(float(i), x) for i, x in enumerate(v)]
)


@given(CURVES)
def test_smoothing_and_thinning_keep_the_ends_and_the_range(curve: list[tuple[float, float]]) -> None:
    smooth, thin = smoothed(curve), thinned(curve, 100)
    values = [value for _, value in curve]
    assert [step for step, _ in smooth] == [step for step, _ in curve]
    assert min(values) - 1e-6 <= min(v for _, v in smooth) <= max(v for _, v in smooth) <= max(values) + 1e-6
    assert thin[0] == curve[0] and thin[-1] == curve[-1] and len(thin) <= 201


def test_a_window_of_the_curve_is_averaged() -> None:
    curve = [(float(step), float(value)) for step, value in enumerate(np.arange(100.0))]
    assert smoothed(curve, 0.05)[50] == (50.0, 50.0)
    assert smoothed(curve, 0.05)[0] == (0.0, 1.0)


def test_a_figure_says_in_words_where_its_lines_begin_and_end() -> None:
    drawn = loss_figure(phase_curves(ROWS)[0])
    assert "training: 2.000 at step 1, 0.9000 at step 2" in drawn
    assert "validation: 1.200 at step 2" in drawn
    assert line_figure([], "nothing", "loss", logarithmic=False) == ""
