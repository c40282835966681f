"""Promises of a teacher, see `edgefw.contracts.teacher`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from edgefw.testing.subject import Subject

TEXTS = ("a photo of a dog", "a red car", "")


def is_frozen_and_in_evaluation_mode(subject: Subject) -> None:
    """No parameter of `module` requires a gradient, and no part of it is in training mode."""
    module = subject.piece.module
    trainable = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    assert not trainable, f"trainable: {', '.join(trainable[:5])}"
    training = [name or "module" for name, part in module.named_modules() if part.training]
    assert not training, f"in training mode: {', '.join(training[:5])}"


def preprocesses_pictures_of_any_shape(subject: Subject) -> None:
    """`preprocess` gives (3, height, width) float32 of `spec.image_size`, whatever the shape of the picture."""
    teacher = subject.piece
    for picture in (_picture(60, 40), _picture(40, 90), _picture(1, 1), Image.new("RGB", (300, 200), "white")):
        pixels = teacher.preprocess(picture)
        assert pixels.shape == (3, *teacher.spec.image_size), f"{picture.size}: {tuple(pixels.shape)}"
        assert pixels.dtype == torch.float32 and torch.isfinite(pixels).all()


def image_embeddings_are_unit_rows(subject: Subject) -> None:
    """Embeddings are (B, width) float32 of unit length, for one image and for three."""
    teacher = subject.piece
    for rows in (1, 3):
        embedding = teacher.encode_image(_pixels(teacher, rows)).embedding
        _assert_unit(embedding, (rows, teacher.spec.width))
        assert not embedding.requires_grad, "the embedding carries a gradient"


def text_embeddings_are_unit_rows(subject: Subject) -> None:
    """Text embeddings are (K, width) float32 of unit length, for any sentence, the empty one too."""
    if "text" not in subject.technique.provided(subject.config):
        return
    teacher = subject.piece
    _assert_unit(teacher.encode_text(TEXTS), (len(TEXTS), teacher.spec.width))
    one = teacher.encode_text(TEXTS[:1])
    assert torch.allclose(one[0], teacher.encode_text(TEXTS)[0], atol=1e-4), "a text alone gives another embedding"


def images_do_not_see_each_other(subject: Subject) -> None:
    """The embedding of an image does not depend on the rest of the batch."""
    teacher = subject.piece
    pixels = _pixels(teacher, 3)
    together, alone = teacher.encode_image(pixels).embedding[:1], teacher.encode_image(pixels[:1]).embedding
    assert torch.allclose(together, alone, atol=1e-4), "an image alone gives another embedding"


def different_images_differ(subject: Subject) -> None:
    """Two different pictures have different embeddings."""
    teacher = subject.piece
    one, other = teacher.encode_image(_pixels(teacher, 2)).embedding
    assert not torch.equal(one, other)


def same_image_same_embedding(subject: Subject) -> None:
    """Two passes give the same bits: nothing is drawn at random, whatever the state of the generators."""
    teacher = subject.piece
    pixels = _pixels(teacher, 2)
    torch.manual_seed(1)
    first = teacher.encode_image(pixels).embedding
    torch.manual_seed(2)
    assert torch.equal(first, teacher.encode_image(pixels).embedding)


def tokens_come_when_asked_for(subject: Subject) -> None:
    """`want={"tokens"}` gives (B, N, C) of `spec.tokens`; without it there are none. A teacher without them says so."""
    teacher, provided = subject.piece, subject.technique.provided(subject.config)
    pixels = _pixels(teacher, 2)
    assert teacher.encode_image(pixels).tokens is None, "tokens that nobody asked for"
    assert ("tokens" in provided) == (teacher.spec.tokens is not None), f"provides {sorted(provided)}"
    if "tokens" in provided:
        spec = teacher.spec.tokens
        tokens = teacher.encode_image(pixels, frozenset({"tokens"})).tokens
        assert tokens is not None and tokens.shape == (2, spec.grid[0] * spec.grid[1], spec.width)


def queries_keys_values_come_when_asked_for(subject: Subject) -> None:
    """`want={"qkv"}` gives three times (B, heads, N, C / heads), and does not change the embedding."""
    if "qkv" not in subject.technique.provided(subject.config):
        return
    teacher = subject.piece
    pixels, spec = _pixels(teacher, 2), teacher.spec.tokens
    output = teacher.encode_image(pixels, frozenset({"qkv"}))
    shape = (2, spec.heads, spec.grid[0] * spec.grid[1], spec.width // spec.heads)
    for name in ("queries", "keys", "values"):
        part = getattr(output, name)
        assert part is not None and part.shape == shape, (
            f"{name}: {None if part is None else tuple(part.shape)}, not {shape}"
        )
    assert torch.allclose(output.embedding, teacher.encode_image(pixels).embedding, atol=1e-5)


def fingerprint_follows_the_weights(subject: Subject) -> None:
    """Built twice alike, it has one fingerprint and one embedding: the fingerprint is a key of the teacher cache."""
    first, second = subject.piece, subject.build()
    assert first.spec.fingerprint and first.spec.fingerprint == second.spec.fingerprint
    pixels = _pixels(first, 2)
    assert torch.equal(first.encode_image(pixels).embedding, second.encode_image(pixels).embedding)
    assert first.spec.logit_scale > 0


CHECKS = (
    is_frozen_and_in_evaluation_mode,
    preprocesses_pictures_of_any_shape,
    image_embeddings_are_unit_rows,
    text_embeddings_are_unit_rows,
    images_do_not_see_each_other,
    different_images_differ,
    same_image_same_embedding,
    tokens_come_when_asked_for,
    queries_keys_values_come_when_asked_for,
    fingerprint_follows_the_weights,
)


def _picture(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    pixels[: height // 2, :, seed % 3] = 255
    return Image.fromarray(pixels)


def _pixels(teacher: Any, rows: int) -> Tensor:
    return torch.stack([teacher.preprocess(_picture(48, 40, seed)) for seed in range(rows)])


def _assert_unit(rows: Tensor, shape: tuple[int, ...]) -> None:
    assert rows.shape == shape, f"shape {tuple(rows.shape)}, not {shape}"
    assert rows.dtype == torch.float32, f"{rows.dtype}, not float32"
    lengths = rows.norm(dim=1)
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-3), f"lengths {lengths.tolist()}"
