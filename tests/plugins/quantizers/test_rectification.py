"""Rectification of queries and keys against NumPy: values, averages, entropy, what is fixed on the device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgefw.errors import ExportError
from edgefw.plugins.quantizers.fake_quantise import Rounding
from edgefw.plugins.quantizers.rectification import EPSILON, Rectification

HEADS, DEPTH = 3, 5


def heads(seed: int = 0, images: int = 4, tokens: int = 7) -> Tensor:
    """Queries (B, heads, N, d) whose heads have deviations of 0.05, 1 and 4, and means of their own."""
    draw = torch.Generator().manual_seed(seed)
    values = torch.randn(images, HEADS, tokens, DEPTH, generator=draw)
    return values * torch.tensor([0.05, 1.0, 4.0]).view(-1, 1, 1) + torch.tensor([0.1, -0.5, 2.0]).view(-1, 1, 1)


def made(statistics: str = "head", steps: str = "range", **rounding: object) -> Rectification:
    return Rectification(nn.Identity(), HEADS, DEPTH, Rounding(**rounding), statistics, steps)


def shake(piece: Rectification) -> None:
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        piece.gamma.add_(0.3 * torch.randn(piece.gamma.shape, generator=draw))
        piece.beta.add_(0.3 * torch.randn(piece.beta.shape, generator=draw))


def reference(values: np.ndarray, axes: tuple[int, ...], piece: Rectification, first: np.ndarray) -> np.ndarray:
    """The formula of the module, rounded with the range of the batch."""
    gamma = piece.gamma.detach().numpy().reshape(HEADS, 1, DEPTH)
    beta = piece.beta.detach().numpy().reshape(HEADS, 1, DEPTH)
    deviation = np.sqrt(first.var(axis=axes, keepdims=True) + EPSILON).mean(axis=(0, 2, 3), keepdims=True)
    centre = first.mean(axis=axes, keepdims=True).mean(axis=(0, 2, 3), keepdims=True) / deviation
    normal = (values - values.mean(axis=axes, keepdims=True)) / np.sqrt(values.var(axis=axes, keepdims=True) + EPSILON)
    shaped = gamma * normal + beta + centre
    step = np.abs(shaped).max() / 127
    return deviation * np.round(shaped / step) * step


@pytest.mark.parametrize(("statistics", "axes"), [("head", (0, 2, 3)), ("token", (3,))])
def test_a_training_batch_is_rectified_as_the_formula_says(statistics: str, axes: tuple[int, ...]) -> None:
    piece, first, second = made(statistics), heads(0), heads(1)
    piece(first)
    shake(piece)
    expected = reference(second.double().numpy(), axes, piece, first.double().numpy())
    np.testing.assert_allclose(piece(second).detach(), expected, atol=2e-2 * 4, rtol=0)
    assert np.mean(np.abs(piece(second).detach().numpy() - expected)) < 1e-3


def test_a_phase_begins_with_the_queries_that_the_float_network_has() -> None:
    values, piece = heads(), made()
    found = piece(values)
    for head, deviation in enumerate((0.05, 1.0, 4.0)):
        assert float((found - values)[:, head].abs().max()) < 0.06 * deviation


def test_evaluation_uses_moving_averages_of_the_moments() -> None:
    piece, batches = made(momentum=0.75), [heads(seed) for seed in range(3)]
    mean = variance = None
    for values in batches:
        piece(values)
        rows = values.double().numpy()
        seen = rows.mean(axis=(0, 2, 3)), rows.var(axis=(0, 2, 3))
        mean = seen[0] if mean is None else 0.75 * mean + 0.25 * seen[0]
        variance = seen[1] if variance is None else 0.75 * variance + 0.25 * seen[1]
    np.testing.assert_allclose(piece.mean.flatten(), mean, rtol=1e-4)
    np.testing.assert_allclose(piece.variance.flatten(), variance, rtol=1e-4)
    state = {name: value.clone() for name, value in piece.state_dict().items()}
    piece.eval()
    torch.testing.assert_close(piece(batches[0])[:2], piece(batches[0][:2]))
    assert all(torch.equal(value, state[name]) for name, value in piece.state_dict().items())


def test_heads_of_any_spread_keep_their_information() -> None:
    """The entropy of the rounded values, in bits: without rectification the narrow head falls into a few steps."""
    values = heads(images=16, tokens=40)
    step = float(values.abs().max()) / 7
    plain = [entropy((values[:, head] / step).round()) for head in range(HEADS)]
    piece = made(bits=4)
    rounded = piece(values) / piece.gain
    rectified = [entropy((rounded[:, head] * 1e4).round()) for head in range(HEADS)]
    assert plain[0] < 0.5 and min(rectified) > 2.0
    assert max(rectified) - min(rectified) < 0.3


def entropy(whole: Tensor) -> float:
    share = torch.unique(whole, return_counts=True)[1].double() / whole.numel()
    return float(-(share * share.log2()).sum())


@pytest.mark.parametrize("statistics", ["head", "token"])
@pytest.mark.parametrize("steps", ["learned", "range"])
def test_the_device_does_what_evaluation_did(statistics: str, steps: str) -> None:
    piece = made(statistics, steps)
    for seed in range(3):
        piece(heads(seed))
    shake(piece)
    piece(heads(3)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in piece.parameters())
    piece.eval()
    device = piece.converted("somewhere")
    difference = (device(heads(9)) - piece(heads(9))).abs()
    assert float((difference > 1e-4).float().mean()) < 0.02  # a value on the edge of two steps


def test_static_ranges_in_training_mean_static_moments_too() -> None:
    piece = made(training="static")
    piece(heads(0))
    found = piece(heads(1) * 3)
    assert float(found.detach().std()) > 2 * float(piece(heads(0)).detach().std())


def test_a_layer_that_was_never_trained_is_named() -> None:
    with pytest.raises(ExportError, match="layer 'blocks.0.attn.q_norm' has no range for its activations"):
        made().converted("blocks.0.attn.q_norm")
    with pytest.raises(ExportError, match="no training batch went through it"):
        made(steps="learned").converted("blocks.0.attn.q_norm")
