"""The curation rules against the same rules written as loops: no function of curation is used on the other side."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefw.labels.names import unique_names
from edgefw.stages.curate import choose, choose_of_each, confidences

seeds = st.integers(0, 2**31)


def unit(rng: np.random.Generator, rows: int, width: int = 6) -> np.ndarray:
    values = rng.normal(size=(rows, width))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def scored(images: np.ndarray, texts: np.ndarray, scale: float) -> list[tuple[float, int]]:
    """max_k and argmax_k of exp(s cos_k) / sum of exp(s cos_j), image by image; 1 / sum of exp(s (cos_j - cos_k))."""
    found = []
    for image in images.tolist():
        cosines = [sum(a * b for a, b in zip(image, text)) for text in texts.tolist()]
        best = cosines.index(max(cosines))
        found.append((1 / sum(math.exp(scale * (cosine - cosines[best])) for cosine in cosines), best))
    return found


@given(seed=seeds, scale=st.floats(0.1, 200), labels=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_confidence_and_pseudo_label_equal_loops(seed: int, scale: float, labels: int) -> None:
    rng = np.random.default_rng(seed)
    images, texts = unit(rng, 7), unit(rng, labels)
    confidence, label = confidences(images, texts, scale)
    expected = scored(images, texts, scale)
    np.testing.assert_allclose(confidence, [value for value, _ in expected], rtol=1e-9)
    assert label.tolist() == [best for _, best in expected]


@given(seed=seeds, labels=st.integers(2, 8))
@settings(max_examples=20, deadline=None)
def test_the_order_of_labels_changes_names_only(seed: int, labels: int) -> None:
    rng = np.random.default_rng(seed)
    images, texts, order = unit(rng, 9), unit(rng, labels), rng.permutation(labels)
    confidence, label = confidences(images, texts, 50.0)
    moved, renamed = confidences(images, texts[order], 50.0)
    np.testing.assert_allclose(moved, confidence, rtol=1e-9)
    np.testing.assert_array_equal(order[renamed], label)


def kept_by_sorting(confidence: list[float], keep: float) -> list[bool]:
    """The surest ceil(keep N) samples, one at a time; of equal ones the earlier."""
    left, chosen = list(range(len(confidence))), set()
    while len(chosen) < max(1, math.ceil(round(keep * len(confidence), 9))):
        best = max(left, key=lambda at: (confidence[at], -at))
        left.remove(best)
        chosen.add(best)
    return [at in chosen for at in range(len(confidence))]


@given(values=st.lists(st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.9]), min_size=1, max_size=40), keep=st.floats(0.01, 1.0))
@settings(max_examples=60, deadline=None)
def test_the_kept_fraction_equals_taking_the_surest_one_by_one(values: list[float], keep: float) -> None:
    assert choose(np.array(values), keep, None).tolist() == kept_by_sorting(values, keep)


scores = st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.9]), st.integers(0, 3))


@given(rows=st.lists(scores, min_size=1, max_size=40), keep=st.floats(0.01, 1.0))
@settings(max_examples=60, deadline=None)
def test_of_each_label_it_is_the_same_rule_among_its_samples(rows: list[tuple[float, int]], keep: float) -> None:
    expected = [False] * len(rows)
    for label in {label for _, label in rows}:
        mine = [at for at, row in enumerate(rows) if row[1] == label]
        for at, kept in zip(mine, kept_by_sorting([rows[at][0] for at in mine], keep)):
            expected[at] = kept
    confidence, labels = (np.array(column) for column in zip(*rows))
    assert choose_of_each(confidence, labels, keep).tolist() == expected


@given(seed=seeds, keep=st.sampled_from([0.1, 0.2, 0.25, 0.5, 0.75]), blocks=st.integers(1, 20))
@settings(max_examples=30, deadline=None)
def test_without_ties_it_is_the_percentile_of_the_released_code(seed: int, keep: float, blocks: int) -> None:
    """np.percentile at 100 (1 - keep), and everything above it, where keep N is a whole number."""
    confidence = np.random.default_rng(seed).random(20 * blocks)
    above = confidence > np.percentile(confidence, 100 * (1 - keep))
    np.testing.assert_array_equal(choose(confidence, keep, None), above)


@given(seed=seeds, threshold=st.floats(0.05, 0.95))
@settings(max_examples=20, deadline=None)
def test_the_threshold_is_strict(seed: int, threshold: float) -> None:
    confidence = np.append(np.random.default_rng(seed).random(30), threshold)
    kept = choose(confidence, 0.25, threshold)
    assert kept.tolist() == [value > threshold for value in confidence.tolist()] and not kept[-1]


@pytest.mark.parametrize("times", [2, 3])
def test_a_repeated_label_divides_its_confidence_and_taking_it_out_gives_it_back(times: int) -> None:
    rng = np.random.default_rng(0)
    names, texts = ["hall", "office", "kitchen"], unit(rng, 3)
    listed = [names[0]] * times + names[1:]
    rows = np.array([names.index(name) for name in listed])
    image = texts[:1]
    divided, _ = confidences(image, texts[rows], 100.0)
    assert divided[0] == pytest.approx(1 / times, abs=1e-3)
    left, repeated = unique_names(listed)
    whole, label = confidences(image, texts[[names.index(name) for name in left]], 100.0)
    assert left == names and repeated == ["hall"]
    assert whole[0] == pytest.approx(1.0, abs=1e-3) and label[0] == 0
