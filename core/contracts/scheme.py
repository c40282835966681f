"""A scheme: which inputs go through which modules against which targets. The shape of a distillation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from torch import Tensor, nn

    from edgefw.contracts.loss import LossInput
    from edgefw.contracts.teacher import TeacherOutput


TOGETHER = "+"
"""Stands between modalities that one graph takes at once."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B samples (times V views) on the device.

    Attributes:
        images: modality name -> (B, C, H, W) student input; rows of missing modalities hold zeros.
        present: modality name -> (B,) bool, False where the sample lacks that modality.
        teacher: targets of the RGB (or target) image of each row.
        sample: (B,) int64 index of the sample in the split.
        label: (B,) int64, -1 without one.
        role, group: (B,) int64 as in `LossInput`.
        text: (K, D) text embeddings of the label superset, or None.
        logit_scale: the teacher's factor on cosines.
        reference: the frozen network of an earlier phase, or None.
    """

    images: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    teacher: TeacherOutput
    sample: Tensor
    label: Tensor
    role: Tensor
    group: Tensor
    logit_scale: float
    text: Tensor | None = None
    reference: nn.Module | None = None


@dataclass(frozen=True, kw_only=True)
class Signature:
    """One graph to export: its `name`, and the modalities it takes as inputs, in order.

    `serves` lists the modalities that this graph labels: a shared encoder takes one image of any of them. A graph of
    several inputs takes one image of each of them together, and serves all its inputs.
    """

    name: str
    inputs: tuple[str, ...]
    serves: tuple[str, ...]

    @property
    def roles(self) -> tuple[str, ...]:
        """What its answers are told under: each modality that it serves, or its inputs together ("rgb+depth")."""
        return self.serves if len(self.inputs) == 1 else (together(self.inputs),)


def together(inputs: Sequence[str]) -> str:
    """The name of images of several modalities that belong together: "rgb+depth"."""
    return TOGETHER.join(inputs)


def is_together(role: str) -> bool:
    """Whether a role stands for several images at once; a modality's own name has no "+"."""
    return TOGETHER in role


class Scheme(Protocol):
    """Runs the network on a batch and says what is compared with what.

    A scheme whose graphs have parts that a training-time quantizer does not reach has `exports_prepared = False`: a phase
    that combines the two is refused before it begins. One that takes another number of channels of a modality than the
    student states it in `Technique.channels_for`, so that the run prepares images of that modality accordingly; a graph of
    one input serves modalities of one number only.
    """

    def network(self, student: nn.Module) -> nn.Module:
        """The module that is trained: the student itself, or the student with what the scheme adds to it."""
        ...

    def forward(self, network: nn.Module, batch: Batch) -> LossInput:
        """Student outputs of the batch beside their targets, one row per image that is present."""
        ...

    def embed(self, network: nn.Module, modality: str, pixels: Tensor) -> Tensor:
        """Embeddings (B, D) of images of one modality, for evaluation and export; tensor operations only."""
        ...

    def signatures(self, modalities: Sequence[str]) -> Sequence[Signature]:
        """The graphs to export, one artefact each."""
        ...


@runtime_checkable
class Joining(Protocol):
    """A scheme that has a signature of several inputs."""

    def embed_together(self, network: nn.Module, images: Mapping[str, Tensor]) -> Tensor:
        """Embeddings (B, D) of B samples from one image (B, C, H, W) of each modality; tensor operations only."""
        ...


@runtime_checkable
class Choosing(Protocol):
    """A scheme that can do nothing with some samples, since they lack a modality.

    A phase trains on the kept samples that its scheme uses, so that no batch is without rows. A scheme without `uses` has
    a row for every sample with any image of the recipe's modalities.
    """

    def uses(self, present: Collection[str]) -> bool:
        """Whether a sample that has images of just these modalities gives the scheme a row; a pure function."""
        ...


@runtime_checkable
class Extending(Protocol):
    """A scheme whose network has parts beside the student that are exported with it."""

    def extras(self, network: nn.Module) -> Mapping[str, Tensor]:
        """Names of those parts in the network, each with an example of the one tensor it takes.

        A training-time quantizer prepares them as it prepares the student.
        """
        ...
