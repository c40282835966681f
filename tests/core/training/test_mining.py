"""Phases with a sampler that mines: tables, reports, short and empty epochs, and going on where a run stopped."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import training_toys as toys
from torch import nn

from edgefw import BuildContext
from edgefw.contracts.sampler import Pick
from edgefw.errors import DataError, RecipeError
from edgefw.plugins.losses.triplet import TripletConfig
from edgefw.plugins.losses.triplet import build as build_triplet
from edgefw.plugins.samplers.semi_hard_triplet import SemiHardTripletConfig
from edgefw.plugins.samplers.semi_hard_triplet import build as build_sampler
from edgefw.training.job import Callbacks, PhaseLoss
from edgefw.training.optimisers import learning_rate
from edgefw.training.phase import train_phase


class Interrupted(Exception):
    """Stands for a signal."""


class Shortened(toys.ToySampler):
    """Mines nothing: gives as many batches as it is told, epoch by epoch, and says how many."""

    needs_embeddings = True

    def __init__(self, lengths, unit_embeddings=True):
        self.lengths = lengths
        self.unit_embeddings = unit_embeddings
        self.tables = []
        self.given = 0

    def batches(self, table, batch, epoch, seed):
        self.tables.append(table.embedding[:].copy())
        self.given = self.lengths[epoch]
        for picks, _ in zip(super().batches(table, batch, epoch, seed), range(self.given)):
            yield picks

    def report(self):
        return {"batches": self.given}


def triplets(folder, **changes):
    """A phase of real mining and the real triplet loss on toys: groups, missing depth, dropout."""
    made = {
        "sampler": build_sampler(SemiHardTripletConfig(margin=0.4), BuildContext()),
        "losses": (PhaseLoss(name="triplet", weight=1.0, module=build_triplet(TripletConfig(), BuildContext())),),
        "data": toys.ToyData(labels=True, missing={"depth": [3, 5, 8, 13, 21]}),
        "student": toys.network(dropout=0.2),
        "compute": {"checkpoint_every": 4},
        "batch": 4,
    }
    return toys.job(folder, **{**made, **changes})


def lines(result):
    """Metrics without wall times."""
    found = [json.loads(line) for line in result.metrics.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in found]


def stop_at(step):
    def after(done, metrics):
        if done == step:
            raise Interrupted

    return Callbacks(step=after)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train_phase(triplets(tmp_path_factory.mktemp("whole")))


@pytest.mark.parametrize("after", [1, 4, 5])
def test_mined_triplets_resume_byte_for_byte_wherever_the_last_checkpoint_lies(tmp_path, whole, after):
    first = next(row["step"] for row in lines(whole) if "losses" in row and row["epoch"] == 2)
    with pytest.raises(Interrupted):
        train_phase(triplets(tmp_path, callbacks=stop_at(first - 1 + after)))
    torch.manual_seed(99)
    again = train_phase(triplets(tmp_path, resume=True))
    assert again.weights.read_bytes() == whole.weights.read_bytes()
    assert lines(again) == lines(whole)


def test_tables_are_kept_until_a_checkpoint_lies_behind_them(tmp_path):
    def made(**changes):
        sampler = Shortened([6, 6, 6])
        return toys.job(tmp_path, sampler=sampler, compute={"checkpoint_every": 4}, **changes)

    def tables():
        return sorted(path.name for path in (tmp_path / "mining").iterdir())

    with pytest.raises(Interrupted):
        train_phase(made(callbacks=stop_at(7)))  # epoch 2, with the checkpoint of step 4 in epoch 1
    assert tables() == ["epoch-00000.npy", "epoch-00001.npy"]
    with pytest.raises(Interrupted):
        train_phase(made(resume=True, callbacks=stop_at(5)))  # what lies ahead of the checkpoint is made again
    assert tables() == ["epoch-00000.npy"]
    with pytest.raises(Interrupted):
        train_phase(made(resume=True, callbacks=stop_at(9)))  # the checkpoint of step 8 is in epoch 2
    assert tables() == ["epoch-00001.npy"]
    train_phase(made(resume=True))
    assert not (tmp_path / "mining").exists()


def test_the_report_of_the_sampler_stands_in_the_metrics_once_per_epoch(whole):
    reports = [row for row in lines(whole) if "sampler" in row]
    assert [row["epoch"] for row in reports] == [1, 2, 3]
    for row in reports:
        counts = row["sampler"]
        assert counts["samples"] == 48
        assert counts["anchors"] + counts["without_positive"] + counts["without_negative"] == 48
        steps = [line for line in lines(whole) if "losses" in line and line["epoch"] == row["epoch"]]
        assert len(steps) == counts["anchors"] // 4 and steps[0]["step"] == row["step"] + 1


def test_callbacks_hear_the_report(tmp_path):
    heard = []
    callbacks = Callbacks(sampler=lambda step, values: heard.append((step, values)))
    train_phase(toys.job(tmp_path, sampler=Shortened([6, 2, 3]), callbacks=callbacks))
    assert heard == [(0, {"batches": 6.0}), (6, {"batches": 2.0}), (8, {"batches": 3.0})]


def test_short_epochs_begin_where_full_ones_would_on_the_schedule(tmp_path):
    job = toys.job(tmp_path, sampler=Shortened([6, 2, 3]))
    rates = [row["lr"] for row in lines(train_phase(job)) if "lr" in row]
    expected = [learning_rate(job.phase.optimiser, at, 18) for at in (*range(6), 6, 7, 12, 13, 14)]
    assert rates == expected


def test_an_epoch_without_anything_is_passed_over_and_the_last_step_is_logged(tmp_path):
    job = toys.job(tmp_path, sampler=Shortened([6, 0, 2]), compute={"log_every": 100})
    result = train_phase(job)
    assert (result.steps, result.epochs) == (8, 3)
    assert [(row["step"], row["epoch"]) for row in lines(result) if "losses" in row] == [(1, 1), (8, 3)]
    assert [row["sampler"]["batches"] for row in lines(result) if "sampler" in row] == [6, 0, 2]


def test_a_phase_may_end_with_empty_epochs(tmp_path):
    result = train_phase(toys.job(tmp_path, sampler=Shortened([6, 0, 0])))
    assert (result.steps, result.epochs) == (6, 3)


def test_empty_epochs_are_an_error_where_steps_are_counted(tmp_path):
    job = toys.job(tmp_path, sampler=Shortened([6, 0]), epochs=None, steps=10)
    with pytest.raises(DataError, match="phase toy: the sampler formed no full step in epoch 2"):
        train_phase(job)


def test_tables_hold_unit_embeddings_or_those_of_the_student(tmp_path):
    data, start = toys.ToyData(noise=0.0), toys.network()
    with torch.no_grad():
        raw = start.eval()(data.images["rgb"]).embedding
    for unit in (True, False):
        sampler = Shortened([1, 1, 1], unit_embeddings=unit)
        train_phase(toys.job(tmp_path / str(unit), sampler=sampler, data=data, epochs=1))
        expected = nn.functional.normalize(raw, dim=-1) if unit else raw
        np.testing.assert_allclose(sampler.tables[0], expected.numpy(), atol=1e-6, rtol=1e-5)


def test_a_sampler_without_labels_says_so_before_anything_is_done(tmp_path):
    with pytest.raises(DataError, match="'semi-hard-triplet': no sample has a label"):
        train_phase(triplets(tmp_path, data=toys.ToyData()))


def test_weights_cannot_be_selected_by_a_loss_that_needs_groups(tmp_path):
    validation = toys.ToyData(size=20, seed=3, turns=1)
    with pytest.raises(RecipeError, match=r"select.by: 'loss' cannot be measured .*: triplet compares groups.*'last'"):
        train_phase(triplets(tmp_path, validation=validation, select={"by": "loss"}))


def test_a_validation_leaves_out_what_needs_groups(tmp_path):
    validation = toys.ToyData(size=20, seed=3, turns=1)
    texts = toys.text()
    alone = triplets(tmp_path / "alone", validation=validation, evaluation_text=texts, select={"by": "agreement"})
    assert not [name for name in train_phase(alone).validation if name.startswith("loss")]
    square = PhaseLoss(name="square", weight=2.0, module=toys.MeanSquare())
    both = triplets(tmp_path / "both", validation=validation, losses=(*alone.losses, square), select={"by": "loss"})
    values = train_phase(both).validation
    assert "loss/triplet" not in values and values["loss"] == pytest.approx(2 * values["loss/square"])


def test_triplets_bring_samples_of_a_label_together(tmp_path):
    """The toys' images are noise: only the triplets can tell the labels apart."""
    data = toys.ToyData(labels=True, noise=0.0)
    job = triplets(tmp_path, data=data, student=toys.network(), epochs=8, compute={})
    picks = [Pick(index=index) for index in range(48)]
    images = data.load(picks, 0, False).images["rgb"]

    def gap(network):
        with torch.no_grad():
            unit = nn.functional.normalize(network.eval()(images).embedding, dim=-1)
        same = torch.from_numpy(data.labels[:, None] == data.labels[None, :])
        cosine = unit @ unit.T
        return float(cosine[same].mean() - cosine[~same].mean())

    before = gap(toys.network())
    assert gap(train_phase(job).network) > before + 0.1
