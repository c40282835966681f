"""A file whose answers depend on the batch, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from edgefw.evaluation.batch_sizes import batch_error
from edgefw.verifying.batch_check import both_ways
from edgefw.verifying.reference_check import failing
from edgefw.verifying.sheets import Column, Sheet

ENTRY = SimpleNamespace(inputs={"image": [1, 1, 2]}, roles=("rgb",))


class Centring:
    """Takes a share of the batch's mean off, as batch norm in training mode does; refuses batches above a size."""

    def __init__(self, share, most=99):
        self.share, self.most = share, most

    def run(self, inputs):
        rows = inputs["image"].reshape(len(inputs["image"]), -1)
        if len(rows) > self.most:
            raise RuntimeError("the batch is frozen\nmore")
        return rows - self.share * rows.mean(axis=0)


def sheet(*rows, role="rgb"):
    inputs = {role: [np.array(row, np.float32).reshape(1, 1, 2) for row in rows]}
    return Sheet(role=role, columns={"net": Column()}, inputs=inputs)


def errors(runner, *sheets):
    said, failed = both_ways({"net": ENTRY}, {"net": runner}, sheets)
    return {name: batch_error(own.values()) for name, own in said.items()}, failed


def test_the_largest_error_of_an_image_in_a_batch_is_that_by_hand():
    kept = sheet([3.0, 4.0], [6.0, 8.0])
    found, failed = errors(Centring(0.5), kept)
    alone, whole = np.array([[1.5, 2.0], [3.0, 4.0]]), np.array([[0.75, 1.0], [3.75, 5.0]])
    by_hand = np.linalg.norm(alone - whole, axis=1) / np.linalg.norm(whole, axis=1)
    assert found["net"] == pytest.approx(by_hand.max()) and failed == {}
    assert errors(Centring(0.0), kept) == ({"net": 0.0}, {})


def test_one_image_says_nothing_of_batches():
    assert errors(Centring(0.5), sheet([3.0, 4.0])) == ({"net": None}, {})


def test_what_is_not_a_number_is_the_largest():
    assert np.isnan(
        errors(Centring(0.0), sheet([3.0, 4.0], [np.nan, 1.0]), sheet([1.0, 1.0], [2.0, 1.0], role="depth"))[0]["net"]
    )


def test_a_file_that_fails_on_the_batch_has_the_reason():
    found, failed = errors(Centring(0.0, most=1), sheet([3.0, 4.0], [6.0, 8.0]))
    assert found == {}
    assert failed == {"net": "fails on a batch of 2 (the batch is frozen)"}


def test_a_file_of_another_width_alone_has_the_reason():
    class Doubling(Centring):
        def run(self, inputs):
            rows = super().run(inputs)
            return np.repeat(rows, 2, axis=1) if len(rows) == 1 else rows

    _, failed = errors(Doubling(0.0), sheet([3.0, 4.0], [6.0, 8.0]))
    assert failed == {"net": "gives 4 numbers for an image alone, 2 for each of a batch"}


def test_what_is_said_of_each_image_alone_is_kept_by_role():
    said, _ = both_ways({"net": ENTRY}, {"net": Centring(0.5)}, [sheet([3.0, 4.0], [6.0, 8.0])])
    assert said["net"]["rgb"].alone == pytest.approx(np.array([[1.5, 2.0], [3.0, 4.0]]))
    assert said["net"]["rgb"].batch == pytest.approx(np.array([[0.75, 1.0], [3.75, 5.0]]))


def test_files_of_another_width_cannot_be_compared_and_say_so():
    class Wide(Centring):
        def run(self, inputs):
            return np.repeat(super().run(inputs), 2, axis=1)

    runners = {"a": Centring(0.0), "b": Wide(0.0), "c": Centring(0.0, most=1)}
    entries = [SimpleNamespace(name=name, inputs=ENTRY.inputs) for name in ("closed", "a", "b", "c")]
    assert failing(SimpleNamespace(manifest=SimpleNamespace(artefacts=entries)), runners, 1) == {
        "b": "gives embeddings of shape (4,), a of (2,)",
        "c": "fails on a batch of 2 (the batch is frozen)",
    }
