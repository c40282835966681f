"""The labels and the negatives of a label pack, and what must be true of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edgefw.errors import BundleError


@dataclass(frozen=True, kw_only=True)
class Label:
    """One label.

    Attributes:
        name: what is printed.
        vectors: (n, D) float32, n of at least 1; normalised when the pack is made.
        bias: added to the logit.
        threshold: smallest probability at which the label is said, 0..1.
        temperature: divides the scaled cosine, > 0.
    """

    name: str
    vectors: np.ndarray
    bias: float = 0.0
    threshold: float = 0.0
    temperature: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Negative:
    """What is never said, and competes with labels.

    Attributes:
        name: its text.
        vectors: (n, D) float32, n of at least 1; normalised when the pack is made.
        of: the labels that are not said where the negative has the larger logit; empty: all.
        temperature: divides the scaled cosine, > 0.
    """

    name: str
    vectors: np.ndarray
    of: Sequence[str] = ()
    temperature: float = 1.0


def check_entries(labels: Sequence[Label], negatives: Sequence[Negative]) -> None:
    """Refuse labels and negatives that make no pack.

    Raises:
        BundleError: naming the first thing that is wrong.
    """
    if not labels:
        raise BundleError("a label pack needs at least one label.")
    widths = {label.vectors.shape[1:] for label in labels} | {negative.vectors.shape[1:] for negative in negatives}
    if len(widths) != 1 or len(next(iter(widths))) != 1 or next(iter(widths)) == (0,):
        raise BundleError(f"vectors of a label pack must be (n, D) of one width, got {sorted(widths)}.")
    for label in labels:
        _check_vectors("label", label)
        _check_label(label)
    for negative in negatives:
        _check_vectors("negative", negative)
        _check_rivals(negative, [label.name for label in labels])
    _check_names("label", labels)
    _check_names("negative", negatives)


def _check_vectors(what: str, entry: Label | Negative) -> None:
    lengths = np.linalg.norm(np.asarray(entry.vectors, np.float64), axis=1)
    if not entry.name.strip():
        raise BundleError(f"a {what} without a name.")
    if not len(lengths) or not np.isfinite(lengths).all() or (lengths == 0).any():
        raise BundleError(f"{what} '{entry.name}': needs vectors that are finite and not zero.")
    if not (np.isfinite(entry.temperature) and entry.temperature > 0):
        raise BundleError(f"{what} '{entry.name}': temperature must be above 0, got {entry.temperature}.")


def _check_label(label: Label) -> None:
    if not 0.0 <= label.threshold <= 1.0:
        raise BundleError(f"label '{label.name}': threshold must be 0..1, got {label.threshold}.")
    if not np.isfinite(label.bias):
        raise BundleError(f"label '{label.name}': bias must be finite, got {label.bias}.")


def _check_rivals(negative: Negative, names: Sequence[str]) -> None:
    if negative.name in names:
        raise BundleError(f"'{negative.name}' is a label and a negative at once.")
    strangers = [name for name in negative.of if name not in names]
    if strangers:
        raise BundleError(f"negative '{negative.name}': is of '{strangers[0]}', which is no label of the pack.")


def _check_names(what: str, entries: Iterable[Label | Negative]) -> None:
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            raise BundleError(f"{what} '{entry.name}' stands in the pack twice.")
        seen.add(entry.name)
