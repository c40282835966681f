"""A projector: a head that is kept at export, or an alignment that only training uses.

Both are `torch.nn.Module`s. Their sizes come from the build context: a head goes from `context.student.width` to
`context.teacher.width`; an alignment takes the student's map to the teacher's tokens (`context.student.map`,
`context.teacher.tokens`). Which of the two a technique is, it says by providing "head" or "alignment".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Head(Protocol):
    """Pooled features (B, student width) to embeddings (B, teacher width), not normalised."""

    def __call__(self, pooled: Tensor) -> Tensor:
        """Embeddings of a batch."""
        ...


class Alignment(Protocol):
    """A student map (B, channels, rows, columns) to what a loss compares with the teacher's tokens or attention."""

    def __call__(self, feature_map: Tensor) -> Tensor:
        """Aligned features of a batch."""
        ...
