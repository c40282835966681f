"""Batches for evaluation and for the teacher: the right rows, in order, in the right units."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from edgefw.contracts.dataset import FileReference, Sample
from edgefw.contracts.student import InputSpec
from edgefw.data.loading import evaluation_batches, read_image, student_input, teacher_batches
from edgefw.errors import DataError
from edgefw.plugins.modalities.depth import Depth, DepthConfig
from edgefw.plugins.modalities.rgb import Rgb, RgbConfig

INPUT = InputSpec(size=8)
RGB, DEPTH = Rgb(RgbConfig()), Depth(DepthConfig())


@pytest.fixture
def samples(tmp_path) -> list[Sample]:
    """Five samples; the second and the fourth have no depth."""
    rng = np.random.default_rng(0)
    made = []
    for index in range(5):
        images = {"rgb": FileReference(tmp_path / f"{index}.png")}
        Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(images["rgb"].path)
        if index not in (1, 3):
            images["depth"] = FileReference(tmp_path / f"{index}.depth.png")
            Image.fromarray(rng.integers(1, 9000, (9, 12)).astype(np.uint16)).save(images["depth"].path)
        made.append(Sample(id=str(index), images=images))
    return made


class FlipTeacher:
    """Takes a picture as it is, as a teacher with a preprocessing of its own would."""

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.asarray(image)[:, ::-1].transpose(2, 0, 1) / np.float32(255))


def test_every_sample_comes_once_and_in_order(samples: list[Sample]) -> None:
    batches = list(evaluation_batches(samples, "rgb", RGB, INPUT, 2))
    assert [list(indices) for indices, _ in batches] == [[0, 1], [2, 3], [4]]
    assert all(images.dtype == np.float32 and images.shape[1:] == (3, 8, 8) for _, images in batches)
    contract = RGB.preprocessing(INPUT)
    np.testing.assert_array_equal(batches[1][1][0], student_input(read_image(samples[2], "rgb", RGB), contract))


def test_samples_without_the_modality_are_passed_over(samples: list[Sample]) -> None:
    batches = list(evaluation_batches(samples, "depth", DEPTH, INPUT, 2))
    assert [list(indices) for indices, _ in batches] == [[0, 2], [4]]


def test_the_teacher_sees_its_own_preprocessing_of_the_picture(samples: list[Sample]) -> None:
    [(indices, pixels)] = list(teacher_batches(samples, "depth", DEPTH, FlipTeacher(), 8))
    assert list(indices) == [0, 2, 4] and pixels.shape == (3, 3, 9, 12)
    picture = DEPTH.picture(read_image(samples[2], "depth", DEPTH))
    np.testing.assert_allclose(pixels[1].numpy(), picture[:, ::-1].transpose(2, 0, 1) / 255, atol=1e-6)


def test_a_missing_modality_and_a_missing_file_are_data_errors(samples: list[Sample]) -> None:
    with pytest.raises(DataError, match="sample '1' has no image of modality 'depth'"):
        read_image(samples[1], "depth", DEPTH)
    samples[0].images["rgb"].path.unlink()
    with pytest.raises(DataError, match=r"0\.png: cannot be read \(No such file or directory\)"):
        read_image(samples[0], "rgb", RGB)


def test_reading_the_same_bytes_gives_the_same_bits(samples: list[Sample]) -> None:
    first, second = (list(evaluation_batches(samples, "depth", DEPTH, INPUT, 3)) for _ in range(2))
    assert all(a[1].tobytes() == b[1].tobytes() for a, b in zip(first, second))
    assert io.BytesIO(samples[0].images["rgb"].read()).getvalue() == samples[0].images["rgb"].path.read_bytes()
