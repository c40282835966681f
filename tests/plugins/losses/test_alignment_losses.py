"""`pca-attention` and `gl-tokens` against the formulas in NumPy, head by head and row by row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.errors import TrainingError
from edgefw.plugins.losses import gl_tokens, pca_attention
from edgefw.testing.fakes import attention_map, loss_input


def attending() -> LossInput:
    inputs = loss_input()
    return replace(inputs, student=inputs.student._replace(map=attention_map()))


def numbers(value: Tensor) -> np.ndarray:
    return value.detach().double().numpy()


def pca(inputs: LossInput, **options: object) -> Tensor:
    return pca_attention.build(pca_attention.PcaAttentionConfig(**options), edgefw.BuildContext())(inputs)


def attention(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """One head of one row: (N, d) each."""
    scores = np.exp(query @ key.T / np.sqrt(query.shape[1]))
    return scores / scores.sum(axis=1, keepdims=True) @ value


def terms(inputs: LossInput, compare: str, heads: str, scale: str) -> tuple[float, float]:
    """The two terms as they are printed, with loops over rows and heads."""
    student = numbers(inputs.student.map)
    teacher = np.stack([numbers(part) for part in (inputs.teacher.queries, inputs.teacher.keys, inputs.teacher.values)], 1)  # fmt: skip
    if heads == "joined":
        student, teacher = (np.concatenate(np.split(part, part.shape[2], axis=2), axis=-1) for part in (student, teacher))  # fmt: skip
    found: list[tuple[float, float]] = []
    for ours, theirs in zip(student, teacher):
        pairs: tuple[list, list] = ([], [])
        for head in range(ours.shape[1]):
            q, k, v, own = ours[:, head]
            tq, tk, tv = theirs[:, head]
            root = np.sqrt(q.shape[1])
            said, wanted = (attention(q, k, v), attention(tq, tk, tv)) if compare == "output" else (q @ k.T / root, tq @ tk.T / root)  # fmt: skip
            pairs[0].append((said, wanted))
            pairs[1].append((own @ own.T / root, tv @ tv.T / root))
        errors = []
        for pair in pairs:
            said, wanted = (np.stack(side) for side in zip(*pair))
            size = (wanted**2).mean() if scale == "relative" else 1.0
            errors.append(((said - wanted) ** 2).mean() / size)
        found.append((errors[0], errors[1]))
    first, second = np.mean(found, axis=0)
    return float(first), float(second)


@pytest.mark.parametrize("compare", ["output", "scores"])
@pytest.mark.parametrize("heads", ["apart", "joined"])
@pytest.mark.parametrize("scale", ["absolute", "relative"])
def test_pca_attention_equals_the_formula(compare: str, heads: str, scale: str) -> None:
    inputs = attending()
    first, second = terms(inputs, compare, heads, scale)
    options = {"compare": compare, "heads": heads, "scale": scale}
    assert pca(inputs, **options).item() == pytest.approx(first + second, rel=1e-5)
    assert pca(inputs, **options, attention=0.2, relation=0).item() == pytest.approx(0.2 * first, rel=1e-5)
    assert pca(inputs, **options, attention=0, relation=0.05).item() == pytest.approx(0.05 * second, rel=1e-5)


def test_own_values_are_taught_by_the_relation_and_the_rest_by_the_attention() -> None:
    inputs = attending()
    pca(inputs, relation=0).backward()
    gradient = inputs.student.map.grad.abs().sum(dim=(0, 2, 3, 4))
    assert (gradient[:3] > 0).all() and gradient[3] == 0
    inputs = attending()
    pca(inputs, attention=0).backward()
    gradient = inputs.student.map.grad.abs().sum(dim=(0, 2, 3, 4))
    assert (gradient[:3] == 0).all() and gradient[3] > 0


def test_a_relative_error_does_not_depend_on_the_size_of_the_teachers_values() -> None:
    inputs = attending()
    scaled = replace(inputs.teacher, values=inputs.teacher.values * 100)
    larger = replace(inputs, teacher=scaled, student=inputs.student._replace(map=inputs.student.map * torch.tensor([1, 1, 100, 100]).view(1, 4, 1, 1, 1)))  # fmt: skip
    assert pca(larger, scale="relative").item() == pytest.approx(pca(inputs, scale="relative").item(), rel=1e-4)
    assert pca(larger).item() > 100 * pca(inputs).item()


@pytest.mark.parametrize("scale", ["absolute", "relative"])
def test_gl_tokens_equals_the_formula(scale: str) -> None:
    inputs = loss_input()
    loss = gl_tokens.build(gl_tokens.GlTokensConfig(scale=scale), edgefw.BuildContext())
    found = []
    for ours, theirs in zip(numbers(inputs.student.map), numbers(inputs.teacher.tokens)):
        rows, columns = ours.shape[1:]
        errors = [(ours[:, r, c] - theirs[r * columns + c]) ** 2 for r in range(rows) for c in range(columns)]
        found.append(np.mean(errors) / (np.mean(theirs**2) if scale == "relative" else 1.0))
    assert loss(inputs).item() == pytest.approx(np.mean(found), rel=1e-5)


def test_what_cannot_be_compared_is_said_with_its_shapes() -> None:
    inputs = loss_input()
    with pytest.raises(
        TrainingError, match=r"the aligned map is \(12, 8, 4, 4\).* ask for \(12, 4, 2, 16, 4\)\. Use a"
    ):
        pca(inputs)
    bare = replace(inputs, teacher=replace(inputs.teacher, queries=None, tokens=None))
    with pytest.raises(TrainingError, match="ask for None. Use a projector that provides qkv, such as pca"):
        pca(bare)
    with pytest.raises(TrainingError, match=r"cells \(12, 16, 8\), the teacher tokens None. Use a projector that"):
        gl_tokens.GlTokensLoss()(bare)


def test_a_pca_attention_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="attention and relation are both 0"):
        pca_attention.PcaAttentionConfig(attention=0, relation=0)
