"""What a label pack says about embeddings: cosines, probabilities, and which labels a negative beats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of N embeddings and K labels.

    Attributes:
        cosines: (N, K) float32, to the nearest vector of each label.
        probabilities: (N, K) float64; what is left to 1 in a row is the negatives' share.
        beaten: (N, K) bool, where a negative of the label has the larger logit: there the label is not said, and
            holds in no trigger.
    """

    cosines: np.ndarray
    probabilities: np.ndarray
    beaten: np.ndarray
