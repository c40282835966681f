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
    """A student map (B, channels, rows, columns) to what a loss compares with the teacher's tokens or attention.

    It lives in the phase alone: it is trained with the student, and no graph holds it. What its loss then finds in place
    of the student's map, it says by a second word beside "alignment":

    - "tokens": (B, C, rows, columns) on the grid and with the width of the teacher's tokens;
    - "qkv": (B, 4, heads, N, C / heads) with the teacher's heads and cells, row by row: the queries, keys and values that
      attend, then the student's own values. The first three may hold numbers of the teacher's, while it is trained.

    One that must see the teacher for that sets `takes_teacher = True`, and is called with the map and the targets of its
    rows (a `TeacherOutput`); without targets it gives what is the student's own. Left out, it counts as False.
    """

    def __call__(self, feature_map: Tensor) -> Tensor:
        """Aligned features of a batch."""
        ...
