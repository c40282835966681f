"""Losses between views in a phase: the discriminator's turns, and what the student becomes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import training_toys as toys
from torch import nn

from edgefw.contracts.loss import LossInput
from edgefw.plugins.losses.view_adversarial import ViewAdversarialConfig, ViewAdversarialLoss
from edgefw.plugins.losses.view_consistency import ViewConsistencyConfig, ViewConsistencyLoss
from edgefw.plugins.samplers.view_groups import ViewGroups
from edgefw.plugins.schemes.single_modality import SingleModality
from edgefw.training.phase import PhaseLoss, train_phase


class NoisyViews(toys.ToyData):
    """View 0 of a sample is its image; others are dimmed and shifted by one direction that tells them apart."""

    def load(self, picks: Any, epoch: int, pictures: bool) -> Any:
        step = super().load(picks, epoch, pictures)
        changed = step.role[:, None, None, None] > 0
        images = {name: torch.where(changed, 0.5 * pixels + 1.0, pixels) for name, pixels in step.images.items()}
        return step._replace(images=images)


def gap(network: nn.Module) -> float:
    """How far embeddings of changed images lie from those of clean ones, on the whole."""
    data = NoisyViews(noise=0.0)
    clean = data.images["rgb"]
    with torch.no_grad():
        first, second = (nn.functional.normalize(network(x).embedding, dim=1) for x in (clean, 0.5 * clean + 1.0))
    return float((first.mean(dim=0) - second.mean(dim=0)).norm())


def trained(folder: Path, name: str, module: nn.Module | None, weight: float = 1.0) -> Any:
    losses = [PhaseLoss(name="square", weight=1.0, module=toys.MeanSquare())]
    if module is not None:
        losses.append(PhaseLoss(name=name, weight=weight, module=module))
    made = {"losses": losses, "sampler": ViewGroups(2), "data": NoisyViews(), "epochs": 20, "batch": 16}
    scheme = SingleModality("rgb", ("rgb", "depth"), "own")
    return train_phase(toys.job(folder, scheme=scheme, **made))


def toy_adversary(**options: Any) -> ViewAdversarialLoss:
    torch.manual_seed(0)
    config = ViewAdversarialConfig(**{"hidden": 32, "lr": 5e-3, **options})
    return ViewAdversarialLoss(toys.EMBEDDING, config)


def lines(result: Any) -> list[dict[str, float]]:
    found = [json.loads(line) for line in result.metrics.read_text().splitlines()]
    return [line["losses"] for line in found if "losses" in line]


def test_the_discriminator_moves_when_it_is_its_turn_and_the_student_with_it(tmp_path: Path) -> None:
    loss = toy_adversary(against="clean", every=3)
    before = loss.discriminator[0].weight.detach().clone()
    with_it = trained(tmp_path / "with", "views", loss, weight=0.02)
    without = trained(tmp_path / "without", "views", None)
    assert not torch.equal(loss.discriminator[0].weight, before)
    assert any(not torch.equal(v, without.network.state_dict()[k]) for k, v in with_it.network.state_dict().items())
    told = [line["views/adversary"] for line in lines(with_it)]
    assert [one != other for one, other in pairwise(told)][:6] == [False, False, True] * 2


class Detached(ViewAdversarialLoss):
    """The student's side as the released code of the method has it."""

    def forward(self, inputs: LossInput) -> torch.Tensor:
        return super().forward(replace(inputs, student=inputs.student.each(torch.Tensor.detach)))


@pytest.mark.parametrize("against", ["clean", "teacher"])
def test_a_student_learns_to_fool_a_discriminator_that_stands_still_unless_it_is_detached(
    tmp_path: Path, against: str
) -> None:
    live, cut = toy_adversary(against=against, every=1000), toy_adversary(against=against, every=1000)
    cut.__class__ = Detached
    values = [
        [line["views"] for line in lines(trained(tmp_path / str(at), "views", loss))]
        for at, loss in enumerate((live, cut))
    ]
    assert values[0][0] == values[1][0] > math.log(2)  # taken for fake, at first
    assert values[0][-1] < 0.6 < math.log(2) * 0.95 < values[1][-1]


def test_consistency_in_a_phase_brings_views_together(tmp_path: Path) -> None:
    with_it = trained(tmp_path / "with", "views", ViewConsistencyLoss(ViewConsistencyConfig()))
    without = trained(tmp_path / "without", "views", None)
    assert gap(with_it.network) < 0.7 * gap(without.network)
