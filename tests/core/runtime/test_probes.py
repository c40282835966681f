"""Drawn images: the same bits everywhere, nothing in them that a mirror, a transposition or a swap would leave as it is."""

import hashlib

import numpy as np
import pytest
from pydantic import ValidationError

from edgefw.runtime.probes import ProbeSpec, flat_images, pattern_images, spec_of

RGB = ProbeSpec(shape=[41, 55, 3], dtype="uint8", low=0.0, high=255.0)


def test_patterns_are_the_same_bits_on_every_machine():
    depth = ProbeSpec(shape=[41, 55], dtype="float32", low=0.5, high=4.0)
    pixels = b"".join(image.tobytes() for spec in (RGB, depth) for image in pattern_images(spec))
    assert hashlib.sha256(pixels).hexdigest() == "c9f2834f30ddf5c3df121cf48fd435cb510c7eb1d9f457c265bce101bd8be146"


def test_a_ramp_is_what_the_formula_says_by_hand():
    ramp = pattern_images(ProbeSpec(shape=[4, 4], dtype="float64", low=0.0, high=960.0))[0]
    np.testing.assert_allclose(ramp, [[0, 240, 480, 720], [240, 480, 720, 960], [480, 720, 960, 239], [720, 960, 239, 479]])  # fmt: skip


@pytest.mark.parametrize("number", range(3))
def test_no_symmetry_is_left(number):
    image = pattern_images(RGB)[number].astype(int)
    square = image[:41, :41]
    for other in (square[::-1], square[:, ::-1], square.transpose(1, 0, 2), square[..., ::-1]):
        assert np.abs(square - other).mean() > 5


def test_a_pattern_stays_in_the_range_of_real_images_and_has_holes():
    spec = ProbeSpec(shape=[41, 55], dtype="uint16", low=300.0, high=4000.0)
    for image in pattern_images(spec):
        assert image.dtype == np.uint16
        assert image.max() <= 4000
        assert image[image > 0].min() >= 300
    assert any((image == 0).mean() > 0.01 for image in pattern_images(spec))


def test_flat_images_are_black_bright_and_in_between():
    assert [np.unique(image).tolist() for image in flat_images(RGB)] == [[0], [255], [127]]


def test_range_and_type_are_those_of_the_images_and_holes_do_not_count():
    holes = np.array([[np.nan, 2.5], [0.5, np.inf]], np.float32)
    assert spec_of([holes, holes + 1], 10, 12) == ProbeSpec(shape=[10, 12], dtype="float32", low=0.5, high=3.5)
    assert spec_of([np.zeros((4, 4, 3), np.uint8)], 10, 12).shape == [10, 12, 3]


def test_a_shape_that_fills_the_memory_is_refused_before_anything_is_drawn():
    with pytest.raises(ValidationError, match="16384 x 16384 x 3 values are more than the 16777216 of a drawn image"):
        ProbeSpec(shape=[16384, 16384, 3], dtype="uint8", low=0.0, high=255.0)


def test_a_huge_student_is_asked_with_smaller_images_of_the_same_proportions():
    picture = np.zeros((3, 3, 3), np.uint8)
    assert spec_of([picture], 300, 400).shape == [300, 400, 3]
    height, width, _ = spec_of([picture], 9000, 12000).shape
    assert height * width * 3 <= 1 << 24
    assert height / width == pytest.approx(0.75, abs=1e-3)
