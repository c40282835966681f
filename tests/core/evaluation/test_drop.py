"""The drop of one model against another: point and interval held against plain NumPy, and where there is little to draw from."""

import numpy as np
import pytest

from edgefw.evaluation import drop_text, worst_drop
from edgefw.evaluation.budget import Measured, checks, failures, interval_text

RNG = np.random.default_rng(7)


def answers(n, source=0.8, kept=0.95, found=0.1):
    """Two models' right and wrong on the same samples: the second keeps most of what the first had, and finds some."""
    one = RNG.random(n) < source
    return one, np.where(one, RNG.random(n) < kept, RNG.random(n) < found)


def test_the_interval_is_that_of_a_bootstrap_written_out():
    one, other = answers(300)
    said = worst_drop("top1", {"rgb": (one, other)})
    lost = [100.0 * (int(a) - int(b)) for a, b in zip(one, other)]
    draws = np.random.default_rng(0).integers(0, 300, (1000, 300))
    means = [sum(lost[at] for at in draw) / 300 for draw in draws]
    assert said.points == pytest.approx(100 * (one.mean() - other.mean()))
    assert said.interval == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=1e-9)
    assert (said.metric, said.modality, said.n) == ("top1", "rgb", 300)


def test_of_many_samples_it_is_the_normal_interval_of_paired_differences():
    one, other = answers(4000)
    said = worst_drop("top1", {"rgb": (one, other)})
    gone, come = np.mean(one & ~other), np.mean(~one & other)
    half = 196 * np.sqrt((gone + come - (gone - come) ** 2) / 4000)
    assert said.low == pytest.approx(100 * (gone - come) - half, abs=0.12 * half)
    assert said.high == pytest.approx(100 * (gone - come) + half, abs=0.12 * half)
    apart = 196 * np.sqrt((one.var() + other.var()) / 4000)  # as if they had seen other samples
    assert half < 0.8 * apart


def test_it_covers_the_true_drop_about_as_often_as_it_says():
    inside = 0
    for _ in range(200):
        low, high = worst_drop("top1", {"rgb": answers(200)}).interval
        inside += low <= 100 * (0.8 * 0.05 - 0.2 * 0.1) <= high
    assert 0.89 <= inside / 200 <= 0.995


def test_no_difference_is_0_to_0_and_one_sample_has_no_interval():
    same = np.array([True, False, True])
    said = worst_drop("top1", {"rgb": (same, same)})
    assert (said.points, said.interval) == (0.0, (0.0, 0.0))
    one = worst_drop("top1", {"rgb": (same[:1], ~same[:1])})
    assert (one.points, one.low, one.high, one.interval, one.n) == (100.0, None, None, None, 1)
    assert worst_drop("top1", {"rgb": (same[:0], same[:0])}) is None and worst_drop("top1", {}) is None
    assert [drop_text(own) for own in (said.to_json(), one.to_json(), None)] == [
        "0.0 points (0.0 to 0.0)", "100.0 points", ""
    ]  # fmt: skip


def test_the_modality_that_loses_most_is_told():
    good, bad = np.ones(8, bool), np.arange(8) > 1
    said = worst_drop(
        "agreement", {"rgb": (good, good), "depth": (good, bad), "nir": (bad, good), "none": (bad[:0],) * 2}
    )
    assert (said.modality, said.points, said.metric) == ("depth", 25.0, "agreement")


@pytest.mark.parametrize(("interval", "limit", "said"), [
    ((-0.5, 4.5), 3.0, "95 %: -0.5 to 4.5, holds 0 and the limit"),
    ((-0.5, 2.5), 3.0, "95 %: -0.5 to 2.5, holds 0"),
    ((0.5, 4.5), 3.0, "95 %: 0.5 to 4.5, holds the limit"),
    ((0.5, 2.5), 3.0, "95 %: 0.5 to 2.5"),
    ((0.0, 0.0), 0.0, "95 %: 0.0 to 0.0"),
])  # fmt: skip
def test_the_verdict_is_by_the_point_and_the_line_says_what_the_interval_holds(interval, limit, said):
    (row,) = checks(
        [Measured(name="a", quantised=True, values={"max_drop": 2.0}, intervals={"max_drop": interval})],
        {"max_drop": limit},
    )
    assert row["interval"] == list(interval)
    assert row["ok"] == (limit >= 2.0)
    assert interval_text(row) == said
    assert failures([{**row, "ok": False}]) == f"  a: max_drop is 2 ({said}), the budget is {limit:.4g}"


def test_a_row_without_an_interval_says_nothing_of_one():
    (row,) = checks([Measured(name="a", quantised=True, values={"max_drop": 2.0})], {"max_drop": 1.0})
    assert "interval" not in row and interval_text(row) == ""
