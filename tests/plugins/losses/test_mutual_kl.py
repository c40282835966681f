"""mutual-kl against NumPy: both directions, each side held fixed in turn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.contracts.student import StudentOutput
from edgefw.errors import TrainingError
from edgefw.plugins.losses import mutual_kl
from edgefw.testing.fakes import loss_input


def loss(**options: float) -> mutual_kl.MutualKlLoss:
    return mutual_kl.build(mutual_kl.MutualKlConfig(**options), edgefw.BuildContext())


def output(values: torch.Tensor) -> StudentOutput:
    return StudentOutput(values, values, None)


def rows(seed: int = 0) -> LossInput:
    draw = torch.Generator().manual_seed(seed)
    ours, theirs = (torch.randn(6, 16, generator=draw).requires_grad_() for _ in range(2))
    return replace(loss_input(), student=output(ours), peer=output(theirs))


def distribution(embedding: torch.Tensor, text: torch.Tensor, scale: float) -> np.ndarray:
    rows, texts = embedding.detach().double().numpy(), text.double().numpy()
    cosines = rows @ texts.T / np.linalg.norm(rows, axis=1)[:, None] / np.linalg.norm(texts, axis=1)[None]
    shares = np.exp(scale * (cosines - cosines.max(axis=1, keepdims=True)))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("temperature", "scale"), [(None, 100.0), (0.5, 2.0)])
def test_the_value_is_half_the_sum_of_both_divergences(temperature: float | None, scale: float) -> None:
    inputs = rows()
    p, r = (distribution(side.embedding, inputs.text, scale) for side in (inputs.student, inputs.peer))
    expected = ((r * np.log(r / p)).sum(axis=1) + (p * np.log(p / r)).sum(axis=1)).mean() / 2
    assert loss(temperature=temperature)(inputs).item() == pytest.approx(expected, rel=1e-4)


def test_each_side_learns_from_the_other_as_it_is() -> None:
    """The gradient of KL(stop(r) || softmax(z)) with respect to z is p - r; of the peer's logits it is r - p."""
    inputs, text = rows(), torch.eye(16)[:5]
    loss(temperature=1.0)(replace(inputs, text=text)).backward()
    for own, other in ((inputs.student, inputs.peer), (inputs.peer, inputs.student)):
        values = own.embedding.detach().double().requires_grad_()
        unit = values / values.norm(dim=1, keepdim=True)
        constant = torch.from_numpy(distribution(own.embedding, text, 1.0) - distribution(other.embedding, text, 1.0))
        ((unit @ text.double().T) * constant).sum().div(2 * len(values)).backward()
        torch.testing.assert_close(own.embedding.grad.double(), values.grad, atol=1e-6, rtol=1e-4)


def test_twins_cost_nothing_and_rows_without_a_peer_do_not_count() -> None:
    inputs = rows()
    assert loss()(replace(inputs, peer=inputs.student)).item() == pytest.approx(0, abs=1e-6)
    has = torch.tensor([True, False, True, False, False, True])
    part = replace(inputs, student=output(inputs.student.embedding[has]), peer=output(inputs.peer.embedding[has]))
    assert loss()(replace(inputs, has_peer=has)).item() == pytest.approx(loss()(part).item(), rel=1e-5)
    assert loss()(replace(inputs, has_peer=torch.zeros(6, dtype=torch.bool))).item() == 0


@pytest.mark.parametrize(("field", "word"), [("peer", "no peer"), ("text", "no texts")])
def test_a_missing_side_says_what_to_do(field: str, word: str) -> None:
    with pytest.raises(TrainingError, match=f"loss 'mutual-kl' has {word}.*curate.labels"):
        loss()(replace(rows(), **{field: None}))
