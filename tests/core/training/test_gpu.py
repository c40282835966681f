"""What only a GPU can show: fp16 with its scaler, checks that wait, caches that cross to the device."""

from __future__ import annotations

import pytest
import torch
import training_toys as toys
from safetensors.torch import load_file

from edgefw.errors import TrainingError
from edgefw.training.job import Callbacks
from edgefw.training.phase import train_phase

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def job(folder, **changes):
    compute = {"device": "cuda", "log_every": 4, **changes.pop("compute", {})}
    return toys.job(folder, compute=compute, **changes)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_loss_is_that_of_the_cpu(tmp_path, precision):
    there = train_phase(job(tmp_path / "gpu", compute={"precision": precision}))
    here = train_phase(toys.job(tmp_path / "cpu"))
    tolerance = 1e-3 if precision == "fp32" else 0.05
    assert there.losses["loss"] == pytest.approx(here.losses["loss"], rel=tolerance)
    assert next(there.network.parameters()).device.type == "cpu"


def test_fp16_resumes_with_its_scaler(tmp_path):
    keys = {"compute": {"precision": "fp16", "checkpoint_every": 4, "log_every": 1}}
    whole = load_file(train_phase(job(tmp_path / "whole", **keys)).weights)

    def stop(step, metrics):
        if step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_phase(job(tmp_path / "parts", callbacks=Callbacks(step=stop), **keys))
    parts = load_file(train_phase(job(tmp_path / "parts", resume=True, **keys)).weights)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, atol=1e-4, rtol=1e-3)


def test_a_bad_step_is_named_although_looking_waits(tmp_path):
    data = toys.ToyData()
    data.images["rgb"][7] = float("nan")
    with pytest.raises(TrainingError, match="Samples: sample-007"):
        train_phase(job(tmp_path, data=data))


def test_cache_validation_and_workers_cross_to_the_device(tmp_path):
    held_out = toys.ToyData(size=9, seed=2, turns=1, labels=True)
    keys = {"validation": held_out, "evaluation_text": toys.text(), "select": {"by": "agreement"}}
    result = train_phase(job(tmp_path, data=toys.ToyData(turns=2), cache={"views": 2}, compute={"workers": 1}, **keys))
    assert 0 <= result.validation["agreement"] <= 1


def test_the_record_holds_the_allocators_peak_and_a_resumed_run_the_larger_one(tmp_path):
    keys = {"compute": {"checkpoint_every": 4, "log_every": 1}}
    held = torch.zeros(50_000_000, dtype=torch.uint8, device="cuda")

    def stop(step, metrics):
        if step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_phase(job(tmp_path, callbacks=Callbacks(step=stop), **keys))
    del held
    result = train_phase(job(tmp_path, resume=True, **keys))
    assert 50_000_000 < result.to_json()["device_peak_bytes"] < 200_000_000
