"""What a phase trains, and what it leaves alone."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
import torch
import training_toys as toys
from safetensors.torch import load_file
from torch import nn

from edgefw.contracts.sampler import Pick
from edgefw.errors import DataError, TrainingError
from edgefw.plugins.samplers.class_balanced import ClassBalanced
from edgefw.training.assemble import load_trained
from edgefw.training.job import Callbacks
from edgefw.training.phase import PhaseLoss, train_phase

SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.0}


def test_the_loss_goes_down_and_the_teacher_stays_as_it_is(tmp_path):
    teacher = toys.ToyTeacher()
    teacher.module.requires_grad_(True)  # a careless plugin
    before = teacher.module.weight.clone()
    result = train_phase(toys.job(tmp_path, teacher=teacher, epochs=10))
    lines = [json.loads(line) for line in result.metrics.read_text().splitlines()]
    assert lines[-1]["loss"] < 0.6 * lines[0]["loss"]
    assert torch.equal(teacher.module.weight, before)
    assert teacher.module.weight.grad is None and not teacher.module.weight.requires_grad


def test_a_plain_loop_gives_the_same_weights(tmp_path):
    """The engine against eight lines of PyTorch."""
    result = train_phase(toys.job(tmp_path, optimiser=SGD, epochs=2, clip=1.0))
    student, teacher, data = toys.network(), toys.ToyTeacher(), toys.ToyData()
    optimiser = torch.optim.SGD(student.parameters(), lr=0.1)
    step = 0
    for epoch in range(2):
        for picks in toys.ToySampler().batches(toys.SampleTable(size=48), 8, epoch, 1):
            batch = data.load(picks, epoch, True)
            target = teacher.encode_image(batch.pictures).embedding
            said = student(torch.cat([batch.images["rgb"], batch.images["depth"]])).embedding
            loss = ((said - torch.cat([target, target])) ** 2).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            for group in optimiser.param_groups:
                group["lr"] = 0.1 * 0.5 * (1 + math.cos(math.pi * step / 11))
            optimiser.step()
            optimiser.zero_grad()
            step += 1
    for name, value in student.state_dict().items():
        torch.testing.assert_close(result.network.state_dict()[name], value, atol=1e-6, rtol=1e-5)


def test_parameters_of_losses_and_projectors_are_trained(tmp_path):
    contrast, projector = toys.Contrast(), nn.Conv2d(4, 2, 1)
    before = projector.weight.detach().clone()
    losses = (
        PhaseLoss(name="contrast", weight=1.0, module=contrast),
        PhaseLoss(name="map", weight=1.0, module=toys.MapLoss(), projector=projector),
    )
    result = train_phase(toys.job(tmp_path, losses=losses, epochs=1))
    assert contrast.scale.item() != 2.0
    assert not torch.equal(projector.weight, before)
    assert set(load_file(result.weights)) == set(toys.network().state_dict())  # the student alone


def test_weights_scale_the_sum_and_metrics_name_each_term(tmp_path):
    losses = (
        PhaseLoss(name="square", weight=2.0, module=toys.MeanSquare()),
        PhaseLoss(name="contrast", weight=0.25, module=toys.Contrast()),
    )
    result = train_phase(toys.job(tmp_path, losses=losses, epochs=1))
    for line in map(json.loads, result.metrics.read_text().splitlines()):
        terms = line["losses"]
        assert line["loss"] == pytest.approx(2.0 * terms["square"] + 0.25 * terms["contrast"], rel=1e-5)
        assert set(line) == {"phase", "step", "epoch", "loss", "losses", "lr", "gradient_norm", "seconds"}


def test_the_log_has_the_first_the_last_and_every_so_many_steps(tmp_path):
    seen, started = [], []
    callbacks = Callbacks(step=lambda step, m: seen.append(step), started=lambda *n: started.append(n))
    train_phase(toys.job(tmp_path, compute={"log_every": 5}, callbacks=callbacks))
    assert seen == [1, 5, 10, 15, 18] and started == [(18, 0)]


def test_steps_may_end_a_phase_within_an_epoch(tmp_path):
    result = train_phase(toys.job(tmp_path, epochs=None, steps=8))
    assert (result.steps, result.epochs) == (8, 2)


def test_too_few_samples_for_a_step_are_refused(tmp_path):
    with pytest.raises(DataError, match="phase toy: 48 samples give 0 batches of 49 x 1 processes"):
        train_phase(toys.job(tmp_path, batch=49))


def test_a_sampler_that_cannot_draw_says_why_itself(tmp_path):
    with pytest.raises(DataError, match="sampler 'class-balanced': no sample has a label"):
        train_phase(toys.job(tmp_path, sampler=ClassBalanced()))


def test_an_adversary_steps_first_and_the_student_does_not_move_it(tmp_path):
    domain = toys.Domain()
    losses = (PhaseLoss(name="domain", weight=1.0, module=domain),)
    seen = []
    before = domain.critic.weight.detach().clone()

    def after(step, metrics):
        seen.append((domain.critic.weight.detach().clone(), metrics["domain/adversary"]))

    train_phase(toys.job(tmp_path, losses=losses, epochs=1, callbacks=Callbacks(step=after)))
    weights = [before, *(weight for weight, _ in seen)]
    moved = [not torch.equal(one, other) for one, other in pairwise(weights)]
    assert moved == [True, False] * 3  # every second step
    assert domain.critic.weight.grad is None


def test_an_adversary_that_diverges_is_named(tmp_path):
    class Wild(toys.Domain):
        def adversary_loss(self, inputs):
            return super().adversary_loss(inputs) * float("nan")

    losses = (PhaseLoss(name="domain", weight=1.0, module=Wild()),)
    with pytest.raises(TrainingError, match="the adversary of loss 'domain' is not a number"):
        train_phase(toys.job(tmp_path, losses=losses))


class AgainstReference(nn.Module):
    across_batch = False

    def forward(self, inputs):
        return (inputs.student.embedding - inputs.reference.embedding).square().mean()


def test_the_reference_is_frozen_and_followed(tmp_path):
    reference = toys.network(seed=8)
    before = {name: value.clone() for name, value in reference.state_dict().items()}
    losses = (PhaseLoss(name="follow", weight=1.0, module=AgainstReference()),)
    job = toys.job(tmp_path, losses=losses, reference=reference, epochs=8)
    lines = [json.loads(line) for line in train_phase(job).metrics.read_text().splitlines()]
    assert lines[-1]["loss"] < 0.5 * lines[0]["loss"]
    assert all(torch.equal(value, before[name]) for name, value in reference.state_dict().items())


class RoundedLinear(nn.Module):
    """Fake quantisation of weights with a straight-through gradient and a running range."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        self.register_buffer("range", torch.tensor(float("inf")))

    def forward(self, x):
        if self.training:
            self.range.copy_(self.linear.weight.detach().abs().max())
        step = self.range.clamp(max=1e3) / 7
        weight = self.linear.weight
        rounded = weight + ((weight / step).round() * step - weight).detach()
        return nn.functional.linear(x, rounded, self.linear.bias)


