"""An interrupted phase goes on to the same bytes, wherever it was interrupted."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
import training_toys as toys

from edgefw.errors import TrainingError
from edgefw.training.job import Callbacks
from edgefw.training.phase import PhaseLoss, train_phase

STEPS = 18  # 48 samples, batches of 8, 3 epochs


class Interrupted(Exception):
    """Stands for a signal."""


def everything(folder, **changes):
    """A phase with every kind of state: dropout, batch norm, a trained temperature, an adversary, an average."""
    losses = (
        PhaseLoss(name="square", weight=1.0, module=toys.MeanSquare()),
        PhaseLoss(name="contrast", weight=0.5, module=toys.Contrast()),
        PhaseLoss(name="domain", weight=0.1, module=domain()),
    )
    keys = {
        "losses": losses,
        "student": toys.network(dropout=0.3, batch_norm=True),
        "ema": 0.8,
        "validation": toys.ToyData(size=20, seed=3, turns=1),
        "select": {"by": "loss", "every": 4},
        "compute": {"checkpoint_every": 5},
    }
    return toys.job(folder, **{**keys, **changes})


def domain():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return toys.Domain()


def stop_at(step):
    def after(done, metrics):
        if done == step:
            raise Interrupted

    return Callbacks(step=after)


def lines(result):
    """Metrics without wall times."""
    found = [json.loads(line) for line in result.metrics.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in found]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    result = train_phase(everything(tmp_path_factory.mktemp("whole")))
    return result.weights.read_bytes(), lines(result), result


@pytest.mark.parametrize("step", [1, 5, 6, 9, 10, 17, 18])
def test_resumed_weights_and_metrics_are_equal_byte_for_byte(tmp_path, uninterrupted, step):
    with pytest.raises(Interrupted):
        train_phase(everything(tmp_path, callbacks=stop_at(step)))
    torch.manual_seed(99)  # whatever happened in between
    result = train_phase(everything(tmp_path, resume=True))
    weights, log, whole = uninterrupted
    assert result.weights.read_bytes() == weights
    assert lines(result) == log
    assert result.selected == whole.selected and result.validation == whole.validation


def test_several_interruptions_change_nothing(tmp_path, uninterrupted):
    for step in (2, 7, 8, 12, 16):
        with pytest.raises(Interrupted):
            train_phase(everything(tmp_path, resume=True, callbacks=stop_at(step)))
    result = train_phase(everything(tmp_path, resume=True))
    assert result.weights.read_bytes() == uninterrupted[0]
    assert lines(result) == uninterrupted[1]


def test_a_half_written_checkpoint_is_not_used_and_is_removed(tmp_path, uninterrupted):
    with pytest.raises(Interrupted):
        train_phase(everything(tmp_path, callbacks=stop_at(12)))
    left = tmp_path / "checkpoint" / ".step-00000015.4711.unfinished"
    left.mkdir()
    (left / "state.pt").write_bytes(b"half")
    result = train_phase(everything(tmp_path, resume=True))
    assert result.weights.read_bytes() == uninterrupted[0]
    assert not left.exists()


def test_without_resume_a_phase_starts_anew(tmp_path, uninterrupted):
    with pytest.raises(Interrupted):
        train_phase(everything(tmp_path, callbacks=stop_at(12)))
    seen = []
    result = train_phase(
        everything(tmp_path, callbacks=Callbacks(started=lambda steps, first: seen.append((steps, first))))
    )
    assert seen == [(STEPS, 0)]
    assert result.weights.read_bytes() == uninterrupted[0]


def test_a_finished_phase_is_not_trained_again(tmp_path, uninterrupted):
    first = train_phase(everything(tmp_path))
    teacher = toys.ToyTeacher()
    seen = []
    callbacks = Callbacks(step=lambda *_: seen.append(1))
    again = train_phase(everything(tmp_path, resume=True, teacher=teacher, callbacks=callbacks))
    assert seen == [] and again.weights.read_bytes() == uninterrupted[0]
    assert again.to_json() == first.to_json()
    for name, value in first.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], value)
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize("name", ["done.json", "student.safetensors"])
def test_a_finished_phase_with_a_damaged_file_is_trained_again(tmp_path, uninterrupted, name):
    train_phase(everything(tmp_path))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:20])
    assert train_phase(everything(tmp_path, resume=True)).weights.read_bytes() == uninterrupted[0]


def test_a_checkpoint_of_another_batch_size_is_refused(tmp_path):
    with pytest.raises(Interrupted):
        train_phase(everything(tmp_path, callbacks=stop_at(12)))
    with pytest.raises(TrainingError, match="belongs to another training .phase was .*without --resume"):
        train_phase(everything(tmp_path, resume=True, batch=4))


def test_a_damaged_checkpoint_is_named(tmp_path):
    with pytest.raises(Interrupted):
        train_phase(everything(tmp_path, callbacks=stop_at(12)))
    state = tmp_path / "checkpoint" / "step-00000010" / "state.pt"
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 1
    state.write_bytes(bytes(data))
    with pytest.raises(TrainingError, match="step-00000010: the checkpoint is damaged .its checksum is another one"):
        train_phase(everything(tmp_path, resume=True))


def test_only_the_newest_checkpoint_is_kept(tmp_path):
    with pytest.raises(Interrupted):
        train_phase(everything(tmp_path, callbacks=stop_at(16)))
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["step-00000015"]


def test_by_default_an_epoch_is_a_checkpoint(tmp_path):
    with pytest.raises(Interrupted):
        train_phase(everything(tmp_path, compute={}, callbacks=stop_at(13)))
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["step-00000012"]


def test_global_random_state_and_threads_are_left_alone(tmp_path):
    job = toys.job(tmp_path, student=toys.network(dropout=0.5), epochs=1, compute={"threads": 1})
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state(), torch.get_num_threads()
    train_phase(job)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.get_num_threads() == before[3]


def test_dropout_depends_on_the_seed_and_not_on_what_happened_before(tmp_path):
    results = []
    for number, seed in enumerate((1, 1, 2)):
        torch.manual_seed(number)
        job = toys.job(tmp_path / str(number), student=toys.network(dropout=0.5), epochs=1, seed=seed)
        results.append(train_phase(job).weights.read_bytes())
    assert results[0] == results[1] != results[2]
