"""A student of one modality learns the RGB teacher's embedding (CMKD).

Idea: only images of one modality go through the student; the target is what the frozen teacher says about the RGB image
of the same sample: L = d(teacher(x), student(x')). Samples without that modality are left out.
Source: Hong et al. 2022, Cross-Modality Knowledge Distillation Network for Monocular 3D Object Detection,
arXiv:2211.07171, as EdgeVL (arXiv:2403.04908) adapts it for its tables: feature distance to the CLIP embedding.
Differs: the detector's losses are left out. Does not: train on any other modality.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.contracts.scheme import Batch, Signature
from edgefw.errors import RecipeError
from edgefw.registry.technique import Register
from edgefw.training.rows import forward_rows


class SingleModalityConfig(edgefw.TechniqueConfig):
    """Options of the scheme."""

    modality: str | None = Field(default=None, description="modality of the student; null: the recipe's only one")
    serve: Literal["own", "all"] = Field(
        default="own", description="what the exported graph labels: its own modality, or all (baselines in tables)"
    )


class SingleModality:
    """One network for one modality; one graph to export."""

    def __init__(self, modality: str, modalities: Sequence[str], serve: Literal["own", "all"]) -> None:
        self.modality = modality
        self.modalities = tuple(modalities)
        self.serve = serve

    def network(self, student: nn.Module) -> nn.Module:
        """The student itself."""
        return student

    def uses(self, present: Collection[str]) -> bool:
        """Whether the sample has an image of the student's modality."""
        return self.modality in present

    def forward(self, network: nn.Module, batch: Batch) -> LossInput:
        """One row per image of the modality that is present."""
        return forward_rows(network, batch, (self.modality,), self.modalities)

    def embed(self, network: nn.Module, modality: str, pixels: Tensor) -> Tensor:
        """Embeddings (B, D) of images."""
        embedding: Tensor = network(pixels).embedding
        return embedding

    def signatures(self, modalities: Sequence[str]) -> Sequence[Signature]:
        """One graph; it serves its own modality, or all of them where the recipe says so."""
        serves = (self.modality,) if self.serve == "own" else tuple(modalities)
        return (Signature(name="encoder", inputs=(self.modality,), serves=serves),)


def build(config: SingleModalityConfig, context: edgefw.BuildContext) -> SingleModality:
    """The scheme.

    Raises:
        RecipeError: if the modality is not one of the recipe's, or not named where there are several.
    """
    return SingleModality(one_modality(config.modality, context.modalities), context.modalities, config.serve)


def one_modality(named: str | None, modalities: Sequence[str]) -> str:
    """The modality that an option names, or the recipe's only one.

    Raises:
        RecipeError: if it is not one of the recipe's, or not named where there are several.
    """
    names = ", ".join(modalities)
    if named is None and len(modalities) != 1:
        raise RecipeError(f"modality: say which of the recipe's modalities the student sees: {names}.")
    modality = named or modalities[0]
    if modality not in modalities:
        raise RecipeError(f"modality: the recipe has no modality '{modality}'. It has: {names}.")
    return modality


@edgefw.hookimpl
def edgefw_register_schemes(register: Register) -> None:
    """Offer the scheme."""
    register(
        edgefw.Technique(
            name="single-modality",
            config=SingleModalityConfig,
            build=build,
            needs=frozenset({"teacher.embedding"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:2211.07171",
        )
    )
