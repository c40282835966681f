"""Images alone and in a batch, by hand."""

import numpy as np
import pytest

from edgefw.evaluation.batch_sizes import (
    BothWays,
    at_batch_1,
    batch_error,
    largest_error,
    largest_length_error,
    with_batch_1,
)

ALONE, BATCH = np.array([[3.0, 4.0], [6.0, 8.0]]), np.array([[3.0, 4.0], [6.0, 0.0]])
SAME = BothWays(alone=BATCH, batch=BATCH)
OTHER = BothWays(alone=ALONE, batch=BATCH)


def test_the_batch_error_is_the_largest_of_any_role():
    assert batch_error([SAME, OTHER]) == pytest.approx(8 / 6)
    assert batch_error([SAME]) == 0.0


def test_one_image_and_no_image_say_nothing_of_batches():
    one = BothWays(alone=ALONE[:1], batch=ALONE[:1] * 2)
    assert batch_error([one]) is None and batch_error([]) is None
    assert batch_error([one, SAME]) == 0.0


def test_what_is_not_a_number_is_the_largest():
    assert np.isnan(batch_error([SAME, BothWays(alone=ALONE * np.nan, batch=BATCH)]))


def test_numbers_at_batch_1_are_those_by_hand():
    found = at_batch_1(ALONE, BATCH)
    assert found["n"] == 2
    assert (found["cosine_min"], found["cosine_mean"]) == pytest.approx((0.6, 0.8))
    assert (found["relative_error_max"], found["relative_error_mean"]) == pytest.approx((8 / 6, 4 / 6))
    assert found["length_error"] == pytest.approx((1 + 10 / 6) / 2 - 1)


def test_they_stand_beside_those_of_the_batch_the_worst_sensor_on_top():
    batch = {"cosine_mean": 0.9, "modalities": {"rgb": {"cosine_mean": 0.9}, "depth": {"cosine_mean": 0.95}}}
    found = {"rgb": at_batch_1(BATCH, BATCH), "depth": at_batch_1(ALONE, BATCH)}
    record = with_batch_1(batch, found)
    assert record["cosine_mean"] == 0.9 and record["modalities"]["rgb"]["cosine_mean"] == 0.9
    assert record["modalities"]["rgb"]["batch_1"] == found["rgb"]
    assert record["batch_1"] == {key: value for key, value in found["depth"].items() if key != "n"}
    assert "batch_1" not in batch["modalities"]["rgb"]


def test_without_a_source_there_are_none():
    record = with_batch_1({"modalities": {"rgb": {"cosine_mean": None}}}, {})
    assert record["batch_1"] is None and record["modalities"]["rgb"]["batch_1"] is None


@pytest.mark.parametrize(
    ("batch", "alone", "largest"),
    [(0.1, {"relative_error_max": 0.2}, 0.2), (0.3, {"relative_error_max": 0.2}, 0.3), (0.3, None, 0.3), (None, None, None)],
)  # fmt: skip
def test_the_largest_error_is_that_of_either_batch_size(batch, alone, largest):
    assert largest_error({"relative_error_max": batch, "batch_1": alone}) == largest
    renamed = alone and {"length_error": alone["relative_error_max"]}
    assert largest_length_error({"length_error": batch, "batch_1": renamed}) == largest
