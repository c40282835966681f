"""Endings of stored pictures: the caller's, or what the image is."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from edgefw.camera.image_endings import fitting_ending


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("JPEG", "jpg"),
        ("PNG", "png"),
        ("GIF", "gif"),
        ("BMP", "bmp"),
        ("TIFF", "tif"),
        ("WEBP", "webp"),
        ("PPM", "pnm"),
    ],
)
def test_an_image_that_has_no_ending_gets_that_of_its_format(form: str, expected: str) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((8, 8), 50).convert("RGB").save(buffer, format=form)
    assert fitting_ending(buffer.getvalue(), "") == expected
    assert fitting_ending(buffer.getvalue(), "jpeg") == "jpeg"  # what can be one stays, whatever the image is


def test_an_array_is_known_too_and_what_is_not_known_is_bin() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 2), np.uint16))
    assert fitting_ending(buffer.getvalue(), "") == "npy"
    assert fitting_ending(b"", "") == fitting_ending(b"P7 and more", "part") == "bin"
