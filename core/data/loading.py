"""From samples to what a student or a teacher takes, in batches, in the samples' order, without augmentation.

It knows references, modalities and preprocessing contracts; it knows no file format and no model beyond the teacher's
own `preprocess`. One batch is in memory at a time. torch is imported only where tensors are asked for, so that the
device side can read data without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edgefw.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from edgefw.contracts.dataset import Sample
    from edgefw.contracts.modality import Modality
    from edgefw.contracts.student import InputSpec
    from edgefw.contracts.teacher import Teacher
    from edgefw.runtime.preprocessing import Preprocessing


def read_image(sample: Sample, modality_name: str, modality: Modality) -> np.ndarray:
    """Decoded values of one image of a sample, as `Modality.decode` gives them.

    Raises:
        DataError: if the sample lacks the modality, or its file cannot be read or decoded.
    """
    reference = sample.images.get(modality_name)
    if reference is None:
        raise DataError(f"sample '{sample.id}' has no image of modality '{modality_name}'.")
    return modality.decode(reference.read(), reference.where)


def student_input(values: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """The student's (C, H, W) float32 input of decoded values."""
    return preprocessing(values)


def evaluation_batches(
    samples: Sequence[Sample], modality_name: str, modality: Modality, input: InputSpec, batch: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Student inputs of the samples that have the modality.

    Yields:
        (B,) int64 positions in `samples`, in order, and (B, C, H, W) float32; the last batch may be smaller.
    """
    preprocessing = modality.preprocessing(input)
    for positions in _positions(samples, modality_name, batch):
        images = [preprocessing(read_image(samples[index], modality_name, modality)) for index in positions]
        yield np.asarray(positions, np.int64), np.stack(images)


def teacher_batches(
    samples: Sequence[Sample], modality_name: str, modality: Modality, teacher: Teacher, batch: int
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """The teacher's own pixels of the samples that have the modality: picture, then `teacher.preprocess`.

    Yields:
        (B,) int64 positions in `samples`, in order, and (B, 3, H, W) float32; the last batch may be smaller.
    """
    import torch

    for positions in _positions(samples, modality_name, batch):
        values = (read_image(samples[index], modality_name, modality) for index in positions)
        pixels = [teacher.preprocess(Image.fromarray(modality.picture(image))) for image in values]
        yield np.asarray(positions, np.int64), torch.stack(pixels)


def _positions(samples: Sequence[Sample], modality_name: str, batch: int) -> Iterator[list[int]]:
    positions: list[int] = []
    for index, sample in enumerate(samples):
        if modality_name in sample.images:
            positions.append(index)
        if len(positions) == batch:
            yield positions
            positions = []
    if positions:
        yield positions
