"""From a sample to the decoded values of one of its images, without augmentation.

It knows references and modalities; it knows no file format, no preprocessing and no model. It imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefw.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from edgefw.contracts.dataset import Sample
    from edgefw.contracts.modality import Modality


def read_image(sample: Sample, modality_name: str, modality: Modality) -> np.ndarray:
    """Decoded values of one image of a sample, as `Modality.decode` gives them.

    Raises:
        DataError: if the sample lacks the modality, or its file cannot be read or decoded.
    """
    reference = sample.images.get(modality_name)
    if reference is None:
        raise DataError(f"sample '{sample.id}' has no image of modality '{modality_name}'.")
    return modality.decode(reference.read(), reference.where)
