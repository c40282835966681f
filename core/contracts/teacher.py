"""A teacher: frozen image and text towers whose embeddings share one space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class TokenSpec:
    """Patch tokens: a `grid` of (rows, columns), each of `width` numbers, seen by `heads` attention heads."""

    grid: tuple[int, int]
    width: int
    heads: int


@dataclass(frozen=True, kw_only=True)
class TeacherSpec:
    """Numbers of a built teacher.

    Attributes:
        width: D, numbers per embedding.
        image_size: (height, width) in pixels of the preprocessed image.
        logit_scale: factor on cosines before the softmax over texts (100 for most CLIP models).
        fingerprint: hash of weights and everything else that changes an embedding; the cache key.
        preprocessing: the library's own preprocessing in words, part of the cache key.
        tokens: the token grid, or None.
        licence: licence of the weights, "unknown" when neither the recipe nor the source states one.
        unlicensed: of a teacher with several parts, the option keys that would state what is unknown ("text_licence").
        source: where the weights came from (tag, file, hub id), for the provenance.
    """

    width: int
    image_size: tuple[int, int]
    logit_scale: float
    fingerprint: str
    preprocessing: str = ""
    tokens: TokenSpec | None = None
    licence: str = "unknown"
    unlicensed: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class TeacherOutput:
    """What a teacher says about B images.

    Attributes:
        embedding: (B, D) float32, unit length.
        tokens: (B, N, C) patch tokens of the last block without class tokens, row by row, or None when not asked for.
        queries, keys, values: (B, heads, N, C / heads) of the last block, or None when not asked for.
    """

    embedding: Tensor
    tokens: Tensor | None = None
    queries: Tensor | None = None
    keys: Tensor | None = None
    values: Tensor | None = None


class Teacher(Protocol):
    """Image and text towers, frozen and in evaluation mode."""

    spec: TeacherSpec
    module: nn.Module
    """Holds every parameter, so that the engine can move the teacher to a device; `requires_grad` is False."""

    def preprocess(self, image: Image.Image) -> Tensor:
        """The library's own preprocessing of one RGB image: (3, H, W) float32."""
        ...

    def encode_image(self, pixels: Tensor, want: frozenset[str] = frozenset()) -> TeacherOutput:
        """Embeddings of (B, 3, H, W) preprocessed pixels; `want` may name "tokens" and "qkv"."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings of K sentences: (K, D) float32, unit length."""
        ...
