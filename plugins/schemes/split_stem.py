"""Lower stages of each modality's own, upper stages for all.

Idea: what an early layer must see differs between sensors, what a late layer means does not. Every modality has its own
stem and first stages; the rest is one and the same, and each image's embedding is compared with the teacher's answer
about the RGB image of its sample: L = mean over rows of d(teacher(x), upper(lower_m(x_m))).
`match: mid` is supervision transfer: the RGB network is frozen, and each other modality's lower stages learn to hand on
what the RGB network's hand on for the paired image: L = mean of |lower_m(x_m) - lower_rgb(x)|^2, the loss
{name: feature, of: map, against: reference, distance: mse}. It needs an earlier phase that trained the RGB network.
Source: Hoffman et al. 2016, Cross-Modal Adaptation for RGB-D Detection, ICRA, doi:10.1109/ICRA.2016.7487708; Gupta,
Hoffman and Malik 2016, Cross Modal Distillation for Supervision Transfer, arXiv:1507.00448; as EdgeVL
(arXiv:2403.04908) adapts it for its tables ("Gupta").
Differs: no detector; lower stages of other modalities start from the RGB ones. The adaptation, and which fraction of the
stages is the modalities' own, are inferred. One graph per modality is exported.
Does not: fuse two modalities of one sample, export what a training-time quantizer prepared, or carry the other modalities' lower stages into a
later phase: there they start from the RGB ones again. Position tables and class tokens belong to the upper part.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.contracts.scheme import Batch, Signature
from edgefw.contracts.student import StudentOutput
from edgefw.errors import RecipeError, TrainingError
from edgefw.plugins.schemes.branches import Split, branch, find_split, middle, widen_stem
from edgefw.plugins.schemes.hybrid_mixup import check_source
from edgefw.registry.technique import Register
from edgefw.training.rows import forward_rows, join_rows

Match = Literal["end", "mid"]


class SplitStemConfig(edgefw.TechniqueConfig):
    """Options of the scheme."""

    own: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.5, description="fraction of the stages that each modality has for itself; 0: the stem alone"
    )
    match: Match = Field(
        default="end", description="embeddings with the teacher, or mid-level maps with the RGB network"
    )
    source: str = Field(default="rgb", description="modality whose lower stages the others start from")
    channels: dict[str, Annotated[int, Field(ge=1, le=64)]] = Field(
        default_factory=dict, description="channels of a modality's images where they are not the student's"
    )


class Branches(nn.Module):
    """One student per modality, the upper part in common; as a network it is that of the source."""

    def __init__(self, students: Mapping[str, nn.Module], source: str, split: Split, frozen: bool) -> None:
        super().__init__()
        self.students = nn.ModuleDict(students)
        self.source = source
        self.split = split
        self.frozen = frozen

    @property
    def spec(self) -> Any:
        """The numbers of a student."""
        return self.students[self.source].spec

    def forward(self, pixels: Tensor) -> StudentOutput:
        """What the source's student says."""
        output: StudentOutput = self.students[self.source](pixels)
        return output

    def train(self, mode: bool = True) -> Branches:
        """A frozen part keeps its statistics: only the other modalities' lower stages go to training mode."""
        super().train(mode)
        if mode and self.frozen:
            self.students.eval()
            for name, student in self.students.items():
                for lower in self.split.lower if name != self.source else ():
                    student.get_submodule(lower).train()
        return self


