"""The average of weights against the recurrence, in NumPy."""

from __future__ import annotations

import json

import numpy as np
import torch
import training_toys as toys
from safetensors.torch import load_file
from torch import nn

from edgefw.training.ema import WeightAverage
from edgefw.training.phase import train_phase


def test_it_follows_the_recurrence():
    network = nn.Linear(3, 2)
    average = WeightAverage(network, 0.9)
    expected = network.weight.detach().numpy().copy().astype(np.float64)
    rng = np.random.default_rng(0)
    for _ in range(20):
        weight = rng.normal(size=(2, 3)).astype(np.float32)
        network.weight.data.copy_(torch.from_numpy(weight))
        average.update()
        expected = 0.9 * expected + 0.1 * weight
    np.testing.assert_allclose(average.state_dict()["weight"].numpy(), expected, atol=1e-6)


def test_running_means_are_averaged_and_counters_and_open_ranges_are_not():
    network = nn.BatchNorm1d(2)
    network.register_buffer("range", torch.tensor([float("inf")]))
    average = WeightAverage(network, 0.5)
    network.running_mean += 1.0
    network.num_batches_tracked += 3
    network.range.fill_(2.0)
    average.update()
    state = average.state_dict()
    assert state["running_mean"].tolist() == [0.5, 0.5]
    assert state["num_batches_tracked"].item() == 3
    assert state["range"].item() == 2.0


def test_applied_gives_the_live_weights_back():
    network = nn.Linear(1, 1)
    average = WeightAverage(network, 0.5)
    with torch.no_grad():
        network.weight.add_(4.0)
    live = network.weight.item()
    average.update()
    with average.applied():
        assert network.weight.item() == live - 2.0
    assert network.weight.item() == live


def test_a_phase_keeps_the_average(tmp_path):
    live = train_phase(toys.job(tmp_path / "live", epochs=1))
    averaged = train_phase(toys.job(tmp_path / "averaged", epochs=1, ema=0.5))
    # the same training: losses are equal, only what is kept differs
    losses = [[json.loads(line)["loss"] for line in r.metrics.read_text().splitlines()] for r in (live, averaged)]
    assert losses[0] == losses[1]
    kept, last = load_file(averaged.weights), load_file(live.weights)
    assert not torch.equal(kept["head.weight"], last["head.weight"])
    assert torch.equal(averaged.network.state_dict()["head.weight"], kept["head.weight"])
