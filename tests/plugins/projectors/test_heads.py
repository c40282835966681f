"""The three heads against NumPy with their own weights; their sizes; their gradients."""

from __future__ import annotations

from math import erf

import numpy as np
import pytest
import torch
from torch import nn

import edgefw
from edgefw.contracts.student import InputSpec, StudentSpec
from edgefw.contracts.teacher import TeacherSpec
from edgefw.errors import RecipeError
from edgefw.plugins.projectors import linear, linear_norm, mlp

CONTEXT = edgefw.BuildContext(
    student=StudentSpec(width=12, input=InputSpec(size=32), parameters=0),
    teacher=TeacherSpec(width=7, image_size=(32, 32), logit_scale=100.0, fingerprint=""),
)
HEADS = {
    "linear": lambda: linear.build(linear.LinearConfig(), CONTEXT),
    "linear-norm": lambda: linear_norm.build(linear_norm.LinearNormConfig(), CONTEXT),
    "mlp": lambda: mlp.build(mlp.MlpConfig(), CONTEXT),
}


def numbers(module: nn.Module) -> list[np.ndarray]:
    return [parameter.detach().double().numpy() for parameter in module.parameters()]


def pooled() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, 12))


def run(head: nn.Module) -> np.ndarray:
    return head(torch.tensor(pooled(), dtype=torch.float32)).detach().numpy()


def test_linear_equals_numpy() -> None:
    head = HEADS["linear"]()
    weight, bias = numbers(head)
    np.testing.assert_allclose(run(head), pooled() @ weight.T + bias, atol=1e-5)


def test_linear_without_bias_keeps_zero() -> None:
    head = linear.build(linear.LinearConfig(bias=False), CONTEXT)
    assert head(torch.zeros(2, 12)).abs().max() == 0


def test_linear_norm_equals_numpy() -> None:
    head = linear_norm.build(linear_norm.LinearNormConfig(eps=1e-3), CONTEXT)
    with torch.no_grad():
        head[1].weight.uniform_(0.5, 2)
        head[1].bias.uniform_(-1, 1)
    weight, bias, gain, offset = numbers(head)
    hidden = pooled() @ weight.T + bias
    centred = hidden - hidden.mean(axis=1, keepdims=True)
    expected = gain * centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-3) + offset
    np.testing.assert_allclose(run(head), expected, atol=1e-5)


def test_linear_norm_forgets_the_scale_of_its_input() -> None:
    head = linear_norm.build(linear_norm.LinearNormConfig(eps=1e-12), CONTEXT)
    with torch.no_grad():
        head[0].bias.zero_()
    features = torch.tensor(pooled(), dtype=torch.float32)
    torch.testing.assert_close(head(features), head(5 * features), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_mlp_equals_numpy(activation: str) -> None:
    head = mlp.build(mlp.MlpConfig(hidden=9, layers=3, activation=activation), CONTEXT)
    hidden = pooled()
    weights = numbers(head)
    for layer in range(3):
        hidden = hidden @ weights[2 * layer].T + weights[2 * layer + 1]
        if layer < 2:
            gelu = np.vectorize(lambda x: 0.5 * x * (1 + erf(x / np.sqrt(2))))
            hidden = gelu(hidden) if activation == "gelu" else np.maximum(hidden, 0)
    np.testing.assert_allclose(run(head), hidden, atol=1e-5)


def test_mlp_has_a_norm_before_each_activation_when_asked() -> None:
    head = mlp.build(mlp.MlpConfig(hidden=9, layers=3, norm=True), CONTEXT)
    kinds = [type(layer).__name__ for layer in head]
    assert kinds == ["Linear", "LayerNorm", "GELU", "Linear", "LayerNorm", "GELU", "Linear"]


@pytest.mark.parametrize("name", HEADS)
def test_every_head_gives_the_teachers_width_and_passes_gradient(name: str) -> None:
    head, features = HEADS[name](), torch.tensor(pooled(), dtype=torch.float32, requires_grad=True)
    embedding = head(features)
    assert embedding.shape == (5, 7)
    (embedding * torch.arange(7.0)).sum().backward()
    assert (features.grad.abs().sum(dim=1) > 0).all()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_a_head_without_widths_is_refused() -> None:
    with pytest.raises(RecipeError, match="widths"):
        linear.build(linear.LinearConfig(), edgefw.BuildContext())