class ToyQuantizer:
    level, precision = "module", "int4"

    def __init__(self):
        self.examples = []

    def prepare(self, network, example):
        self.examples.append(example)
        prepared = toys.network()
        prepared.load_state_dict(network.state_dict())
        prepared.trunk.second = RoundedLinear(prepared.trunk.second)
        return prepared

    def convert(self, network):
        return network


def quantised(folder, **changes):
    keys = {
        "quantizer": ToyQuantizer(),
        "ema": 0.5,
        "validation": toys.ToyData(size=8, turns=1),
        "student": toys.network(2),
    }
    return toys.job(folder, **{**keys, **changes})


def test_a_module_quantizer_prepares_before_everything_else(tmp_path):
    job = quantised(tmp_path)
    result = train_phase(job)
    assert job.quantizer.examples[0].shape == (2, 3, toys.SIZE, toys.SIZE)
    state = load_file(result.weights)
    assert "trunk.second.linear.weight" in state and torch.isfinite(state["trunk.second.range"])
    moved = state["trunk.second.linear.weight"] - toys.network(2).trunk.second.weight
    assert moved.abs().max() > 0
    loaded = load_trained(result.weights, toys.network(), job.scheme, ToyQuantizer())
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())


def test_a_quantised_phase_resumes_byte_for_byte(tmp_path):
    whole = train_phase(quantised(tmp_path / "whole")).weights.read_bytes()

    def stop(step, metrics):
        if step == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_phase(quantised(tmp_path / "parts", callbacks=Callbacks(step=stop)))
    assert train_phase(quantised(tmp_path / "parts", resume=True)).weights.read_bytes() == whole


def test_what_a_scheme_adds_is_trained_and_saved(tmp_path):
    result = train_phase(toys.job(tmp_path, scheme=toys.AddingScheme(), epochs=1))
    state = load_file(result.weights)
    assert "student.trunk.first.weight" in state and state["scale"].item() != 1.0
    student = toys.network(3)
    loaded = load_trained(result.weights, student, toys.AddingScheme())
    assert loaded.student is student and torch.equal(student.head.weight, state["student.head.weight"])


