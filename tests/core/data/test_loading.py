"""One image of a sample: the bytes of its file, decoded by its sensor, or one message."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgefw.contracts.dataset import FileReference, Sample
from edgefw.data.loading import read_image
from edgefw.errors import DataError
from edgefw.plugins.modalities.depth import Depth, DepthConfig
from edgefw.plugins.modalities.rgb import Rgb, RgbConfig

RGB, DEPTH = Rgb(RgbConfig()), Depth(DepthConfig())


@pytest.fixture
def sample(tmp_path) -> Sample:
    """A sample that has a photograph and no depth."""
    file = FileReference(tmp_path / "0.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(file.path)
    return Sample(id="0", images={"rgb": file})


def test_an_image_is_its_file_decoded(sample: Sample) -> None:
    with Image.open(sample.images["rgb"].path) as stored:
        np.testing.assert_array_equal(read_image(sample, "rgb", RGB), np.asarray(stored))


def test_a_missing_modality_and_a_missing_file_are_data_errors(sample: Sample) -> None:
    with pytest.raises(DataError, match="sample '0' has no image of modality 'depth'"):
        read_image(sample, "depth", DEPTH)
    sample.images["rgb"].path.unlink()
    with pytest.raises(DataError, match=r"0\.png: cannot be read \(No such file or directory\)"):
        read_image(sample, "rgb", RGB)
