"""`bn_momentum`: running statistics are the weighted sum that its definition says, and a network without batch norm is refused."""

from __future__ import annotations

import pytest
import timm
import torch
from pydantic import ValidationError
from torch import Tensor, nn

import edgefw
from edgefw.errors import RecipeError
from edgefw.plugins.students.batch_norms import set_momentum
from edgefw.plugins.students.timm import TimmConfig, build


def test_a_batch_has_this_weight_in_the_running_statistics() -> None:
    torch.manual_seed(0)
    student = build(TimmConfig(model="efficientnet_b0", bn_momentum=0.25), edgefw.BuildContext()).train()
    seen: list[Tensor] = []
    norm = student.backbone.bn1
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    mean, variance = torch.zeros(32), torch.ones(32)
    for _ in range(3):
        student(torch.randn(4, 3, 64, 64))
        mean = 0.75 * mean + 0.25 * seen[-1].mean((0, 2, 3))
        variance = 0.75 * variance + 0.25 * seen[-1].var((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)


def test_every_batch_norm_gets_it_and_null_leaves_timms_own() -> None:
    momenta = {}
    for given in (0.02, None):
        student = build(TimmConfig(model="efficientnet_lite0", bn_momentum=given), edgefw.BuildContext())
        momenta[given] = {norm.momentum for norm in student.modules() if isinstance(norm, nn.BatchNorm2d)}
    own = timm.create_model("efficientnet_lite0", num_classes=0).bn1.momentum
    assert momenta == {0.02: {0.02}, None: {own}}


def test_a_small_momentum_remembers_the_one_image_that_lights_a_channel() -> None:
    lengths = {}
    for momentum in (0.1, 0.01):
        norm = nn.BatchNorm1d(1)
        set_momentum(norm, momentum)
        rare = torch.cat([torch.full((1, 1), 5.0), torch.zeros(15, 1)])
        for step in range(400):
            norm(rare if step % 100 == 0 else torch.zeros(16, 1))
        lengths[momentum] = norm.eval()(torch.full((1, 1), 5.0)).item()
    exact = 5.0 / (rare.var().item() / 100) ** 0.5  # with the mean variance of a hundred batches
    assert lengths[0.01] < exact
    assert lengths[0.1] > 10 * exact


def test_a_network_without_batch_norm_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"bn_momentum: 0\.01: VisionTransformer has no batch norm"):
        build(TimmConfig(model="vit_tiny_patch16_224", size=64, bn_momentum=0.01), edgefw.BuildContext())


@pytest.mark.parametrize("momentum", [0.0, -0.1, 1.5])
def test_a_momentum_outside_its_range_is_refused(momentum: float) -> None:
    with pytest.raises(ValidationError, match="bn_momentum"):
        TimmConfig(model="resnet10t", bn_momentum=momentum)
