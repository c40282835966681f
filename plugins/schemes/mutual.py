"""Two students of one modality learn from the teacher and from each other.

Idea: a small ensemble on the images of one modality. Each student has its own rows, with the teacher's answer about
the RGB image as target and the other student as peer:
    L = sum over students a with other b of [ CE(argmax teacher(x), a(x')) + KL(stop(b(x')) || a(x')) ] / 2
where the first term is the loss `pseudo-label` and the second `mutual-kl`. The first student is exported.
Source: Thoker and Gall 2019, Cross-Modal Knowledge Distillation for Action Recognition, arXiv:1910.04641, section 3;
Zhang et al. 2018, Deep Mutual Learning, arXiv:1706.00384, as EdgeVL (arXiv:2403.04908) adapts it for its tables ("Fida").
Differs: class logits are cosines to label texts, since no labels exist; the weights 1 : 1 are inferred. The second
student is a copy of the first whose head, or all of it, starts from other random numbers: equal twins teach nothing.
Does not: use more than two students, or carry the second one into a later phase.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.contracts.scheme import Batch, Signature
from edgefw.contracts.student import StudentOutput
from edgefw.errors import RecipeError
from edgefw.plugins.schemes.single_modality import one_modality
from edgefw.registry.technique import Register
from edgefw.training.rows import forward_rows, join_rows

Anew = Literal["head", "all"]


class MutualConfig(edgefw.TechniqueConfig):
    """Options of the scheme."""

    modality: str | None = Field(default=None, description="modality of the students; null: the recipe's only one")
    anew: Anew = Field(
        default="head", description="what of the second student starts from other random numbers; all: no pretraining"
    )
    serve: Literal["own", "all"] = Field(
        default="own", description="what the exported graph labels: its own modality, or all (baselines in tables)"
    )


class Twins(nn.Module):
    """Two students; as a network it is the first one."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second

    @property
    def spec(self) -> Any:
        """The numbers of a student."""
        return self.first.spec

    def forward(self, pixels: Tensor) -> StudentOutput:
        """What the first student says."""
        output: StudentOutput = self.first(pixels)
        return output


class Mutual:
    """Two networks in training, the first of them in the exported graph."""

    def __init__(self, modality: str, modalities: Sequence[str], anew: Anew, serve: str, seed: int) -> None:
        self.modality = modality
        self.modalities = tuple(modalities)
        self.anew = anew
        self.serve = serve
        self.seed = seed

    def network(self, student: nn.Module) -> Twins:
        """The student and its twin; the caller's random state is left as it was.

        Raises:
            RecipeError: if nothing of the second student can start anew.
        """
        second = deepcopy(student)
        part: nn.Module | None = second if self.anew == "all" else getattr(second, "head", None)
        layers: list[Any] = [
            layer for layer in (part.modules() if part is not None else ()) if hasattr(layer, "reset_parameters")
        ]
        if not any(True for layer in layers for _ in layer.parameters(recurse=False)):
            raise RecipeError(
                f"anew: {self.anew}: nothing of the second student can be drawn anew, so both would stay equal. "
                "Use another head, anew: all, or train without a quantizer."
            )
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(self.seed)
            for layer in layers:
                layer.reset_parameters()
        return Twins(student, second)

    def uses(self, present: Collection[str]) -> bool:
        """Whether the sample has an image of the students' modality."""
        return self.modality in present

    def forward(self, network: Any, batch: Batch) -> LossInput:
        """Two rows per image that is present: one of each student, with the other one as peer."""
        said: list[StudentOutput] = []

        def both(pixels: Tensor) -> StudentOutput:
            said.extend(student(pixels) for student in (network.first, network.second))
            return said[0]

        rows = forward_rows(both, batch, (self.modality,), self.modalities)
        first, second = said
        return join_rows([replace(rows, student=first, peer=second), replace(rows, student=second, peer=first)])

    def embed(self, network: nn.Module, modality: str, pixels: Tensor) -> Tensor:
        """Embeddings (B, D) of images, by the first student."""
        embedding: Tensor = network(pixels).embedding
        return embedding

    def signatures(self, modalities: Sequence[str]) -> Sequence[Signature]:
        """One graph; it serves its own modality, or all of them where the recipe says so."""
        serves = (self.modality,) if self.serve == "own" else tuple(modalities)
        return (Signature(name="encoder", inputs=(self.modality,), serves=serves),)


def build(config: MutualConfig, context: edgefw.BuildContext) -> Mutual:
    """The scheme.

    Raises:
        RecipeError: if the modality is not one of the recipe's, or not named where there are several.
    """
    modality = one_modality(config.modality, context.modalities)
    return Mutual(modality, context.modalities, config.anew, config.serve, context.seed + 1)


@edgefw.hookimpl
def edgefw_register_schemes(register: Register) -> None:
    """Offer the scheme."""
    register(
        edgefw.Technique(
            name="mutual",
            config=MutualConfig,
            build=build,
            provides=frozenset({"peer"}),
            needs=frozenset({"teacher.embedding"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:1910.04641",
        )
    )
