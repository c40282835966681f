"""Selection on the validation split: against hand computation, and never on anything else."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import training_toys as toys
from safetensors.torch import load_file

from edgefw.errors import RecipeError
from edgefw.plugins.schemes.single_modality import SingleModality
from edgefw.training.job import Callbacks
from edgefw.training.phase import PhaseLoss, train_phase
from edgefw.training.validation import is_better

MISSING = {"depth": [1, 5, 6]}


def held_out(**options):
    return toys.ToyData(size=21, seed=9, turns=1, labels=True, missing=MISSING, noise=0.0, **options)


def by_hand(network, data, text, labels):
    """Accuracy, agreement and loss in NumPy."""
    rows = {name: [i for i in range(21) if i not in MISSING.get(name, [])] for name in ("rgb", "depth")}
    with torch.no_grad():
        teacher = toys.ToyTeacher().encode_image(data.images["rgb"]).embedding.numpy()
        student = {name: network(data.images[name]).embedding.numpy() for name in rows}
    text = text.numpy()
    said = {name: (values @ text.T).argmax(1) for name, values in student.items()}
    values = {}
    for name, index in rows.items():
        values[f"accuracy/{name}"] = np.mean(said[name][index] == labels[index])
        values[f"agreement/{name}"] = np.mean(said[name][index] == (teacher @ text.T).argmax(1)[index])
    for what in ("accuracy", "agreement"):
        values[what] = (values[f"{what}/rgb"] + values[f"{what}/depth"]) / 2
    squares = [(student[name][index] - teacher[index]) ** 2 for name, index in rows.items()]
    values["loss"] = values["loss/square"] = np.concatenate(squares).mean()
    return values


def test_values_are_those_of_a_hand_computation(tmp_path):
    data, text = held_out(), toys.text()
    result = train_phase(toys.job(tmp_path, validation=data, evaluation_text=text, epochs=1, seed=3))
    expected = by_hand(result.network, data, text, data.labels)
    assert result.validation.keys() == expected.keys()
    for name, value in expected.items():
        assert result.validation[name] == pytest.approx(value, abs=1e-5), name


def test_batches_without_an_image_of_the_scheme_do_not_count(tmp_path):
    data = toys.ToyData(size=21, seed=9, turns=1, missing={"depth": list(range(1, 21))}, noise=0.0)
    scheme = SingleModality("depth", ("rgb", "depth"), "own")
    result = train_phase(toys.job(tmp_path, scheme=scheme, validation=data, epochs=1, batch=4))
    with torch.no_grad():
        said = result.network(data.images["depth"][:1]).embedding
        target = toys.ToyTeacher().encode_image(data.images["rgb"][:1]).embedding
    assert result.validation["loss"] == pytest.approx(float(((said - target) ** 2).mean()), abs=1e-6)


@pytest.mark.parametrize("by", ["loss", "accuracy", "agreement"])
def test_the_best_step_is_kept(tmp_path, by):
    network_at = {}
    job = toys.job(
        tmp_path,
        validation=held_out(),
        evaluation_text=toys.text(),
        select={"by": by, "every": 2},
        optimiser={"name": "sgd", "lr": 2.0},
        clip=None,
    )
    callbacks = Callbacks(
        validation=lambda step, values: network_at.update(
            {step: ({n: v.clone() for n, v in job.student.state_dict().items()}, values)}
        )
    )
    result = train_phase(toys.job(tmp_path, **{**vars_of(job), "callbacks": callbacks}))
    values = {step: found[by] for step, (_, found) in network_at.items()}
    assert sorted(values) == [2, 4, 6, 8, 10, 12, 14, 16, 18]
    best = min(values.values()) if by == "loss" else max(values.values())
    first = next(step for step, value in values.items() if value == best)
    assert result.selected == {"by": by, "step": first, "value": best}
    for name, value in network_at[first][0].items():
        assert torch.equal(load_file(result.weights)[name], value)
        assert torch.equal(result.network.state_dict()[name], value)


def vars_of(job):
    names = ("phase", "student", "validation", "evaluation_text")
    return {name: getattr(job, name) for name in names}


def test_by_default_each_epoch_is_validated_and_written(tmp_path):
    result = train_phase(toys.job(tmp_path, validation=held_out(), select={"by": "loss"}))
    lines = [json.loads(line) for line in result.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines if "validation" in line] == [6, 12, 18]
    assert {"accuracy", "agreement"}.isdisjoint(result.validation)


def test_the_last_step_is_validated_once_more_if_it_was_not(tmp_path):
    seen = []
    callbacks = Callbacks(validation=lambda step, values: seen.append(step))
    train_phase(toys.job(tmp_path, validation=held_out(), select={"by": "last", "every": 5}, callbacks=callbacks))
    assert seen == [5, 10, 15, 18]


def test_validation_does_not_change_training(tmp_path):
    def losses(folder, **changes):
        job = toys.job(folder, student=toys.network(dropout=0.5, batch_norm=True), **changes)
        lines = [json.loads(line) for line in train_phase(job).metrics.read_text().splitlines()]
        return [line["loss"] for line in lines if "loss" in line]

    often = losses(tmp_path / "often", validation=held_out(), select={"by": "last", "every": 1})
    assert losses(tmp_path / "never") == often


def test_the_averaged_weights_are_the_ones_validated(tmp_path):
    data = held_out()
    result = train_phase(toys.job(tmp_path, validation=data, evaluation_text=toys.text(), ema=0.7, epochs=1))
    expected = by_hand(result.network, data, toys.text(), data.labels)
    assert result.validation["loss"] == pytest.approx(expected["loss"], abs=1e-5)


def test_validation_in_batches_of_any_size_agrees(tmp_path):
    still = {"name": "sgd", "lr": 1e-30}
    values = [
        train_phase(
            toys.job(tmp_path / str(batch), validation=held_out(), epochs=None, steps=1, batch=batch, optimiser=still)
        ).validation["loss"]
        for batch in (3, 16)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


@pytest.mark.parametrize(
    ("by", "parts", "message"),
    [
        ("loss", {}, "train[0].select.by: 'loss' needs a validation split"),
        ("agreement", {"validation": held_out()}, "'agreement' needs label names"),
        ("accuracy", {"validation": held_out()}, "'accuracy' needs label names"),
        (
            "accuracy",
            {"validation": toys.ToyData(size=4, turns=1), "evaluation_text": toys.text()},
            "'accuracy' needs labels, and no validation sample has one",
        ),
    ],
)
def test_what_cannot_be_selected_by_is_refused_before_training(tmp_path, by, parts, message):
    with pytest.raises(RecipeError) as caught:
        train_phase(toys.job(tmp_path, select={"by": by}, **parts))
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_ties_keep_the_earlier_step():
    assert is_better("loss", 1.0, None)
    assert is_better("loss", 0.9, 1.0) and not is_better("loss", 1.0, 1.0)
    assert is_better("accuracy", 0.6, 0.5) and not is_better("accuracy", 0.5, 0.5)


def test_a_loss_across_the_batch_is_validated_too(tmp_path):
    losses = (PhaseLoss(name="contrast", weight=2.0, module=toys.Contrast()),)
    result = train_phase(toys.job(tmp_path, losses=losses, validation=held_out(), select={"by": "loss"}, epochs=1))
    assert result.validation["loss"] == pytest.approx(2 * result.validation["loss/contrast"])
