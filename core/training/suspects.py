"""Which samples of a bad step to name: those whose images or targets are no numbers, else all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from edgefw.contracts.sampler import Pick

if TYPE_CHECKING:
    from edgefw.data.batches import StepSource
    from edgefw.training.steps import Targets


class Suspects:
    """Loads the samples of a bad step again, one by one, and looks at their numbers.

    Args:
        source: the training samples.
        targets: the teacher's answers.
        pictures: whether the answers are asked for in every step.
    """

    def __init__(self, source: StepSource, targets: Targets, pictures: bool) -> None:
        self._source = source
        self._targets = targets
        self._pictures = pictures

    def __call__(self, indices: Sequence[int], epoch: int) -> tuple[Sequence[str], str]:
        """The ids to name, and a sentence on what is wrong with them (empty if nothing is)."""
        images, answers = [], []
        for index in dict.fromkeys(indices):
            data = self._source.load([Pick(index=index)], epoch, self._pictures)
            if not all(bool(torch.isfinite(pixels).all()) for pixels in data.images.values()):
                images.append(self._source.ids[index])
            elif not bool(torch.isfinite(self._targets(data).embedding).all()):
                answers.append(self._source.ids[index])
        if images:
            return images, "Their images hold values that are not numbers: check these files. "
        if answers:
            return answers, "The teacher's answer to them is not a number: check these images. "
        return [self._source.ids[index] for index in indices], ""
