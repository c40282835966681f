"""Learning rate against its closed form; which parameters decay; clipping."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import training_toys as toys
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgefw.recipe.schema import Optimiser
from edgefw.training.optimisers import forget_gradients, learning_rate, make_optimiser, parameter_groups, warmup_steps
from edgefw.training.phase import train_phase


def test_forgotten_gradients_are_gone_as_after_zero_grad():
    layer = nn.Linear(3, 2)
    layer(torch.ones(1, 3)).sum().backward()
    forget_gradients([layer.weight])
    assert layer.weight.grad is None
    assert layer.bias.grad is not None


def test_warm_up_is_linear_and_the_rest_is_half_a_cosine():
    config = Optimiser(lr=2e-3, final_lr=1e-4, warmup=5)
    rates = [learning_rate(config, step, 25) for step in range(25)]
    np.testing.assert_allclose(rates[:5], 2e-3 * np.arange(1, 6) / 5)
    angle = np.pi * np.arange(20) / 19
    np.testing.assert_allclose(rates[5:], 1e-4 + (2e-3 - 1e-4) * (1 + np.cos(angle)) / 2)
    assert rates[5] == pytest.approx(2e-3) and rates[-1] == pytest.approx(1e-4)


def test_warm_up_below_one_is_a_fraction():
    assert warmup_steps(Optimiser(warmup=0.1), 250) == 25
    assert warmup_steps(Optimiser(warmup=30), 250) == 30
    assert warmup_steps(Optimiser(warmup=300), 250) == 250


@given(st.integers(1, 400), st.floats(0, 50), st.floats(1e-6, 1.0), st.floats(0, 1.0))
def test_rates_stay_between_zero_and_the_peak(steps, warmup, peak, share):
    config = Optimiser(lr=peak, final_lr=peak * share, warmup=warmup)
    rates = [learning_rate(config, step, steps) for step in range(steps)]
    assert all(0 < rate <= peak * (1 + 1e-9) or (rate == 0 and config.final_lr == 0) for rate in rates)
    after = rates[warmup_steps(config, steps) :]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(after))


def test_a_phase_uses_these_rates(tmp_path):
    result = train_phase(toys.job(tmp_path, epochs=2))
    config = toys.phase().optimiser
    logged = [json.loads(line)["lr"] for line in result.metrics.read_text().splitlines()]
    assert logged == [learning_rate(config, step, 12) for step in range(12)]


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.norm = nn.LayerNorm(3)
        self.pos_embed = nn.Parameter(torch.zeros(1, 4, 3))
        self.relative_position_bias_table = nn.Parameter(torch.zeros(9, 2))
        self.frozen = nn.Parameter(torch.zeros(3, 3), requires_grad=False)
        self.again = self.linear


def test_only_matrices_decay():
    body = Body()
    decayed, spared = parameter_groups(body, 0.05)
    assert decayed["weight_decay"] == 0.05 and spared["weight_decay"] == 0.0
    assert [id(p) for p in decayed["params"]] == [id(body.linear.weight)]
    assert len(spared["params"]) == 5


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)]
)
def test_each_name_is_its_update_rule(name, kind):
    made = make_optimiser(Optimiser(name=name, momentum=0.8, betas=(0.8, 0.9)), nn.Linear(2, 2))
    assert type(made) is kind
    assert made.defaults.get("momentum", 0.8) == 0.8
    assert made.defaults.get("betas", (0.8, 0.9)) == (0.8, 0.9)


def test_clipping_bounds_the_step(tmp_path):
    sgd = {"name": "sgd", "lr": 1.0, "momentum": 0.0}
    start = toys.network().state_dict()
    result = train_phase(toys.job(tmp_path, optimiser=sgd, epochs=None, steps=1, clip=0.01))
    moved = math.sqrt(sum(float((v - start[n]).square().sum()) for n, v in result.network.state_dict().items()))
    assert moved == pytest.approx(0.01, rel=1e-3)
    norm = json.loads(result.metrics.read_text())["gradient_norm"]
    assert norm > 0.01


def test_without_clipping_the_step_is_the_gradient(tmp_path):
    sgd = {"name": "sgd", "lr": 1.0, "momentum": 0.0}
    start = toys.network().state_dict()
    free = train_phase(toys.job(tmp_path / "free", optimiser=sgd, epochs=None, steps=1, clip=None))
    wide = train_phase(toys.job(tmp_path / "wide", optimiser=sgd, epochs=None, steps=1, clip=1e6))
    moved = math.sqrt(sum(float((v - start[n]).square().sum()) for n, v in free.network.state_dict().items()))
    assert moved == pytest.approx(json.loads(wide.metrics.read_text())["gradient_norm"], rel=1e-5)
    assert "gradient_norm" not in json.loads(free.metrics.read_text())
