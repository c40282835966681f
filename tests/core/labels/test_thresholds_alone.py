"""Thresholds where images show several labels: scikit-learn's curve, a plain search, and what a trigger does with them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from edgefw.camera.session import thresholds_of
from edgefw.camera.trigger import Trigger
from edgefw.labels.thresholds import EVERY, choose, choose_alone, with_thresholds
from edgefw.runtime.label_pack import Label, LabelPack
from edgefw.runtime.pack_scores import Scores
from edgefw.runtime.trigger_rule import Rule


def pack(count: int, threshold: float = 0.3) -> LabelPack:
    rows = np.eye(count, dtype=np.float32)
    labels = [Label(name=f"c{at}", vectors=rows[at][None], threshold=threshold) for at in range(count)]
    return LabelPack(labels=labels, logit_scale=10.0, encoder="e" * 64)


def drawn(seed: int = 0, n: int = 300, beaten: float = 0.0) -> tuple[Scores, np.ndarray]:
    """Probabilities on a coarse grid, so that many are equal; images of no label to all four."""
    rng = np.random.default_rng(seed)
    present = rng.random((n, 4)) < [0.9, 0.5, 0.2, 0.05]
    powers = np.exp(np.round(rng.normal(size=(n, 4)) + 1.2 * present, 1))
    probabilities = np.round(powers / powers.sum(1, keepdims=True), 3)
    return Scores(cosines=probabilities, probabilities=probabilities, beaten=rng.random((n, 4)) < beaten), present


def measured(scores: Scores, present: np.ndarray, at: int, threshold: float) -> tuple[float | None, float]:
    """(precision, recall) of one label, image by image."""
    held = [
        row for row, p in enumerate(scores.probabilities[:, at]) if p >= threshold and not bool(scores.beaten[row, at])
    ]
    right = sum(bool(present[row, at]) for row in held)
    return (right / len(held) if held else None), right / sum(map(bool, present[:, at]))


@pytest.mark.parametrize("aim", ["precision", "recall"])
@pytest.mark.parametrize("wanted", [0.3, 0.6, 0.8, 0.95])
def test_it_is_the_best_point_of_scikit_learns_curve(aim, wanted):
    scores, present = drawn()
    for at, one in enumerate(choose_alone(pack(4), scores, present, aim, wanted)):
        own = scores.probabilities[:, at]
        precision, recall, edges = precision_recall_curve(present[:, at], own)
        reached = np.flatnonzero((precision if aim == "precision" else recall)[:-1] >= wanted)
        assert (one.met, one.n) == (len(reached) > 0, present[:, at].sum())
        if one.met:
            place = reached.min() if aim == "precision" else reached.max()  # from low thresholds to high ones
            assert (one.precision, one.recall) == pytest.approx((precision[place], recall[place]))
            np.testing.assert_array_equal(own >= one.value, own >= edges[place])


@given(st.integers(0, 10**6), st.integers(1, 25), st.floats(0, 1), st.sampled_from(["precision", "recall"]))
def test_no_other_threshold_is_better(seed, n, wanted, aim):
    """A plain search over every threshold that makes a difference, with labels that negatives beat."""
    scores, present = drawn(seed, n, beaten=0.2)
    for at, one in enumerate(choose_alone(pack(4), scores, present, aim, wanted)):
        if not present[:, at].any():
            assert (one.value, one.n, one.met, one.precision, one.recall) == (0.3, 0, False, None, None)
            continue
        said = scores.probabilities[~scores.beaten[:, at], at]
        found = {edge: measured(scores, present, at, edge) for edge in sorted(set(said))}
        fits = [edge for edge, pair in found.items() if pair[aim == "recall"] >= wanted]
        assert one.met == bool(fits)
        assert (one.precision, one.recall) == measured(scores, present, at, one.value)
        if fits:
            edge = min(fits) if aim == "precision" else max(fits)
            assert (one.precision, one.recall) == found[edge]
            np.testing.assert_array_equal(said >= one.value, said >= edge)
        else:
            assert one.value == (1.0 if aim == "precision" else EVERY)


def test_a_road_is_found_beside_the_car_that_is_the_best_label():
    probabilities = np.array([[0.3, 0.7], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]])
    scores = Scores(cosines=probabilities, probabilities=probabilities, beaten=np.zeros((4, 2), bool))
    present = np.array([[True, True], [True, True], [False, True], [False, True]])
    road = choose_alone(pack(2), scores, present, "precision", 1.0)[0]
    assert (road.value, road.precision, road.recall, road.met) == (pytest.approx(0.25), 1.0, 1.0, True)
    assert choose(pack(2), scores, np.array([0, 0, 1, 1]), "precision", 1.0)[0].recall == 0.0


@pytest.mark.parametrize(("aim", "wanted"), [("precision", 0.7), ("precision", 0.1), ("recall", 0.7), ("recall", 1.0)])
def test_a_trigger_that_begins_at_the_packs_thresholds_keeps_what_was_promised(aim, wanted):
    """A precision of 0.1 takes every image of some labels: a threshold of 0 would mean that they have none."""
    scores, present = drawn(3, beaten=0.1 if wanted == 0.7 else 0.0)
    found = choose_alone(pack(4), scores, present, aim, wanted)
    chosen = with_thresholds(pack(4), found)
    assert wanted != 0.1 or any(one.value == EVERY for one in found)
    for at, one in enumerate(found):
        trigger = Trigger(Rule(any=(one.label,), begin="own"), chosen.names, thresholds_of(chosen))
        shown = np.where(scores.beaten, np.nan, scores.probabilities)
        kept = np.array([trigger.look(float(row), values).kept for row, values in enumerate(shown)])
        right = (kept & present[:, at]).sum()
        assert one.recall == right / present[:, at].sum()
        assert one.precision == (right / kept.sum() if kept.any() else None)