def test_weights_of_another_network_are_refused(tmp_path):
    result = train_phase(toys.job(tmp_path, epochs=1))
    with pytest.raises(TrainingError, match="these are not the weights of this recipe's network"):
        load_trained(result.weights, toys.network(), toys.AddingScheme())
    result.weights.write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="these are not the weights"):
        load_trained(result.weights, toys.network(), toys.ToyScheme())


def test_gradient_checkpointing_gives_equal_weights(tmp_path):
    plain = train_phase(toys.job(tmp_path / "plain", optimiser=SGD, epochs=1))
    student = toys.network()
    job = toys.job(tmp_path / "less", optimiser=SGD, epochs=1, student=student, gradient_checkpointing=True)
    seen = []
    student.trunk.second.register_forward_hook(lambda *_: seen.append(student.trunk.checkpointing))
    less = train_phase(job)
    assert len(seen) == 2 * 6 and all(seen)  # each forward pass ran again in the backward pass
    assert not student.trunk.checkpointing
    for name, value in plain.network.state_dict().items():
        torch.testing.assert_close(less.network.state_dict()[name], value, atol=1e-7, rtol=1e-6)


def test_bf16_runs_the_network_low_and_the_losses_in_float32(tmp_path):
    dtypes = []

    class Looks(toys.MeanSquare):
        def forward(self, inputs):
            dtypes.append((inputs.student.embedding.dtype, torch.is_autocast_enabled("cpu")))
            return super().forward(inputs)

    student = toys.network()
    inside = []
    student.head.register_forward_hook(lambda module, args, output: inside.append(output.dtype))
    losses = (PhaseLoss(name="square", weight=1.0, module=Looks()),)
    job = toys.job(tmp_path / "low", losses=losses, student=student, epochs=6, compute={"precision": "bf16"})
    low = train_phase(job)
    assert set(inside) == {torch.bfloat16} and set(dtypes) == {(torch.float32, False)}
    assert all(value.dtype == torch.float32 for value in load_file(low.weights).values())
    full = train_phase(toys.job(tmp_path / "full", epochs=6))
    assert low.losses["loss"] == pytest.approx(full.losses["loss"], rel=0.05)


def test_fp16_on_the_cpu_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="compute.precision: fp16 needs a GPU"):
        train_phase(toys.job(tmp_path, compute={"precision": "fp16"}))


def test_a_device_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="compute.device: cuda:71 is not there"):
        train_phase(toys.job(tmp_path, compute={"device": "cuda:71"}))


class NearestSampler(toys.ToySampler):
    """Pairs each anchor with its nearest neighbour in the table."""

    needs_embeddings = True

    def __init__(self):
        self.tables = []

    def batches(self, table, batch, epoch, seed):
        self.tables.append(table.embedding[:].copy())
        near = table.embedding @ table.embedding.T - 2 * torch.eye(table.size).numpy()
        for picks in super().batches(table, batch, epoch, seed):
            yield [
                Pick(index=index, group=group, role=role)
                for group, pick in enumerate(picks)
                for role, index in enumerate((pick.index, int(near[pick.index].argmax())))
            ]


def test_a_mining_sampler_gets_the_embeddings_of_the_epoch(tmp_path):
    sampler, data = NearestSampler(), toys.ToyData(noise=0.0)
    start = toys.network()
    train_phase(toys.job(tmp_path, sampler=sampler, data=data, epochs=2))
    with torch.no_grad():
        expected = nn.functional.normalize(start.eval()(data.images["rgb"]).embedding, dim=-1)
    torch.testing.assert_close(torch.from_numpy(sampler.tables[0]), expected, atol=1e-6, rtol=1e-5)
    assert len(sampler.tables) == 2 and abs(sampler.tables[1] - sampler.tables[0]).max() > 1e-3
    assert not (tmp_path / "mining").exists()


def test_mining_resumes_byte_for_byte(tmp_path):
    def made(folder, **changes):
        return toys.job(folder, sampler=NearestSampler(), compute={"checkpoint_every": 4}, **changes)

    whole = train_phase(made(tmp_path / "whole")).weights.read_bytes()

    def stop(step, metrics):
        if step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_phase(made(tmp_path / "parts", callbacks=Callbacks(step=stop)))
    assert train_phase(made(tmp_path / "parts", resume=True)).weights.read_bytes() == whole
