"""What each model took each sample for, as `verify` stored it; and what follows from that per modality.

Knows verify/predictions.npz: arrays "<model>/<modality>" of class indices (-1: not asked), and "labels".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from edgefw.evaluation import bootstrap_interval, confusion, per_class_accuracy


@dataclass(frozen=True)
class Predicted:
    """Class indices of models on held-out samples.

    Attributes:
        names: class names; numbers where a run has no names.
        labels: (N,) int64, -1 where a sample has none.
        choices: (model, modality) -> (N,) int64, -1 where the sample lacks the modality.
    """

    names: Sequence[str] = ()
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    choices: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        """Whether there are predictions and labels to hold them against."""
        return bool(self.choices) and bool((self.labels >= 0).any())

    def truth(self, model: str, modality: str) -> np.ndarray:
        """Labels, (N,), -1 where the model was not asked."""
        return np.where(self.choices[model, modality] >= 0, self.labels, -1)

    def intervals(self) -> dict[tuple[str, str], tuple[float, float]]:
        """95 % bootstrap interval of every top-1."""
        found = {}
        for (model, modality), choice in self.choices.items():
            asked = self.truth(model, modality) >= 0
            if asked.any():
                right = (choice[asked] == self.labels[asked]).astype(np.float64)
                found[model, modality] = bootstrap_interval(right, draws=500)
        return found

    def confusion(self, model: str, modality: str) -> np.ndarray:
        """Counts (K, K), row = label, column = prediction."""
        return confusion(self.choices[model, modality], self.truth(model, modality), len(self.names))

    def per_class(self, model: str, modality: str) -> np.ndarray:
        """Accuracy of each class, (K,)."""
        return per_class_accuracy(self.choices[model, modality], self.truth(model, modality), len(self.names))


def read_predictions(file: Path, names: Sequence[str]) -> Predicted:
    """The predictions of a run; empty when the file is absent or damaged."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name]) for name in stored.files}
    except (OSError, EOFError, ValueError, KeyError, BadZipFile):
        return Predicted()
    labels = arrays.pop("labels", None)
    choices = {
        (name.rsplit("/", 1)[0], name.rsplit("/", 1)[1]): values.astype(np.int64)
        for name, values in arrays.items()
        if "/" in name and values.ndim == 1
    }
    length = len(next(iter(choices.values()))) if choices else 0
    if labels is None or len(labels) != length:
        labels = np.full(length, -1)
    choices = {key: values for key, values in choices.items() if len(values) == length}
    top = max([int(values.max(initial=-1)) for values in (labels, *choices.values())], default=-1) + 1
    named = [*names[:top], *(str(at) for at in range(len(names), top))] if len(names) < top else list(names)
    return Predicted(named, labels.astype(np.int64), choices)
