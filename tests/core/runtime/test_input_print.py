"""The print of an input: the same signs as splitmix64 by hand, and a difference that keeps its length."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgefw.runtime.input_print import WIDTH, input_print

MASK = (1 << 64) - 1


def splitmix64(state: int) -> int:
    """The output of a state, in Python's integers."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def test_numbers_are_sums_under_the_signs_of_splitmix64():
    images = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    rows = images.reshape(2, -1).astype(float)
    steps = range(1, WIDTH * rows.shape[1] + 1)
    signs = np.array([1 - 2 * (splitmix64(step * 0x9E3779B97F4A7C15 & MASK) & 1) for step in steps])
    expected = rows @ signs.reshape(-1, WIDTH) / np.sqrt(rows.shape[1])
    np.testing.assert_allclose(input_print(images), expected, rtol=1e-5, atol=1e-6)


def test_a_difference_keeps_its_length_within_a_third():
    draw = np.random.default_rng(1)
    one = draw.normal(size=(20, 3, 32, 32))
    other = one + 0.01 * draw.normal(size=one.shape)
    seen = np.linalg.norm(input_print(one) - input_print(other), axis=1) / np.sqrt(WIDTH)
    true = np.linalg.norm((one - other).reshape(20, -1), axis=1) / np.sqrt(one[0].size)
    assert np.all(np.abs(seen / true - 1) < 1 / 3) and abs((seen / true).mean() - 1) < 0.1


@given(st.integers(0, 3 * 6 * 6 - 1), st.floats(0.01, 100))
def test_any_changed_number_shows_in_all_of_a_print(place, change):
    image = np.linspace(-1, 1, 3 * 6 * 6).reshape(1, 3, 6, 6)
    other = image.copy()
    other.flat[place] += change
    np.testing.assert_allclose(
        np.abs(input_print(other) - input_print(image)), change / np.sqrt(108), rtol=1e-3, atol=1e-5
    )
