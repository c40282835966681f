"""Accumulated batches give exactly the gradient of the big batch, or the phase is refused with the reason."""

from __future__ import annotations

import json

import pytest
import torch
import training_toys as toys
from safetensors.torch import load_file

from edgefw.errors import RecipeError
from edgefw.training.phase import PhaseLoss, train_phase

SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.0}


def weights(folder, **changes):
    result = train_phase(toys.job(folder, optimiser=SGD, epochs=2, **changes))
    return load_file(result.weights), [json.loads(line) for line in result.metrics.read_text().splitlines()]


@pytest.mark.parametrize(
    "missing", [{}, {"depth": [0, 1, 2, 3, 5, 8, 13, 21, 22, 23, 40]}], ids=["all", "some-missing"]
)
def test_four_batches_of_four_are_one_of_sixteen(tmp_path, missing):
    data = toys.ToyData(missing=missing)
    whole, whole_log = weights(tmp_path / "whole", data=data, student=toys.network(), batch=16)
    parts, parts_log = weights(tmp_path / "parts", data=data, student=toys.network(), batch=4, accumulate=4)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, atol=1e-6, rtol=1e-5)
    for one, other in zip(whole_log, parts_log, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-5)


def test_a_loss_across_the_batch_is_refused_by_name(tmp_path):
    losses = (PhaseLoss(name="contrast", weight=1.0, module=toys.Contrast()),)
    with pytest.raises(RecipeError) as caught:
        train_phase(toys.job(tmp_path, losses=losses, batch=4, accumulate=2))
    message = str(caught.value)
    assert message.startswith("train[0].losses[0]: loss 'contrast' compares the rows of a batch with each other")
    assert "2 batches of 4 are not one of 8" in message
    assert "train[0].accumulate to 1" in message


def test_an_adversary_is_refused_by_name(tmp_path):
    losses = (PhaseLoss(name="domain", weight=1.0, module=toys.Domain()),)
    with pytest.raises(RecipeError, match="loss 'domain' has an adversary"):
        train_phase(toys.job(tmp_path, losses=losses, accumulate=2))


def test_two_losses_of_one_name_are_refused(tmp_path):
    losses = [PhaseLoss(name="square", weight=1.0, module=toys.MeanSquare()) for _ in range(2)]
    with pytest.raises(RecipeError, match="two losses share a name"):
        train_phase(toys.job(tmp_path, losses=losses))
