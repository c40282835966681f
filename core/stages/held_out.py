"""The held-out samples that verification looks at, with their label indices and the texts of the labels.

It chooses and counts; it decodes nothing and runs no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.data.listing import absent

if TYPE_CHECKING:
    from edgefw.contracts.dataset import Sample, Skip
    from edgefw.stages.context import StageContext


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Samples of a held-out split.

    Attributes:
        samples: N of them, in the listing's order.
        labels: (N,) int64 index into `names`, -1 without a label or with one that is not asked for.
        names: label names; empty where nothing can be asked.
        text: (K, D) unit text embeddings of the names, or None.
        skipped: samples that could not be read.
        absent: modalities that none of them has an image of.
    """

    samples: Sequence[Sample]
    labels: np.ndarray
    names: Sequence[str]
    text: np.ndarray | None
    skipped: Sequence[Skip]
    absent: Sequence[str] = ()

    @property
    def labelled(self) -> bool:
        """Whether accuracy can be measured."""
        return self.text is not None and bool((self.labels >= 0).any())

    def notes(self) -> list[str]:
        """What a reader of the numbers should know."""
        found = []
        if self.skipped:
            first = self.skipped[0]
            found.append(
                f"{len(self.skipped)} held-out samples cannot be read; the first: {first.where}: {first.reason}"
            )
        if self.absent:
            found.append(f"no held-out sample has an image of {', '.join(self.absent)}: nothing is said of it")
        unknown = int((self.labels < 0).sum())
        if self.labelled and unknown:
            found.append(f"{unknown} of {len(self.labels)} held-out samples have none of the evaluation labels")
        return found


def held_out(context: StageContext) -> HeldOut:
    """The samples of `verify.split`, at most `verify.samples` of them, drawn with the run's seed.

    Raises:
        DataError: if the split is empty.
    """
    config, pieces = context.recipe.config, context.pieces
    listing = pieces.listing(config.verify.split)
    samples = _drawn(listing.samples, config.verify.samples, config.seed)
    names = label_names(context)
    index = {name: number for number, name in enumerate(names)}
    labels = np.array([index.get(sample.label or "", -1) for sample in samples], dtype=np.int64)
    text = pieces.text_embeddings(names, config.evaluate.template) if names else None
    return HeldOut(
        samples=samples,
        labels=labels,
        names=names,
        text=text,
        skipped=listing.skipped,
        absent=absent(samples, pieces.modalities),
    )


def label_names(context: StageContext) -> list[str]:
    """The evaluation labels; empty if the recipe names none and the data set has none, or the teacher cannot read."""
    named = context.recipe.config.evaluate.labels is not None or bool(context.pieces.dataset.classes)
    speaks = "teacher.text" in context.composition.teacher.provides
    return context.pieces.evaluation_labels() if named and speaks else []


def _drawn(samples: Sequence[Sample], most: int | None, seed: int) -> Sequence[Sample]:
    """All samples, or a draw without replacement: listings are often sorted by class."""
    if most is None or len(samples) <= most:
        return samples
    places = np.random.default_rng(seed).choice(len(samples), most, replace=False)
    return [samples[int(place)] for place in np.sort(places)]


def fingerprint_of(context: StageContext) -> dict[str, Any]:
    """What decides which samples and labels are looked at."""
    config = context.recipe.config
    return {"labels": label_names(context), "template": config.evaluate.template, "seed": config.seed}
