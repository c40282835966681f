"""Loader processes change the speed of a phase and nothing else."""

from __future__ import annotations

import multiprocessing

import pytest
import training_toys as toys

from edgefw.errors import DataError
from edgefw.training.phase import train_phase


def test_a_phase_with_workers_gives_the_same_bytes(tmp_path):
    keys = {"validation": toys.ToyData(size=8, turns=1), "epochs": 2}
    alone = train_phase(toys.job(tmp_path / "alone", student=toys.network(dropout=0.3), **keys))
    helped = train_phase(
        toys.job(tmp_path / "helped", student=toys.network(dropout=0.3), compute={"workers": 1}, **keys)
    )
    assert alone.weights.read_bytes() == helped.weights.read_bytes()
    assert alone.validation == helped.validation


def test_an_unreadable_image_ends_the_phase_and_its_workers(tmp_path):
    class Broken(toys.ToyData):
        def load(self, picks, epoch, pictures):
            if epoch == 1:
                raise DataError("frame-7.png: cannot be read.")
            return super().load(picks, epoch, pictures)

    with pytest.raises(DataError, match=r"^frame-7\.png: cannot be read\.$"):
        train_phase(toys.job(tmp_path, data=Broken(), compute={"workers": 1}))
    assert not multiprocessing.active_children()
