"""The compute section against the machine it is run on."""

from __future__ import annotations

import warnings

import pytest
import torch

from edgefw.errors import EdgefwWarning, TrainingError
from edgefw.processes import uses_cpu
from edgefw.recipe.schema import Compute
from edgefw.training.acceleration import accelerator, mean_over_processes, sum_over_processes, thread_count


@pytest.mark.parametrize(
    ("device", "launcher", "expected"), [("cpu", "", True), ("auto", "true", True), ("cuda", "", False)]
)
def test_what_means_the_cpu(monkeypatch, device, launcher, expected):
    monkeypatch.setenv("ACCELERATE_USE_CPU", launcher)
    assert uses_cpu(device) is expected


def test_auto_is_the_cpu_where_nothing_faster_is_there(monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    assert uses_cpu("auto") is not torch.accelerator.is_available()


@pytest.mark.parametrize(
    ("precision", "lacks", "said"), [("bf16", True, True), ("bf16", False, False), ("fp32", True, False)]
)
def test_bf16_that_the_processor_has_not_is_said_to_be_slow(monkeypatch, precision, lacks, said):
    monkeypatch.setattr("edgefw.training.acceleration.lacks_bf16", lambda: lacks)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        accelerator(Compute(device="cpu", precision=precision))
    texts = [str(one.message) for one in seen if issubclass(one.category, EdgefwWarning)]
    assert ["this processor has no instructions for it" in text for text in texts] == [True] * said


@pytest.mark.filterwarnings("ignore:compute.precision. bf16")
def test_phases_of_one_process_may_differ_in_precision():
    for precision, expected in (("bf16", "bf16"), ("fp32", "no"), ("bf16", "bf16")):
        made = accelerator(Compute(device="cpu", precision=precision))
        assert made.mixed_precision == expected and made.device.type == "cpu" and made.num_processes == 1


def test_a_launcher_that_did_not_start_several_processes_is_named(monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(TrainingError, match="has started one process, not several. Use torchrun"):
        accelerator(Compute(device="cpu"))


def test_processes_that_did_not_find_each_other_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(TrainingError, match="2 processes were launched, but they did not find each other"):
        accelerator(Compute(device="cpu"))


def test_one_process_sums_and_averages_alone():
    values = torch.tensor([1.0, 2.0])
    assert torch.equal(sum_over_processes(values, 1), values) and torch.equal(mean_over_processes(values, 1), values)


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with thread_count(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
