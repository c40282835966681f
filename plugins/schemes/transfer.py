"""A new network learns to answer as a finished RGB network does.

Idea: the second step of two. An earlier phase trained a network on RGB; here it is frozen and says what a sample's RGB
image is, and a network of the other modality, which starts from its weights, learns the same embedding:
    L = mean over paired samples of |target(x') - source(x)|^2
with the loss {name: feature, against: reference, distance: mse}. `frozen` keeps a fraction of the upper stages, and
what follows them, as they are in the RGB network, so that both share them. Both networks are exported: images of the
source by the frozen one, all others by the new one.
Source: Hafner, Bhuiyan, Kooij and Granger 2022, Cross-modal distillation for RGB-depth person re-identification,
arXiv:1810.11641, section 3, as EdgeVL (arXiv:2403.04908) adapts it for its tables ("Frank").
Differs: embeddings have unit length in the loss; no identities, so no classification loss in the first step, which is
ordinary distillation from the teacher. Which layers stay frozen is an option; nothing (0) is the default.
Does not: train on samples that lack one of the two images, train the first step itself, or export what a
training-time quantizer prepared: the frozen network has no ranges.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.contracts.scheme import Batch, Signature
from edgefw.contracts.student import StudentOutput
from edgefw.errors import RecipeError, TrainingError
from edgefw.plugins.schemes.branches import find_split, freeze_upper
from edgefw.plugins.schemes.hybrid_mixup import check_source
from edgefw.registry.technique import Register
from edgefw.training.rows import forward_rows, join_rows


class TransferConfig(edgefw.TechniqueConfig):
    """Options of the scheme."""

    source: str = Field(default="rgb", description="modality of the finished network")
    modality: str | None = Field(default=None, description="modality of the new network; null: all others")
    frozen: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.0, description="fraction of the stages, from the top, that stays as in the source; 0: all is trained"
    )


class SourceAndTarget(nn.Module):
    """The finished network beside the one that is trained; as a network it is the latter."""

    def __init__(self, source: nn.Module, target: nn.Module, fixed: Sequence[str]) -> None:
        super().__init__()
        self.source = source
        self.target = target
        self._fixed = tuple(fixed)

    @property
    def spec(self) -> Any:
        """The numbers of a student."""
        return self.target.spec

    def forward(self, pixels: Tensor) -> StudentOutput:
        """What the trained network says."""
        output: StudentOutput = self.target(pixels)
        return output

    def train(self, mode: bool = True) -> SourceAndTarget:
        """What is frozen keeps its statistics as well."""
        super().train(mode)
        self.source.eval()
        for name in self._fixed:
            self.target.get_submodule(name).eval()
        return self


class Transfer:
    """One frozen network, one that is trained; one exported graph for each."""

    exports_prepared = False

    def __init__(self, source: str, targets: Sequence[str], frozen: float, modalities: Sequence[str]) -> None:
        self.source = source
        self.targets = tuple(targets)
        self.frozen = frozen
        self.modalities = tuple(modalities)

    def network(self, student: nn.Module) -> SourceAndTarget:
        """A frozen copy of the student, which holds the earlier phase's weights, and the student itself.

        Raises:
            RecipeError: if a part is to stay frozen and the student has no stages.
        """
        source = deepcopy(student).requires_grad_(False)
        return SourceAndTarget(source, student, self._freeze(student) if self.frozen else ())

    def _freeze(self, student: nn.Module) -> tuple[str, ...]:
        """Freeze the upper stages; the names of the frozen modules."""
        split = find_split(student, 1.0 - self.frozen, "frozen")
        freeze_upper(student, split)
        return tuple(
            name
            for name, module in student.named_modules()
            if name and name not in split.lower and not any(part.startswith(f"{name}.") for part in split.lower)
            and not any(name.startswith(f"{part}.") for part in split.lower)
        )  # fmt: skip

    def uses(self, present: Collection[str]) -> bool:
        """Whether the sample has an image for the frozen network and one for the new network."""
        return self.source in present and any(name in present for name in self.targets)

    def forward(self, network: nn.Module, batch: Batch) -> LossInput:
        """One row per image that has its source image beside it; `reference` is what the frozen network says of that."""
        parts = []
        for name in self.targets:
            pairs = batch.present[self.source] & batch.present[name]
            if bool(pairs.any()):
                parts.append(self._pair(network, batch, name, pairs))
        if not parts:
            raise TrainingError(
                f"no sample of a batch has {self.source} beside another modality. Give it samples that `uses` accepts."
            )
        return join_rows(parts)

    def _pair(self, network: Any, batch: Batch, name: str, pairs: Tensor) -> LossInput:
        both = replace(batch, present={name: pairs}, reference=None)
        rows = forward_rows(network.target, both, (name,), self.modalities)
        with torch.no_grad():
            reference = network.source(batch.images[self.source][pairs])
        return replace(rows, reference=reference)

    def embed(self, network: nn.Module, modality: str, pixels: Tensor) -> Tensor:
        """Embeddings (B, D) of images: of the source by the frozen network, of the others by the new one."""
        chosen: Any = network.source if modality == self.source else network.target
        embedding: Tensor = chosen(pixels).embedding
        return embedding

    def signatures(self, modalities: Sequence[str]) -> Sequence[Signature]:
        """Two graphs, in the order of the recipe."""
        targets = tuple(name for name in modalities if name in self.targets)
        graphs = {
            self.source: Signature(name="source", inputs=(self.source,), serves=(self.source,)),
            targets[0]: Signature(name="target", inputs=(targets[0],), serves=targets),
        }
        return tuple(graphs[name] for name in modalities if name in graphs)


def build(config: TransferConfig, context: edgefw.BuildContext) -> Transfer:
    """The scheme.

    Raises:
        RecipeError: if the source is not one of the recipe's modalities, or the only one.
    """
    check_source(config.source, context.modalities)
    if len(context.modalities) < 2:
        raise RecipeError(
            f"the recipe has one modality, {config.source}: there is nothing to transfer to. Add another."
        )
    others = tuple(name for name in context.modalities if name != config.source)
    if config.modality is not None and config.modality not in others:
        raise RecipeError(
            f"modality: '{config.modality}' cannot be the new network's. Choose from: {', '.join(others)}."
        )
    return Transfer(config.source, (config.modality,) if config.modality else others, config.frozen, context.modalities)


@edgefw.hookimpl
def edgefw_register_schemes(register: Register) -> None:
    """Offer the scheme."""
    register(
        edgefw.Technique(
            name="transfer",
            config=TransferConfig,
            build=build,
            needs=frozenset({"run.reference", "run.pairs"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:1810.11641",
        )
    )
