"""Images alone and in a batch, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefw.evaluation.batch_sizes import (
    MOST_ALONE,
    BothWays,
    Truth,
    at_batch_1,
    batch_error,
    drop_at_batch_1,
    largest_error,
    largest_length_error,
    least_cosine,
    spread,
    with_batch_1,
)

ALONE, BATCH = np.array([[3.0, 4.0], [6.0, 8.0]]), np.array([[3.0, 4.0], [6.0, 0.0]])
SAME = BothWays(alone=BATCH, batch=BATCH)
OTHER = BothWays(alone=ALONE, batch=BATCH)
UNKNOWN = np.array([-1, -1])


def larger(rows):
    """Label 1 where the second number is the larger one."""
    return rows.argmax(axis=1)


ROWS, COSINES = np.array([2, 0]), np.array([0.9, np.nan, 1.0])
TOLD = Truth(rows=ROWS, source=BATCH, labels=np.array([1, 0]), predict=larger)
UNTOLD = Truth(rows=ROWS, source=BATCH, labels=UNKNOWN)


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
    found = at_batch_1(OTHER, TOLD, COSINES)
    assert found["n"] == 2 and found["top1_agreement"] == 0.5
    assert found["cosine_lost"] == pytest.approx(0.95 - 0.8)
    assert (found["cosine_min"], found["cosine_mean"]) == pytest.approx((0.6, 0.8))
    assert (found["relative_error_max"], found["relative_error_mean"]) == pytest.approx((8 / 6, 4 / 6))
    assert found["length_error"] == pytest.approx((1 + 10 / 6) / 2 - 1)


def test_they_stand_beside_those_of_the_batch_the_worst_sensor_on_top():
    batch = {"cosine_mean": 0.9, "modalities": {"rgb": {"cosine_mean": 0.9}, "depth": {"cosine_mean": 0.95}}}
    said, truths = {"rgb": SAME, "depth": OTHER}, {"rgb": TOLD, "depth": TOLD}
    found = {role: at_batch_1(own, truths[role], COSINES) for role, own in said.items()}
    record = with_batch_1(batch, said, truths, dict.fromkeys(said, COSINES))
    assert record["cosine_mean"] == 0.9 and record["modalities"]["rgb"]["cosine_mean"] == 0.9
    assert record["modalities"]["rgb"]["batch_1"] == found["rgb"]
    drop = record["batch_1"].pop("drop")
    assert (drop["points"], drop["modality"], drop["n"], drop["metric"]) == (50.0, "depth", 2, "top1")
    assert record["batch_1"] == {key: value for key, value in found["depth"].items() if key != "n"}
    assert "batch_1" not in batch["modalities"]["rgb"]


def test_without_a_source_there_are_none():
    record = with_batch_1({"modalities": {"rgb": {"cosine_mean": None}}}, {}, {}, {})
    assert record["batch_1"] is None and record["modalities"]["rgb"]["batch_1"] is None


def test_without_texts_there_is_no_agreement_and_without_labels_no_drop():
    assert at_batch_1(OTHER, UNTOLD, COSINES)["top1_agreement"] is None
    assert drop_at_batch_1({"rgb": OTHER}, {"rgb": UNTOLD}) is None
    assert (
        drop_at_batch_1({"rgb": OTHER}, {"rgb": Truth(rows=ROWS, source=BATCH, labels=UNKNOWN, predict=larger)}) is None
    )
    wrong = BothWays(alone=BATCH[:, ::-1], batch=BATCH)
    assert at_batch_1(wrong, TOLD, COSINES)["top1_agreement"] == 0.0


def test_the_drop_is_that_of_the_labelled_images():
    truth = Truth(rows=ROWS, source=BATCH, labels=np.array([-1, 0]), predict=larger)
    found = drop_at_batch_1({"rgb": OTHER}, {"rgb": truth})
    assert (found.points, found.n) == (100.0, 1)


@pytest.mark.parametrize(
    ("rows", "least"),
    [
        ([(0.99, 0.02)], 0.97),
        ([(0.99, -0.02)], 0.99),
        ([(0.991, 0.0), (0.999, 0.006)], 0.991),
        ([(0.99, None), (None, None)], 0.99),
        ([(None, None)], None),
        ([], None),
    ],
)
def test_the_least_cosine_is_that_of_one_sensor_at_one_batch_size(rows, least):
    modalities = {
        str(number): {"cosine_mean": mean, "batch_1": None if lost is None else {"cosine_lost": lost}}
        for number, (mean, lost) in enumerate(rows)
    }
    assert least_cosine({"modalities": modalities}) == (least if least is None else pytest.approx(least))


def test_an_image_that_is_not_a_number_in_its_batch_loses_nothing_by_being_alone():
    assert at_batch_1(SAME, Truth(rows=ROWS - 1, source=BATCH, labels=UNKNOWN), COSINES)["cosine_lost"] < 0


@given(st.integers(0, 5000))
def test_images_are_spread_over_all_of_them(count):
    found = spread(count)
    assert len(found) == min(count, MOST_ALONE)
    assert not count or (found[0], found[-1]) == (0, count - 1 if count > 1 else 0)
    assert (np.diff(found) >= count // MOST_ALONE).all() and (np.diff(found) > 0).all()


@pytest.mark.parametrize(
    ("batch", "alone", "largest"),
    [(0.1, {"relative_error_max": 0.2}, 0.2), (0.3, {"relative_error_max": 0.2}, 0.3), (0.3, None, 0.3), (None, None, None)],
)  # fmt: skip
def test_the_largest_error_is_that_of_either_batch_size(batch, alone, largest):
    assert largest_error({"relative_error_max": batch, "batch_1": alone}) == largest
    renamed = alone and {"length_error": alone["relative_error_max"]}
    assert largest_length_error({"length_error": batch, "batch_1": renamed}) == largest
