"""What is drawn on a frame: colours by hand, words that leave the rest alone, sizes."""

from __future__ import annotations

import numpy as np

from edgefw.camera.drawing import LEAST, enlarged, side_by_side, with_heat, with_lines
from edgefw.runtime.preprocessing import JET


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


def test_the_hottest_pixel_is_red_the_coldest_blue_and_what_was_not_seen_stays() -> None:
    heat = np.array([[0.25, 0.75, 0.5, np.nan]], np.float32)
    drawn = with_heat(grey(1, 4), heat)
    for column, level in enumerate((0.0, 1.0, 0.5)):
        expected = 0.5 * 100 + 0.5 * JET[round(255 * level)].astype(float)
        np.testing.assert_allclose(drawn[0, column], expected, atol=1.5)
    assert (drawn[0, 3] == 100).all()
    assert drawn[0, 0, 2] > drawn[0, 0, 0] and drawn[0, 1, 0] > drawn[0, 1, 2]


def test_scale_and_offset_of_a_map_do_not_change_its_colours() -> None:
    heat = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    np.testing.assert_array_equal(with_heat(grey(6, 5), heat), with_heat(grey(6, 5), 4 * heat + 8))


def test_a_flat_map_and_a_map_of_nothing_are_drawn() -> None:
    assert len(np.unique(with_heat(grey(2, 2), np.full((2, 2), 0.4)).reshape(-1, 3), axis=0)) == 1
    np.testing.assert_array_equal(with_heat(grey(2, 2), np.full((2, 2), np.nan)), grey(2, 2))


def test_words_stand_in_the_upper_left_corner_and_change_nothing_else() -> None:
    drawn = with_lines(grey(240, 320), ["a chair 0.91", "Stühle"])
    changed = np.argwhere((drawn != 100).any(axis=2))
    assert len(changed) > 200 and changed[:, 0].max() < 60 and changed[:, 1].max() < 160
    assert drawn.max() == 255 and drawn.min() == 0
    np.testing.assert_array_equal(with_lines(grey(240, 320), []), grey(240, 320))


def test_small_pictures_are_enlarged_by_a_whole_factor_and_large_ones_are_not() -> None:
    assert enlarged(grey(48, 64)).shape == (240, 320, 3)
    assert enlarged(grey(LEAST, 8)).shape == (LEAST, 8, 3)
    assert side_by_side([grey(4, 5), grey(4, 5)]).shape == (4, 10, 3)
