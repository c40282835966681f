"""Int8 by NNCF: parity, accuracy control with a clock, messages; NNCF's statistics stay off."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgefw.errors import ExportError
from edgefw.plugins.quantizers.int8_nncf import Int8Nncf, NncfConfig

pytestmark = pytest.mark.skipif(find_spec("nncf") is None, reason="nncf is not installed")


def quantised(source, values, calibration, **options):
    target = source.with_name("int8.onnx")
    report = Int8Nncf(NncfConfig(**options), "export.quantizers[0]").quantize(source, target, calibration(values))
    return target, report


def test_int8_stays_close_and_shrinks(conv_file, images, calibration, run, cosine, capsys):
    target, report = quantised(conv_file, images, calibration, min_cosine=0.9)
    assert cosine(run(conv_file, images), run(target, images)) > 0.98
    assert target.stat().st_size < 0.7 * conv_file.stat().st_size
    assert report.details["float_layers"] == []
    assert report.details["parts"] >= 2
    assert report.warnings == ()
    assert capsys.readouterr().out == ""


def test_weights_are_symmetric_int8_per_output_channel(conv_file, images, calibration):
    target, _ = quantised(conv_file, images, calibration, min_cosine=0.9, bias_correction=False)
    graph = onnx.load(target).graph
    stored = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    weights = {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(conv_file).graph.initializer}["w2"]
    body = next(node for node in graph.node if node.name == "body")
    maker = next(node for node in graph.node if node.output[0] == body.input[1])
    numbers, scales = (stored[name] for name in maker.input[:2])
    assert numbers.dtype == np.int8
    assert scales.shape == (64,)
    steps = scales[:, None, None, None]
    assert (np.abs(numbers * steps - weights) <= steps / 2 * 1.001).all()


def test_reported_cosine_is_the_one_of_the_file(conv_file, images, calibration, run):
    target, report = quantised(conv_file, images, calibration)
    rows = [values.astype(np.float64) for values in (run(conv_file, images), run(target, images))]
    one, other = (row / np.linalg.norm(row, axis=1, keepdims=True) for row in rows)
    assert report.details["cosine"] == pytest.approx((one * other).sum(axis=1).mean(), abs=1e-5)


def test_parts_go_back_to_float_until_the_cosine_suffices(conv_file, images, calibration):
    loose = quantised(conv_file, images, calibration, min_cosine=0.5)[1]
    wanted = 1 - (1 - loose.details["cosine"]) / 4
    _, report = quantised(conv_file, images, calibration, min_cosine=wanted)
    assert report.details["cosine"] >= wanted
    assert report.details["float_layers"]
    assert report.warnings == ()


def test_a_first_file_that_takes_longer_than_the_time_is_told(conv_file, images, calibration):
    _, report = quantised(conv_file, images, calibration, min_cosine=0.5, seconds=0.001)
    (told,) = report.warnings
    taken, first = report.details["seconds_taken"], report.details["seconds_first_file"]
    assert 0 < first <= taken
    assert told == (
        f"int8-nncf: took {taken:g} s, and `seconds` is 0.001: {first:g} s of it went to NNCF's own work on the first file, "
        "which is not cut short. A smaller export.calibration or bias_correction: false makes that shorter."
    )
    assert quantised(conv_file, images, calibration, min_cosine=0.5, seconds=0)[1].warnings == ()  # never searches


def test_no_time_keeps_the_int8_file_and_says_so(conv_file, images, calibration):
    _, report = quantised(conv_file, images, calibration, min_cosine=0.9999999, seconds=0)
    assert report.details["out_of_time"]
    assert report.details["float_layers"] == []
    assert "0 seconds were over; give more with `seconds`. This is the best file found." in report.warnings[0]


def test_transformers_keep_products_of_activations_close(attention_file, tokens, calibration, run, cosine):
    target, _ = quantised(attention_file, tokens, calibration, transformer=True, min_cosine=0.9)
    assert cosine(run(attention_file, tokens), run(target, tokens)) > 0.97


def test_excluded_nodes_stay_float(conv_file, images, calibration):
    target, _ = quantised(conv_file, images, calibration, exclude=["st*"], min_cosine=0.9)
    stored = {entry.name for entry in onnx.load(target).graph.initializer}
    assert "w1" in stored


def test_graph_that_stays_float_is_refused(conv_file, images, calibration):
    with pytest.raises(ExportError, match="NNCF made no layer int8"):
        quantised(conv_file, images, calibration, exclude=["*"])


def test_missing_calibration_data_are_refused(conv_file, images, calibration):
    with pytest.raises(ExportError, match="no calibration sample"):
        quantised(conv_file, images[:0], calibration)


def test_usage_statistics_stay_off():
    code = (
        "import sys, unittest.mock\n"
        "from edgefw.plugins.quantizers.nncf_graph import silent_nncf\n"
        "silent_nncf()\n"
        "telemetry = sys.modules['nncf.telemetry.wrapper'].telemetry\n"
        "assert isinstance(telemetry, unittest.mock.MagicMock)\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # a process that has not imported nncf before


def test_smoothed_layers_in_float_are_the_float_graph(attention_file, tokens, calibration, run):
    from edgefw.plugins.quantizers.float_again import parts, without
    from edgefw.plugins.quantizers.nncf_graph import Rounding, rounded_graph

    source = onnx.load(attention_file)
    how = Rounding(affine=True, correct_biases=True, transformer=True, excluded=[])
    rounded = rounded_graph(source, calibration(tokens), how)
    assert any("nncf_smooth_quant" in node.name for node in rounded.graph.node)
    target = attention_file.with_name("restored.onnx")
    onnx.save(without(rounded, source, parts(rounded)), target)
    np.testing.assert_allclose(run(target, tokens), run(attention_file, tokens), rtol=1e-4, atol=1e-5)


def test_file_that_is_all_float_again_is_refused(conv_file, images, calibration, monkeypatch):
    from edgefw.plugins.quantizers.float_again import Found, Search

    monkeypatch.setattr(Search, "run", lambda self, rounded: Found(model=self.source, cosine=1.0))
    with pytest.raises(ExportError, match="nothing is int8. Lower min_cosine, or remove the quantizer"):
        quantised(conv_file, images, calibration)
