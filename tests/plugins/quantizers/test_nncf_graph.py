"""Graphs are judged by the cosine of their embeddings on calibration samples, on all of them or a few."""

import numpy as np
import onnx
import pytest

from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig
from edgefw.plugins.quantizers.nncf_graph import Judge


@pytest.fixture
def rounded(conv_file, images, calibration, tmp_path):
    Int8Static(StaticConfig(), "q").quantize(conv_file, tmp_path / "int8.onnx", calibration(images))
    return tmp_path / "int8.onnx"


def mean_cosine(one, other):
    one, other = (rows.astype(np.float64) for rows in (one, other))
    return float(((one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)).mean())


def test_source_is_its_own_equal(conv_file, images, calibration):
    judge = Judge(onnx.load(conv_file), calibration(images), 8)
    assert judge.all(onnx.load(conv_file)) == pytest.approx(1.0)
    assert judge.some(onnx.load(conv_file)) == pytest.approx(1.0)


def test_cosines_are_those_of_all_samples_and_of_a_few_from_first_to_last(conv_file, rounded, images, calibration, run):
    judge, model = Judge(onnx.load(conv_file), calibration(images), 8), onnx.load(rounded)
    expected, found = run(conv_file, images), run(rounded, images)
    assert judge.all(model) == pytest.approx(mean_cosine(expected, found), abs=1e-6)
    few = [0, 5, 11, 16, 22, 27, 33, 39]  # of 40
    assert judge.some(model) == pytest.approx(mean_cosine(expected[few], found[few]), abs=1e-6)


def test_few_samples_are_held_and_not_read_again(conv_file, images, calibration):
    passes = []
    plain = calibration(images)

    def counted():
        passes.append(1)
        return plain.batches()

    judge = Judge(onnx.load(conv_file), type(plain)(batches=counted, samples=plain.samples), 8)
    before = len(passes)
    judge.some(onnx.load(conv_file))
    assert len(passes) == before == 2
