"""The mix of an RGB image and its paired image lies between both (MixSKD).

Formula, for a sample with images x and x', weight lam ~ Beta(alpha, alpha), and student embeddings e:
    mix = lam x + (1 - lam) x',   interpolation = lam e(x) + (1 - lam) e(x')
Rows: every image that is present, then every mix; all have the teacher's answer about the RGB image as target. The
rows of mixes have the interpolation as peer. With losses on rows and peers this gives the table's baseline ("SKD"):
    feature (all rows) + feature against peer, mse (mix and interpolation) + mutual-kl (their class distributions)
Source: Yang et al. 2022, MixSKD: Self-Knowledge Distillation from Mixup, arXiv:2208.05768, section 3; adapted as in
EdgeVL's tables (arXiv:2403.04908), "joint RGB and non-RGB training via hybrid mixup"; the adaptation is inferred.
Differs: a pair is two sensors' images of one scene, not two scenes, so both share a target; one lam per pair, not per
batch; lam is a function of the seed and the batch's samples alone, so that a resumed run draws the same. Feature maps
are interpolated too, but only a loss `of: map` compares them. No adversary and no auxiliary heads.
Does not: mix samples that lack one of the two images, or images of different shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.contracts.scheme import Batch, Signature
from edgefw.contracts.student import StudentOutput
from edgefw.errors import RecipeError
from edgefw.registry.technique import Register
from edgefw.training.rows import forward_rows, join_rows, rows_of_modality, with_peer


class HybridMixupConfig(edgefw.TechniqueConfig):
    """Options of the scheme."""

    alpha: Annotated[float, Field(gt=0.0, le=100.0)] = Field(default=0.4, description="both parameters of the Beta")
    source: str = Field(default="rgb", description="modality that each other one is mixed with")


class HybridMixup:
    """One network for every modality; one graph to export."""

    def __init__(self, alpha: float, source: str, modalities: Sequence[str], seed: int) -> None:
        self.alpha = alpha
        self.source = source
        self.modalities = tuple(modalities)
        self.seed = seed

    def network(self, student: nn.Module) -> nn.Module:
        """The student itself."""
        return student

    def forward(self, network: nn.Module, batch: Batch) -> LossInput:
        """One row per image that is present, then one per mix, with the interpolation of its two rows as peer."""
        plain = forward_rows(network, batch, self.modalities, self.modalities)
        weights = mixing_weights(self.alpha, self.seed, batch.sample).to(batch.sample.device)
        parts = [plain]
        for name in self.modalities:
            pairs = batch.present[self.source] & batch.present[name]
            if name != self.source and bool(pairs.any()):
                parts.append(self._mixes(network, batch, name, pairs, weights, plain))
        return join_rows([with_peer(part) for part in parts])

    def _mixes(
        self, network: nn.Module, batch: Batch, name: str, pairs: Tensor, weights: Tensor, plain: LossInput
    ) -> LossInput:
        """Rows of one modality's mixes; a row counts as the modality that has the larger share of it."""
        index = [self.modalities.index(kind) for kind in (self.source, name)]
        share = weights[:, None, None, None]
        mixed = share * batch.images[self.source] + (1 - share) * batch.images[name]
        both = replace(batch, images={name: mixed}, present={name: pairs})
        rows = forward_rows(network, both, (name,), self.modalities)
        lam = weights[pairs]
        first, second = (rows_of_modality(plain, at, pairs[batch.present[self.modalities[at]]]) for at in index)
        peer = _interpolated(first, second, lam)
        return replace(rows, peer=peer, modality=torch.where(lam >= 0.5, index[0], index[1]))

    def embed(self, network: nn.Module, modality: str, pixels: Tensor) -> Tensor:
        """Embeddings (B, D) of images of any modality."""
        embedding: Tensor = network(pixels).embedding
        return embedding

    def signatures(self, modalities: Sequence[str]) -> Sequence[Signature]:
        """One graph that takes one image of any modality."""
        return (Signature(name="encoder", inputs=(modalities[0],), serves=tuple(modalities)),)


def mixing_weights(alpha: float, seed: int, sample: Tensor) -> Tensor:
    """lam of each sample of a batch, (B,) float32: the same for the same seed and samples in the same order."""
    draw = np.random.default_rng([seed, *(int(index) for index in sample.tolist())])
    return torch.from_numpy(draw.beta(alpha, alpha, len(sample)).astype(np.float32))


def _interpolated(first: StudentOutput, second: StudentOutput, lam: Tensor) -> StudentOutput:
    """lam of the first and the rest of the second, output by output."""

    def between(one: Tensor | None, other: Tensor | None) -> Tensor | None:
        if one is None or other is None:
            return None
        share = lam.to(one.dtype).view(-1, *([1] * (one.ndim - 1)))
        return share * one + (1 - share) * other

    return StudentOutput(
        *(between(one, other) for one, other in zip(first[:3], second[:3]))  # type: ignore[arg-type]
    )


def build(config: HybridMixupConfig, context: edgefw.BuildContext) -> HybridMixup:
    """The scheme.

    Raises:
        RecipeError: if the source is not one of the recipe's modalities.
    """
    check_source(config.source, context.modalities)
    return HybridMixup(config.alpha, config.source, context.modalities, context.seed)


def check_source(source: str, modalities: Sequence[str]) -> None:
    """Refuse a source that the recipe does not have.

    Raises:
        RecipeError: naming those it has.
    """
    if source not in modalities:
        raise RecipeError(f"source: the recipe has no modality '{source}'. It has: {', '.join(modalities)}.")


@edgefw.hookimpl
def edgefw_register_schemes(register: Register) -> None:
    """Offer the scheme."""
    register(
        edgefw.Technique(
            name="hybrid-mixup",
            config=HybridMixupConfig,
            build=build,
            provides=frozenset({"peer"}),
            needs=frozenset({"teacher.embedding", "run.pairs"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:2208.05768",
        )
    )