class SplitStem:
    """One branch and one exported graph per modality."""

    exports_prepared = False

    def __init__(self, config: SplitStemConfig, modalities: Sequence[str]) -> None:
        self.config = config
        self.modalities = tuple(modalities)

    def network(self, student: nn.Module) -> Branches:
        """The student as the source's branch, and a branch around its upper part for each other modality.

        Raises:
            RecipeError: if the student cannot be split, or its stem cannot take a modality's channels.
        """
        split = find_split(student, self.config.own, "own")
        frozen, source = self.config.match == "mid", self.config.source
        base = deepcopy(student) if frozen else student
        students = {name: base if name == source else branch(base, split) for name in self.modalities}
        if frozen:
            base.requires_grad_(False)
        for name, channels in self.config.channels.items():
            self._widen(students[name], name, channels)
        return Branches(students, source, split, frozen)

    def _widen(self, student: Any, name: str, channels: int) -> None:
        usual = student.spec.input.channels
        if channels != usual:
            widen_stem(student, channels, f"channels.{name}")

    def uses(self, present: Collection[str]) -> bool:
        """Whether the sample has any image; with match: mid, the source's and one of another modality."""
        source = self.config.source
        if self.config.match == "end":
            return any(name in present for name in self.modalities)
        return source in present and any(name in present for name in self.modalities if name != source)

    def forward(self, network: Any, batch: Batch) -> LossInput:
        """One row per image that is present; with match: mid, one per image that has its source image beside it."""
        if self.config.match == "mid":
            return self._paired(network, batch)
        parts = [
            forward_rows(network.students[name], batch, (name,), self.modalities)
            for name in self.modalities
            if bool(batch.present[name].any())
        ]
        if not parts:
            raise TrainingError(
                f"no sample of a batch has {' or '.join(self.modalities)}. Give it samples that `uses` accepts."
            )
        return join_rows(parts)

    def _paired(self, network: Any, batch: Batch) -> LossInput:
        """Rows with mid-level maps: `student` of the modality, `reference` of the source's frozen network."""
        source, parts = self.config.source, []
        for name in (kind for kind in self.modalities if kind != source):
            pairs = batch.present[source] & batch.present[name]
            if bool(pairs.any()):
                parts.append(self._pair(network, batch, name, pairs))
        if not parts:
            raise TrainingError(
                f"no sample of a batch has {source} beside another modality. Give it samples that `uses` accepts."
            )
        return join_rows(parts)

    def _pair(self, network: Any, batch: Batch, name: str, pairs: Tensor) -> LossInput:
        def with_map(modality: str, pixels: Tensor) -> StudentOutput:
            output, between = middle(network.students[modality], network.split, pixels)
            return StudentOutput(output.embedding, output.pooled, between)

        both = replace(batch, present={name: pairs}, reference=None)
        rows = forward_rows(lambda pixels: with_map(name, pixels), both, (name,), self.modalities)
        with torch.no_grad():
            reference = with_map(self.config.source, batch.images[self.config.source][pairs])
        return replace(rows, reference=reference)

    def embed(self, network: Any, modality: str, pixels: Tensor) -> Tensor:
        """Embeddings (B, D) of images, by the modality's branch."""
        embedding: Tensor = network.students[modality](pixels).embedding
        return embedding

    def signatures(self, modalities: Sequence[str]) -> Sequence[Signature]:
        """One graph per modality."""
        return tuple(Signature(name=name, inputs=(name,), serves=(name,)) for name in modalities)


def build(config: SplitStemConfig, context: edgefw.BuildContext) -> SplitStem:
    """The scheme.

    Raises:
        RecipeError: if the source is a modality that the recipe does not have, or is to take other channels than the student.
    """
    check_source(config.source, context.modalities)
    if context.student is not None:
        _check_channels_of_source(config, context.student.input.channels)
    return SplitStem(config, context.modalities)


def needs_for(config: SplitStemConfig) -> frozenset[str]:
    """Pairs, and a trained RGB network, where mid-level maps are matched."""
    return frozenset({"teacher.embedding"} if config.match == "end" else {"run.reference", "run.pairs"})


def _check_channels_of_source(config: SplitStemConfig, usual: int) -> None:
    """The lower stages of the source are the student's, so they take what the student takes."""
    source, stated = config.source, config.channels.get(config.source, usual)
    if stated != usual:
        raise RecipeError(
            f"channels.{source}: '{source}' is the source, whose lower stages are the student's, and the student takes {usual} "
            f"channels, not {stated}. Set student.channels to {stated}, and state the others here."
        )


def channels_for(config: SplitStemConfig) -> Mapping[str, int]:
    """What the branches take where that is not the student's number."""
    return config.channels


@edgefw.hookimpl
def edgefw_register_schemes(register: Register) -> None:
    """Offer the scheme."""
    register(
        edgefw.Technique(
            name="split-stem",
            config=SplitStemConfig,
            build=build,
            needs=frozenset({"teacher.embedding", "run.reference", "run.pairs"}),
            needs_for=needs_for,
            channels_for=channels_for,
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:1507.00448",
        )
    )
