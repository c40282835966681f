"""Curation: the formula against NumPy and SciPy, the choice of samples, the table on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from edgefw.recipe.schema import Curate
from edgefw.stages.curate import choose, confidences, keys_of
from edgefw.stages.kept import Kept, read_kept, write_kept


def unit(rng: np.random.Generator, rows: int, width: int = 8) -> np.ndarray:
    values = rng.normal(size=(rows, width))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def test_confidence_is_the_largest_softmax_of_scaled_cosines() -> None:
    rng = np.random.default_rng(0)
    images, texts = unit(rng, 50), unit(rng, 7)
    confidence, label = confidences(images, texts, 100.0)
    expected = softmax(100.0 * (images.astype(float) @ texts.astype(float).T), axis=1)
    np.testing.assert_allclose(confidence, expected.max(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(label, expected.argmax(axis=1))


def test_a_duplicated_label_halves_the_confidence() -> None:
    rng = np.random.default_rng(1)
    texts = unit(rng, 5)
    once, _ = confidences(texts[:1], texts, 100.0)
    twice, _ = confidences(texts[:1], np.concatenate([texts, texts[:1]]), 100.0)
    assert once[0] > 0.99
    assert twice[0] == pytest.approx(once[0] / 2, rel=0.02)


def test_large_logits_do_not_overflow() -> None:
    confidence, label = confidences(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), 1e6)
    np.testing.assert_array_equal(confidence, 1.0)
    np.testing.assert_array_equal(label, [0, 1, 2])


@given(st.integers(1, 400), st.floats(0.01, 1.0))
def test_the_kept_fraction_is_what_lies_above_the_percentile(count: int, keep: float) -> None:
    confidence = np.random.default_rng(count).permutation(count).astype(float)
    kept = choose(confidence, keep, None)
    above = confidence > np.percentile(confidence, 100 * (1 - keep))
    assert abs(int(kept.sum()) - int(above.sum())) <= 1
    assert kept.any()
    assert confidence[kept].min() > confidence[~kept].max(initial=-1.0)


def test_a_quarter_of_18900_frames_is_the_papers_4725() -> None:
    assert choose(np.random.default_rng(0).random(18_900), 0.25, None).sum() == 4725


def test_equal_confidences_keep_the_first_samples_and_the_exact_count() -> None:
    np.testing.assert_array_equal(choose(np.ones(8), 0.25, None), [True, True] + [False] * 6)


def test_keeping_everything_keeps_everything() -> None:
    assert choose(np.random.default_rng(0).random(13), 1.0, None).all()


def test_a_threshold_takes_the_place_of_the_fraction() -> None:
    np.testing.assert_array_equal(choose(np.array([0.2, 0.5, 0.7]), 0.01, 0.5), [False, False, True])


def test_a_run_made_before_a_key_came_goes_on_and_one_that_sets_it_does_not() -> None:
    before = {"labels": ["hall"], "template": "a photo of a {}", "keep": 0.25, "threshold": None, "near_duplicates": 3}
    assert keys_of(Curate(labels=["hall"])) == before
    assert keys_of(Curate(labels=["hall"], per_label=True)) == before | {"per_label": True}


def test_the_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rows = Kept(
        ids=["a/1", "b", "ä"],
        label=np.array([2, -1, 0]),
        confidence=np.array([0.25, np.nan, 1.0]),
        kept=np.array([True, False, True]),
    )
    write_kept(tmp_path, rows)
    back = read_kept(tmp_path)
    assert list(back.ids) == ["a/1", "b", "ä"]
    np.testing.assert_array_equal(back.label, rows.label)
    np.testing.assert_array_equal(back.confidence, rows.confidence)
    np.testing.assert_array_equal(back.kept, rows.kept)


def test_the_table_has_the_documented_columns(tmp_path: Path) -> None:
    from pyarrow import parquet

    write_kept(tmp_path, Kept(ids=["a"], label=np.array([-1]), confidence=np.array([np.nan]), kept=np.array([True])))
    schema = parquet.read_schema(tmp_path / "kept.parquet")
    assert {field.name: str(field.type) for field in schema} == {
        "id": "string",
        "label": "int64",
        "confidence": "double",
        "kept": "bool",
    }
