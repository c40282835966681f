"""A loss: one scalar from what student and teacher say about the rows of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor
    from torch.nn import Parameter

    from edgefw.contracts.student import StudentOutput
    from edgefw.contracts.teacher import TeacherOutput


@dataclass(frozen=True, kw_only=True)
class LossInput:
    """R aligned rows: what the student says, and the target of each row. A scheme makes it.

    Attributes:
        student: embeddings (R, D) and features, with gradient.
        teacher: targets, row by row, without gradient.
        modality: (R,) int64, index of the row's modality in the recipe's order.
        sample: (R,) int64, which sample of the data set a row shows; rows of one sample are views of one scene.
        label: (R,) int64 pseudo-label or label, -1 where there is none.
        text: (K, D) unit text embeddings of the label superset, or None.
        logit_scale: the teacher's factor on cosines.
        reference: what the frozen student of an earlier phase says about the rows, or None.
        peer: what the scheme's second voice says about the rows, with gradient (the other student, or a mix of
            outputs), or None. A scheme that gives it provides `peer`; a loss on it needs `scheme.peer`.
        has_peer: (R,) bool, rows about which `peer` says something; None: all of them.
        role: (R,) int64, position inside a sampler's group (0 anchor, 1 positive, 2.. negatives; or, of a sampler that
            provides views, the number of the view, 0 the clean one); all 0 for batches.
        group: (R,) int64, which group of the batch a row belongs to.
    """

    student: StudentOutput
    teacher: TeacherOutput
    modality: Tensor
    sample: Tensor
    label: Tensor
    logit_scale: float
    text: Tensor | None = None
    reference: StudentOutput | None = None
    role: Tensor | None = None
    group: Tensor | None = None
    peer: StudentOutput | None = None
    has_peer: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Adversary:
    """A second player: its `parameters`, learning rate `lr`, and how many steps lie between two of its own."""

    parameters: Iterable[Parameter]
    lr: float
    every: int = 1


class Loss(Protocol):
    """A `torch.nn.Module` from `LossInput` to a scalar ().

    `across_batch` is True when a row's loss depends on other rows (negatives, similarity matrices): such a loss is
    computed on the rows of all ranks together, and is refused with gradient accumulation.
    A loss that only compares rows of a sampler's groups or views has `over_groups = True`: the rows of a validation form none, so
    it is left out there. One that compares attention layers has `reads_attention = True` (and needs
    `student.attention`): `attention` of student and reference is filled for it. A loss may have trainable parameters; it may define `adversary() -> Adversary` and `adversary_loss(inputs)`.
    """

    across_batch: bool

    def __call__(self, inputs: LossInput) -> Tensor:
        """The loss of a batch; finite for finite input, 0 or its stated minimum when student equals teacher."""
        ...
