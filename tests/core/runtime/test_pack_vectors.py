"""Vectors as text: they come back, a row of int8 is as small as said, and cosines stay."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefw.errors import BundleError
from edgefw.runtime.pack_vectors import BLOCK, decoded, encoded


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def drawn(count: int, width: int, seed: int = 0, outlier: float = 0.0) -> np.ndarray:
    """Unit rows; one number of each is `outlier`, as embeddings of CLIP have it."""
    rows = unit(np.random.default_rng(seed).normal(size=(count, width)))
    rows[:, width // 3] += outlier
    return unit(rows)


@pytest.mark.parametrize("outlier", [0.0, 0.5, 0.7])
def test_a_cosine_of_int8_vectors_moves_by_less_than_is_said(outlier):
    rows, images = drawn(40, 512, outlier=outlier), drawn(1000, 512, seed=1)
    back = unit(decoded(encoded(rows, "int8"), 40, 512, "int8"))
    images = unit(images + rows[np.arange(1000) % 40])
    moved = np.abs(images @ back.T - images @ rows.T)
    assert moved.max() < 3e-3 and np.sqrt((moved**2).mean()) < 6e-4


def test_int8_is_what_the_formula_says():
    rows = drawn(3, 100)
    data = base64.b64decode(encoded(rows, "int8"))
    assert len(data) == 3 * (2 * 2 + 100)
    for at, row in enumerate(rows):
        own = data[at * 104 : (at + 1) * 104]
        scales = np.frombuffer(own[:4], "<f2").astype(np.float64)
        numbers = np.frombuffer(own[4:], np.int8)
        for begin, scale in zip((0, BLOCK), scales):
            block = row[begin : begin + BLOCK]
            assert scale == np.float16(np.abs(block).max() / np.float32(127))
            np.testing.assert_allclose(numbers[begin : begin + BLOCK] * scale, block, atol=0.51 * scale)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 4),
    width=st.integers(1, 200),
    seed=st.integers(0, 2**31),
    power=st.floats(0.1, 12),
    dtype=st.sampled_from(["int8", "float16", "float32"]),
)
def test_rows_come_back_to_within_half_a_step(count, width, seed, power, dtype):
    raw = np.random.default_rng(seed).normal(size=(count, width))
    rows = unit(np.sign(raw) * np.abs(raw) ** power + 1e-6)
    back = decoded(encoded(rows, dtype), count, width, dtype)
    assert back.shape == rows.shape and back.dtype == np.float32
    step = {"int8": np.abs(rows).max() / 127, "float16": 2e-3, "float32": 0.0}[dtype]
    assert np.abs(back - rows).max() <= 0.51 * step + (1e-5 if dtype == "int8" else 0)


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
def test_another_number_of_bytes_is_refused(dtype):
    text = encoded(drawn(2, 70), dtype)
    with pytest.raises(BundleError, match=f"bytes of vectors do not make 3 rows of 70 {dtype}"):
        decoded(text, 3, 70, dtype)
    with pytest.raises(BundleError, match="not base64"):
        decoded(f"{text}!", 2, 70, dtype)
