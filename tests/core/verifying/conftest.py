"""What tests of `verify` with images share."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def noise(tmp_path) -> Path:
    """A folder of three photographs of noise, the same every time."""
    folder: Path = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder
