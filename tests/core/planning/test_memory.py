"""Measured memory against sizes that can be counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from edgefw.planning.memory import Line, PeakMemory, measure, parameter_bytes


def test_the_peak_counts_what_is_alive_at_a_time() -> None:
    with PeakMemory() as memory:
        first = torch.zeros(1000)  # 4000 bytes
        second = first * 2  # 8000
        view = second.view(10, 100)  # no storage of its own
        del first
        third = view + 1  # 8000 again
    assert memory.peak == 8000
    assert memory.alive == 8000
    del second, view, third
    assert memory.alive == 0


def test_changes_in_place_take_nothing() -> None:
    values = torch.zeros(1000)
    with PeakMemory() as memory:
        values.add_(1).mul_(2)
    assert memory.peak == 0


def test_a_linear_chain_keeps_its_activations() -> None:
    layers = nn.Sequential(*(nn.Sequential(nn.Linear(100, 100), nn.Sigmoid()) for _ in range(5)))

    def train(rows: int) -> None:
        layers(torch.zeros(rows, 100)).sum().backward()

    line = measure(train, (64, 128))
    kept = 400 * (1 + 5)  # the input and the output of each sigmoid, which backward needs
    assert kept <= line.each <= kept + 3 * 400


@pytest.mark.slow  # the first checkpointed block imports PyTorch's compiler
def test_checkpointing_is_seen() -> None:
    block = nn.Sequential(*(nn.Sequential(nn.Linear(100, 100), nn.Sigmoid()) for _ in range(10)))

    def plain(rows: int) -> None:
        block(torch.zeros(rows, 100, requires_grad=True)).sum().backward()

    def checkpointed(rows: int) -> None:
        value = torch.zeros(rows, 100, requires_grad=True)
        for layer in block:
            value = checkpoint(layer, value, use_reentrant=False)
        checkpoint(nn.Identity(), value, use_reentrant=False).sum().backward()

    def one_block(rows: int) -> None:
        checkpoint(block, torch.zeros(rows, 100, requires_grad=True), use_reentrant=False).sum().backward()

    sizes = (64, 128)
    assert measure(checkpointed, sizes).each < 1.2 * measure(plain, sizes).each
    assert measure(one_block, sizes).each < 1.2 * measure(plain, sizes).each


@pytest.mark.parametrize("rows", [8, 32])
def test_two_small_sizes_tell_the_peak_of_a_large_one(rows: int) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU())

    def train(images: int) -> None:
        network(torch.zeros(images, 3, 32, 32)).mean().backward()

    line = measure(train, (2, 3))
    with PeakMemory() as memory:
        train(rows)
    assert memory.peak == pytest.approx(line.at(rows), rel=0.05)


def test_parameters_and_buffers_are_counted_once() -> None:
    norm = nn.BatchNorm1d(10)  # weight, bias, mean, variance of 10 floats, one int64
    assert parameter_bytes(norm, nn.Sequential(norm)) == 4 * 40 + 8


def test_a_line_is_never_negative() -> None:
    assert Line(-5, 1).at(3) == 0
