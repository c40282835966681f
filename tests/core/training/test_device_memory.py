"""The allocator's peak: nothing is said of a device that has no such count. What a GPU counts, `test_gpu.py` shows."""

from __future__ import annotations

import json

import torch
import training_toys as toys

from edgefw.training.device_memory import DevicePeak
from edgefw.training.phase import train_phase


def test_the_cpu_has_no_count():
    assert DevicePeak(torch.device("cpu"), 5).read() is None


def test_a_training_on_the_cpu_leaves_the_key_out(tmp_path):
    result = train_phase(toys.job(tmp_path))
    assert result.device_peak_bytes is None and "device_peak_bytes" not in result.to_json()
    assert json.loads((tmp_path / "done.json").read_text())["result"]["device_peak_bytes"] is None
