"""Anchors with a positive and semi-hard negatives, mined anew in each epoch.

Idea: the student embeds the training samples at the start of an epoch. An anchor's positive is the nearest sample of its
label (pseudo-labels, where there is a curation); its negatives are samples of other labels that lie further away than the
positive, but by less than a margin: hard enough to teach something, not so hard that training collapses.
    d(a, p) < d(a, n) < d(a, p) + m,   d Euclidean between unit embeddings;   J of those n, in a random order
An anchor without positive or negative is left out of that epoch, and counted. A batch is `batch` anchors, role-tagged:
0 the anchor, 1 its positive, 2 and up its 1 to J negatives. Only the teacher's modality is embedded; the groups hold for
all modalities of a sample.
Source: Schroff et al. 2015 (FaceNet), arXiv:1503.03832, section 3.2, for the band; Cai et al. 2024 (EdgeVL),
arXiv:2403.04908, section 3.3, and its released dataset code for "easy" positives, m = 0.3, J = 3 and mining per epoch.
Differs: EdgeVL's code mines on embeddings that are not normalised, while its loss normalises them, so that one margin means
two things: `normalise: false` is that. Distances are compared to six decimals.
Does not: look at the teacher, mine pairs across modalities, or use samples without a label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

import edgefw
from edgefw.contracts.sampler import Pick, SampleTable
from edgefw.errors import DataError
from edgefw.plugins.samplers.triplet_mining import Empty, Positive, Rules, Triplets, mine

if TYPE_CHECKING:
    from edgefw.registry.technique import Register


class SemiHardTripletConfig(edgefw.TechniqueConfig):
    """Options of the sampler."""

    margin: float = Field(default=0.3, gt=0.0, le=1000.0, description="width of the band of negatives")
    negatives: int = Field(default=3, ge=1, le=64, description="negatives per anchor, at most")
    normalise: bool = Field(default=True, description="mine on unit embeddings; false: as the student gives them")
    positive: Positive = Field(default="easy", description="nearest, furthest or random sample of the label")
    empty: Empty = Field(default="skip", description="negatives of an anchor with none in its band")


class SemiHardTriplet:
    """Mined groups, see `edgefw.contracts.sampler.Sampler`."""

    needs_embeddings = True

    def __init__(self, rules: Rules, unit_embeddings: bool = True) -> None:
        self.rules = rules
        self.unit_embeddings = unit_embeddings
        self._report: dict[str, float] = {}

    def batches(self, table: SampleTable, batch: int, epoch: int, seed: int) -> Iterator[Sequence[Pick]]:
        """Full batches of `batch` groups; none after the first epoch when too few anchors have a triplet.

        Raises:
            DataError: without labels, with one label only, or when the first epoch has fewer groups than `batch`.
        """
        members = _members(table)
        if table.embedding is None:
            raise DataError("sampler 'semi-hard-triplet': the table of samples has no embeddings to mine in.")
        embedding = table.embedding if len(members) == table.size else table.embedding[members]
        found = mine(embedding, _labels(table)[members], self.rules, (seed, epoch))
        anchors = np.random.default_rng([seed, epoch, 0]).permutation(np.flatnonzero(found.valid))
        self._report = _report(found, batch)
        if len(anchors) < batch and epoch == 0:
            raise DataError(self._too_few(batch))
        for start in range(0, len(anchors) - batch + 1, batch):
            yield [pick for group in range(batch) for pick in _group(found, members, anchors[start + group], group)]

    def length(self, table: SampleTable, batch: int) -> int:
        """Batches if every sample that has a mate of its label were an anchor; 0 with fewer than two labels."""
        label = _labels(table)
        counts = np.unique(label[label >= 0], return_counts=True)[1]
        return int(counts[counts > 1].sum()) // batch if len(counts) > 1 else 0

    def report(self) -> Mapping[str, float]:
        """Counts of the last epoch, see `_report`."""
        return dict(self._report)

    def _too_few(self, batch: int) -> str:
        numbers = {name: int(value) for name, value in self._report.items()}
        band = f"d < d_n < d + {self.rules.margin:g}"
        return (
            f"sampler 'semi-hard-triplet': {numbers['anchors']} of {numbers['samples']} labelled samples have a triplet, "
            f"and a batch needs {batch} anchors ({numbers['without_positive']} have no other sample of their label, "
            f"{numbers['without_negative']} no negative with {band}). Make batch smaller or margin larger, "
            "set empty: closest, or give more samples per label."
        )


def _labels(table: SampleTable) -> np.ndarray:
    return np.full(table.size, -1) if table.label is None else table.label


def _members(table: SampleTable) -> np.ndarray:
    """Indices of the samples with a label, of at least two labels."""
    label = _labels(table)
    members = np.flatnonzero(label >= 0)
    if not len(members):
        raise DataError(
            "sampler 'semi-hard-triplet': no sample has a label. Add curate for pseudo-labels, give the data set labels, "
            "or use the sampler 'shuffle' without a triplet loss."
        )
    counts = np.unique(label[members], return_counts=True)[1]
    if len(counts) == 1 or counts.max() == 1:
        what = "have one and the same label" if len(counts) == 1 else "have labels that no other sample has"
        raise DataError(
            f"sampler 'semi-hard-triplet': all {len(members)} labelled samples {what}, so there are no triplets. Keep more "
            "samples (curate.keep), or list labels that tell the samples apart (curate.labels)."
        )
    return members


def _group(found: Triplets, members: np.ndarray, anchor: int, group: int) -> list[Pick]:
    """The picks of one anchor: itself, its positive, its negatives."""
    negatives = found.negatives[anchor]
    places = [anchor, found.positive[anchor], *negatives[negatives >= 0]]
    return [Pick(index=int(members[place]), group=group, role=role) for role, place in enumerate(places)]


def _report(found: Triplets, batch: int) -> dict[str, float]:
    """What mining found among the labelled samples.

    `samples` = `anchors` (with a triplet) + `without_positive` + `without_negative`; of the anchors `filled` have negatives
    from outside the band and `left_over` fill no batch; `negatives` is the mean number per anchor.
    """
    valid = found.valid
    alone = found.positive < 0
    per_anchor = (found.negatives[valid] >= 0).sum(axis=1)
    counts = {
        "samples": len(valid),
        "anchors": valid.sum(),
        "without_positive": alone.sum(),
        "without_negative": (~valid & ~alone).sum(),
        "filled": found.filled.sum(),
        "left_over": valid.sum() % batch,
        "negatives": per_anchor.mean() if len(per_anchor) else 0,
    }
    return {name: float(value) for name, value in counts.items()}


def build(config: SemiHardTripletConfig, context: edgefw.BuildContext) -> SemiHardTriplet:
    """The sampler."""
    rules = Rules(margin=config.margin, negatives=config.negatives, positive=config.positive, empty=config.empty)
    return SemiHardTriplet(rules, config.normalise)


@edgefw.hookimpl
def edgefw_register_samplers(register: Register) -> None:
    """Offer `semi-hard-triplet`."""
    register(
        edgefw.Technique(
            name="semi-hard-triplet",
            config=SemiHardTripletConfig,
            build=build,
            provides=frozenset({"groups"}),
            paper="arXiv:1503.03832",
        )
    )
