"""A student: the trunk of an image encoder small enough for the camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from edgefw.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What the trunk expects: square `size` in pixels, `channels`, and the `mean` and `std` of its normalisation.

    `mean` and `std` are per channel, in units of pixel values scaled to 0..1.
    """

    size: int
    channels: int = 3
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class MapSpec:
    """The last feature map: `grid` (rows, columns), `channels`. Tokens of a transformer count as such a map."""

    grid: tuple[int, int]
    channels: int


@dataclass(frozen=True, kw_only=True)
class StudentSpec:
    """Numbers of a built student: pooled `width`, its input, its map (None without one), trainable `parameters`."""

    width: int
    input: InputSpec
    parameters: int
    map: MapSpec | None = None
    licence: str = "unknown"
    source: str = ""


class StudentFeatures(NamedTuple):
    """Trunk output for B images: `pooled` (B, width) and `map` (B, channels, rows, columns), or None."""

    pooled: Tensor
    map: Tensor | None


class AttentionHeads(NamedTuple):
    """One attention layer for B images: `queries` and `keys`, each (B, ..., heads, N, d); windows lie in between."""

    queries: Tensor
    keys: Tensor


class StudentOutput(NamedTuple):
    """Trunk plus head for B images: `embedding` (B, D) as the head gives it, not normalised; then the features.

    `attention` holds the attention layers in the order in which they run. It is None but while a loss asks for it
    (`Loss.reads_attention`), and always in an exported graph.
    """

    embedding: Tensor
    pooled: Tensor
    map: Tensor | None
    attention: tuple[AttentionHeads, ...] | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> StudentOutput:
        """The output with a change made to every tensor in it."""
        layers = self.attention
        return StudentOutput(
            change(self.embedding),
            change(self.pooled),
            None if self.map is None else change(self.map),
            None if layers is None else tuple(AttentionHeads(change(q), change(k)) for q, k in layers),
        )


class Student(Protocol):
    """A `torch.nn.Module` from (B, channels, size, size) to `StudentFeatures`, with its numbers in `spec`."""

    spec: StudentSpec

    def __call__(self, pixels: Tensor) -> StudentFeatures:
        """Features of a batch of normalised images."""
        ...

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Trade compute for memory in the backward pass, through the backbone's own switch."""
        ...


@runtime_checkable
class CellPooling(Protocol):
    """A student that says how one cell of its map is pooled; of any other, a cell counts as pooled as it is."""

    def pooled_cells(self, feature_map: Tensor) -> Tensor:
        """A map (B, channels, rows, columns) to (B * rows * columns, width), row by row of each image.

        Each cell is pooled as if the whole map were like it.
        """
        ...


def refuse_unmapped(student: Student) -> None:
    """Let a student say before anything is trained that the cells of its map have no embeddings.

    Raises:
        RecipeError: if it has no map, or says nothing of how a cell becomes pooled features.
    """
    width, spec = student.spec.width, student.spec.map
    if spec is None:
        raise RecipeError("export.heat: the student has no map. Set it to false, or take a student with a map.")
    if not isinstance(student, CellPooling) and spec.channels != width:
        raise RecipeError(
            f"export.heat: a cell of the student's map has {spec.channels} numbers and its pooled features {width}, and it does "
            "not say how the one becomes the other (`pooled_cells`). Set it to false, or take another student."
        )
