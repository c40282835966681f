"""One shared student; every modality learns the RGB teacher's embedding.

Idea: a sample's images of all modalities go through the same weights, stacked in one batch, and each is compared with
what the frozen teacher says about the RGB image: L = mean over rows of d(teacher(x), student(x or x')). The teacher
never sees x'. A missing image has no row. With one modality in the recipe this is plain distillation.
Source: Cai et al. 2024 (EdgeVL), arXiv:2403.04908, section 3.2; released trainer.py (concatenation along the batch).
Differs: any number of modalities. Does not: need labels, or every modality of every sample.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.contracts.scheme import Batch, Signature
from edgefw.registry.technique import Register
from edgefw.training.rows import forward_rows


class DualModality:
    """One network for every modality; one graph to export."""

    def __init__(self, modalities: Sequence[str]) -> None:
        self.modalities = tuple(modalities)

    def network(self, student: nn.Module) -> nn.Module:
        """The student itself."""
        return student

    def forward(self, network: nn.Module, batch: Batch) -> LossInput:
        """One row per image that is present, modality by modality."""
        return forward_rows(network, batch, self.modalities, self.modalities)

    def embed(self, network: nn.Module, modality: str, pixels: Tensor) -> Tensor:
        """Embeddings (B, D) of images of any modality."""
        embedding: Tensor = network(pixels).embedding
        return embedding

    def signatures(self, modalities: Sequence[str]) -> Sequence[Signature]:
        """One graph that takes one image of any modality."""
        return (Signature(name="encoder", inputs=(modalities[0],), serves=tuple(modalities)),)


def build(config: edgefw.NoOptions, context: edgefw.BuildContext) -> DualModality:
    """The scheme for the recipe's modalities."""
    return DualModality(context.modalities)


@edgefw.hookimpl
def edgefw_register_schemes(register: Register) -> None:
    """Offer the scheme."""
    register(
        edgefw.Technique(
            name="dual-modality",
            config=edgefw.NoOptions,
            build=build,
            needs=frozenset({"teacher.embedding"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:2403.04908",
        )
    )
