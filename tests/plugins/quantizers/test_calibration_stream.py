"""The calibration stream gives every row once, in order, a chunk at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefw.contracts.quantizer import Calibration
from edgefw.errors import ExportError
from edgefw.plugins.quantizers.calibration_stream import CalibrationStream, rechunked


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 10))
def test_rechunking_keeps_rows_order_and_size(sizes, chunk):
    rows = np.arange(sum(sizes))
    parts = np.split(rows, np.cumsum(sizes)[:-1]) if sizes else []
    chunks = list(rechunked(({"a": part, "b": -part} for part in parts), chunk))
    assert all(len(entry["a"]) == chunk for entry in chunks[:-1])
    assert all(0 < len(entry["a"]) <= chunk for entry in chunks)
    joined = np.concatenate([entry["a"] for entry in chunks]) if chunks else rows[:0]
    np.testing.assert_array_equal(joined, rows)
    assert all((entry["a"] == -entry["b"]).all() for entry in chunks)


def test_a_stride_ends_after_one_chunk_and_nothing_is_read_ahead():
    read = []

    def batches():
        for start in range(0, 6, 2):
            read.append(start)
            yield {"a": np.arange(start, start + 2)}

    stream = CalibrationStream(Calibration(batches=batches, samples=6), chunk=2)
    assert len(stream) == 3
    assert stream.get_next() is None
    for index in range(3):
        stream.set_range(index, index + 1)
        assert stream.get_next()["a"].tolist() == [2 * index, 2 * index + 1]
        assert stream.get_next() is None
        assert len(read) == index + 1


def test_what_is_wrong_with_the_data_names_no_technique():
    with pytest.raises(ExportError, match=r"^there is no calibration sample\."):
        CalibrationStream(Calibration(batches=lambda: iter(()), samples=0), chunk=2)
    stream = CalibrationStream(Calibration(batches=lambda: iter(()), samples=3), chunk=2)
    stream.set_range(0, 1)
    with pytest.raises(ExportError, match=r"^the calibration data end before the promised 3 samples"):
        stream.get_next()
