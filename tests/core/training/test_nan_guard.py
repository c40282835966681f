"""A number that is none stops training at once; the message names loss, step and samples."""

from __future__ import annotations

import json

import pytest
import torch
import training_toys as toys
from torch import nn

from edgefw.errors import TrainingError
from edgefw.training.job import Callbacks
from edgefw.training.nan_guard import NanGuard, Watched
from edgefw.training.phase import PhaseLoss, train_phase


class Breaks(nn.Module):
    """Fine until the given call."""

    across_batch = False

    def __init__(self, call: int, value: float = float("nan")) -> None:
        super().__init__()
        self.call, self.value, self.calls = call, value, 0

    def forward(self, inputs):
        self.calls += 1
        good = inputs.student.embedding.square().mean()
        return good * self.value if self.calls == self.call else good


class Steep(nn.Module):
    """A finite value with an infinite gradient."""

    across_batch = False

    def forward(self, inputs):
        return (inputs.student.embedding * 0).abs().sum().sqrt()


def losses(module):
    square = PhaseLoss(name="square", weight=1.0, module=toys.MeanSquare())
    return (square, PhaseLoss(name="broken", weight=1.0, module=module))


def test_loss_step_and_samples_are_named_and_the_last_checkpoint_is_good(tmp_path):
    job = toys.job(tmp_path, losses=losses(Breaks(9)), compute={"checkpoint_every": 2})
    with pytest.raises(TrainingError) as caught:
        train_phase(job)
    drawn = list(toys.ToySampler().batches(toys.SampleTable(size=48), 8, epoch=1, seed=1))[2]
    ids = ", ".join(job.data.ids[pick.index] for pick in drawn)
    assert str(caught.value) == (
        f"step 9: loss 'broken' is nan. Samples: {ids}. "
        "The last good checkpoint is kept. Lower optimiser.lr, or set clip."
    )
    state = torch.load(tmp_path / "checkpoint" / "step-00000008" / "state.pt", weights_only=True)
    assert all(value.isfinite().all() for value in state["objective"].values())


def test_training_goes_on_from_there(tmp_path):
    with pytest.raises(TrainingError):
        train_phase(toys.job(tmp_path, losses=losses(Breaks(9)), compute={"checkpoint_every": 2}))
    result = train_phase(toys.job(tmp_path, losses=losses(Breaks(99)), compute={"checkpoint_every": 2}, resume=True))
    assert result.steps == 18


def test_a_sample_with_a_broken_image_is_singled_out(tmp_path):
    data = toys.ToyData()
    data.images["depth"][31] = float("inf")
    with pytest.raises(TrainingError, match=r"Samples: sample-031\. Their images hold values that are not numbers"):
        train_phase(toys.job(tmp_path, data=data))


def test_a_sample_with_a_broken_target_is_singled_out(tmp_path):
    class Blind(toys.ToyTeacher):
        def encode_image(self, pixels, want=frozenset()):
            output = super().encode_image(pixels, want)
            output.embedding[(pixels.flatten(1) - marked).abs().sum(1) < 1e-3] = float("nan")
            return output

    data = toys.ToyData(noise=0.0)
    marked = data.images["rgb"][17].flatten()
    with pytest.raises(TrainingError, match=r"Samples: sample-017\. The teacher's answer to them is not a number"):
        train_phase(toys.job(tmp_path, data=data, teacher=Blind()))


def test_an_infinite_gradient_stops_as_well(tmp_path):
    with pytest.raises(TrainingError, match="step 1: the gradient of the losses square, broken is not a number"):
        train_phase(toys.job(tmp_path, losses=losses(Steep())))


def test_an_infinite_loss_is_called_infinite(tmp_path):
    with pytest.raises(TrainingError, match="step 3: loss 'broken' is inf"):
        train_phase(toys.job(tmp_path, losses=losses(Breaks(3, float("inf")))))


def test_nothing_of_a_bad_step_is_logged(tmp_path):
    seen = []
    job = toys.job(tmp_path, losses=losses(Breaks(4)), callbacks=Callbacks(step=lambda step, _: seen.append(step)))
    with pytest.raises(TrainingError):
        train_phase(job)
    assert seen == [1, 2, 3]
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]


def watched(step, value):
    loss = torch.tensor(value)
    return Watched(step, 0, loss, [(loss,)], None, [torch.tensor([step])])


def test_where_looking_is_costly_steps_wait_and_the_first_bad_one_is_named():
    guard = NanGuard(["only"], 4, lambda indices, epoch: ([f"id-{index}" for index in indices], ""))
    for step, value in ((1, 0.5), (2, float("nan")), (3, float("nan"))):
        guard.watch(watched(step, value))
    with pytest.raises(TrainingError, match="step 2: loss 'only' is nan. Samples: id-2"):
        guard.watch(watched(4, 1.0))


def test_it_looks_when_told_to():
    guard = NanGuard(["only"], 100, lambda indices, epoch: (["a"] * 12, ""))
    guard.watch(watched(7, float("nan")))
    with pytest.raises(TrainingError, match="step 7.* and 4 more"):
        guard.look()
