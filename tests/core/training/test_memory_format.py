"""The order of image tensors in memory changes the speed of a phase and, beyond rounding, nothing else."""

from __future__ import annotations

import pytest
import torch
import training_toys as toys
from safetensors.torch import load_file
from torch import nn

from edgefw.contracts.student import StudentFeatures
from edgefw.errors import TrainingError
from edgefw.training.job import Callbacks
from edgefw.training.network import StudentNetwork
from edgefw.training.phase import train_phase


class Convolutions(toys.ToyTrunk):
    """Two convolutions with batch norm; it notes in which order the maps in between lie."""

    def __init__(self) -> None:
        super().__init__()
        convolution = nn.Conv2d(3, toys.WIDTH // 4, 3, padding=1, bias=False)  # before a norm a bias is only rounding
        self.stem = nn.Sequential(convolution, nn.BatchNorm2d(toys.WIDTH // 4))
        self.last = nn.Conv2d(toys.WIDTH // 4, toys.WIDTH, 3, stride=2)
        self.seen = set()

    def forward(self, pixels):
        between = self.stem(pixels)
        if self.training:
            self.seen.add(between.is_contiguous(memory_format=torch.channels_last))
        pooled = self._deep(self.last(between).mean(dim=(2, 3)))
        return StudentFeatures(pooled, pooled.reshape(-1, toys.WIDTH // 4, 2, 2))


def student():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return StudentNetwork(Convolutions(), nn.Linear(toys.WIDTH, toys.EMBEDDING))


def job(folder, memory_format, **parts):
    return toys.job(folder, student=student(), compute={"memory_format": memory_format}, **parts)


def test_channels_last_reaches_the_maps_and_gives_the_same_weights_within_rounding(tmp_path):
    plain, turned = job(tmp_path / "plain", "contiguous"), job(tmp_path / "turned", "channels-last")
    one, other = train_phase(plain), train_phase(turned)
    assert plain.student.trunk.seen == {False}
    assert turned.student.trunk.seen == {True}
    expected = load_file(one.weights)
    for name, value in load_file(other.weights).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)


def test_the_finished_network_is_contiguous_again(tmp_path):
    result = train_phase(job(tmp_path, "channels-last"))
    assert all(value.is_contiguous() for value in result.network.state_dict().values())


class Interrupted(Exception):
    """Stands for a signal."""


def interrupted(folder, memory_format):
    def stop(step, _):
        if step == 9:
            raise Interrupted

    with pytest.raises(Interrupted):
        train_phase(job(folder, memory_format, callbacks=Callbacks(step=stop)))


def test_a_phase_in_channels_last_resumes_byte_for_byte(tmp_path):
    whole = train_phase(job(tmp_path / "whole", "channels-last")).weights.read_bytes()
    interrupted(tmp_path / "parts", "channels-last")
    assert train_phase(job(tmp_path / "parts", "channels-last", resume=True)).weights.read_bytes() == whole


def test_a_checkpoint_of_another_memory_format_is_refused(tmp_path):
    interrupted(tmp_path, "channels-last")
    with pytest.raises(TrainingError, match=r"memory_format was 'channels-last', is 'contiguous'"):
        train_phase(job(tmp_path, "contiguous", resume=True))
