"""The OpenVINO backend: agreement with PyTorch and ONNX Runtime in every precision, int8 files, refusals, no torch."""

import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_networks import ConvNet, OddBatch, TwoSensors, answer, cosines, pixels, request, settled

from edgefw.contracts.backend import OnnxCompiler, float_precision
from edgefw.contracts.quantizer import Calibration
from edgefw.errors import BundleError, ExportError
from edgefw.plugins.backends.onnxruntime import open_session
from edgefw.plugins.backends.openvino import OpenVinoBackend, OpenVinoConfig
from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig
from edgefw.runtime.integer_products import products_are_exact

openvino = pytest.importorskip("openvino")


def backend(**options) -> OpenVinoBackend:
    return OpenVinoBackend(OpenVinoConfig(**{"exporter": "legacy", "threads": 1, **options}))


def offered(precision: str) -> bool:
    return precision in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.fixture(scope="module")
def network():
    return settled(ConvNet())


@pytest.fixture(scope="module")
def compiled(network, tmp_path_factory):
    piece = backend()
    return piece, piece.compile(request(network, tmp_path_factory.mktemp("f32"), keep_onnx=True))


@pytest.fixture(scope="module")
def int8_file(compiled, tmp_path_factory):
    """The float ONNX of the backend, quantised by int8-static; with products that this processor does not cut."""
    target = tmp_path_factory.mktemp("int8") / "int8.onnx"
    rows = pixels(12, seed=3)
    Int8Static(StaticConfig(reduce_range=not products_are_exact()), "q").quantize(
        compiled[1].onnx, target, Calibration(batches=lambda: iter([{"image": rows}]), samples=12)
    )
    return target


def test_the_ir_gives_the_networks_embeddings_at_every_batch_size(network, compiled):
    piece, artefact = compiled
    runner = piece.open(artefact.file)
    for batch in (1, 2, 3, 7, 1):
        images = pixels(batch, seed=9)
        np.testing.assert_allclose(runner.run({"image": images}), answer(network, images), rtol=1e-4, atol=1e-6)


def test_one_file_holds_what_openvinos_own_tools_read(network, compiled, tmp_path):
    file = compiled[1].file
    assert sorted(path.name for path in file.parent.iterdir()) == ["float.onnx", "model.ir.zip"]
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path)
        assert archive.getinfo("openvino.bin").compress_type == zipfile.ZIP_STORED
    model = openvino.Core().compile_model(str(tmp_path / "openvino.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    images = pixels(2, seed=4)
    np.testing.assert_allclose(model({"image": images})[0], answer(network, images), rtol=1e-4, atol=1e-6)


def test_artefact_says_what_computes_in_what(compiled):
    artefact = compiled[1]
    assert artefact.level == "compiled"
    assert set(artefact.details["layers"]) == {"f32"}
    assert artefact.details["check"]["batch 4"]["relative_error"] < 1e-4
    assert artefact.details["openvino"].startswith("20")


def test_without_a_quantizer_only_the_file_is_left(network, tmp_path):
    artefact = backend().compile(request(network, tmp_path))
    assert artefact.onnx is None
    assert [path.name for path in tmp_path.iterdir()] == ["model.ir.zip"]


@pytest.mark.parametrize(("precision", "word", "error"), [("bf16", "bf16", 0.03), ("f16", "fp16", 0.004)])
def test_lower_precisions_round_and_are_named_so(network, tmp_path, precision, word, error):
    if not offered(word.upper()):
        pytest.skip(f"this CPU does not compute in {precision}")
    piece = backend(precision=precision)
    assert float_precision(piece) == word
    artefact = piece.compile(request(network, tmp_path))
    assert artefact.details["layers"][precision] > 0
    images = pixels(6, seed=5)
    found, expected = piece.open(artefact.file).run({"image": images}), answer(network, images)
    relative = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert 1e-5 < relative.max() < error
    assert found.dtype == np.float32


def test_half_precision_weights_are_rounded_weights(network, tmp_path):
    piece = backend(weights="f16")
    artefact = piece.compile(request(network, tmp_path))
    with zipfile.ZipFile(artefact.file) as archive:
        stored = archive.getinfo("openvino.bin").file_size
    assert stored < 0.6 * sum(parameter.numel() * 4 for parameter in network.parameters())
    images = pixels(6, seed=5)
    found = piece.open(artefact.file).run({"image": images})
    np.testing.assert_allclose(found, answer(network, images), rtol=0.02, atol=1e-3)


def test_a_precision_the_cpu_lacks_is_refused_before_training_and_on_the_device(compiled):
    piece = backend(precision="bf16")

    class OldProcessor:
        def get_property(self, device, name):
            return ["FP32", "INT8"]

    assert piece._not_offered(OldProcessor()) == "precision bf16: this CPU computes in FP32. Use precision: f32."
    backend().check_compile()


def test_int8_files_run_in_int8_and_agree_with_onnx_runtime(network, compiled, int8_file, tmp_path):
    piece = compiled[0]
    assert isinstance(piece, OnnxCompiler)
    artefact = piece.compile_onnx(int8_file, request(network, tmp_path))
    images = pixels(16, seed=6)
    found = piece.open(artefact.file).run({"image": images})
    theirs = open_session(int8_file, 1).run(None, {"image": images})[0]
    assert cosines(found, theirs).min() > 0.999
    assert cosines(found, answer(network, images)).min() > 0.99
    assert artefact.details["layers"].get("u8", 0) + artefact.details["layers"].get("i8", 0) >= 2
    assert artefact.warnings == ()


def test_a_float_file_in_place_of_an_int8_one_is_told(network, compiled, tmp_path):
    artefact = compiled[0].compile_onnx(compiled[1].onnx, request(network, tmp_path))
    assert artefact.warnings == ("OpenVINO runs no layer in int8",)


def test_cut_products_are_told_with_what_to_do():
    from edgefw.plugins.backends.openvino_ir import cut_products

    assert cut_products(0.98, exact=True) == cut_products(0.9995, exact=False) == ()
    (said,) = cut_products(0.98539, exact=False)
    assert "no VNNI (cosine to the exact answers 0.9854). Set reduce_range: true of the quantizer" in said


def test_seven_bit_weights_are_never_blamed(tmp_path):
    from onnx import TensorProto, helper, numpy_helper, save

    from edgefw.plugins.backends.openvino_ir import _exact

    for largest, exact in ((64, True), (-65, products_are_exact()), (-128, products_are_exact())):
        weights = [numpy_helper.from_array(np.array([[1, largest]], np.int8), "w")]
        graph = helper.make_graph(
            [helper.make_node("Identity", ["w"], ["y"])],
            "g",
            [],
            [helper.make_tensor_value_info("y", TensorProto.INT8, [1, 2])],
            weights,
        )
        save(helper.make_model(graph), tmp_path / "a.onnx")
        assert _exact(tmp_path / "a.onnx") is exact


@pytest.mark.skipif(products_are_exact(), reason="this processor cuts no int8 products")
@pytest.mark.parametrize("narrow", [False, True])
def test_export_warns_where_this_processor_cuts_products_and_not_with_seven_bits(narrow, tmp_path):
    """Half of the channels have weights of one sign: sums that 16 bits do not hold."""
    network = settled(ConvNet())
    with torch.no_grad():
        network.body[3].weight[:24].fill_(0.1)
    (tmp_path / "float").mkdir()
    piece, rows = backend(), pixels(12, seed=3)
    source = piece.compile(request(network, tmp_path / "float", keep_onnx=True)).onnx
    calibration = Calibration(batches=lambda: iter([{"image": rows}]), samples=12)
    Int8Static(StaticConfig(reduce_range=narrow), "q").quantize(source, tmp_path / "int8.onnx", calibration)
    warnings = piece.compile_onnx(tmp_path / "int8.onnx", request(network, tmp_path)).warnings
    assert [("reduce_range" in said) for said in warnings] == ([] if narrow else [True])


def test_two_inputs_keep_their_names_and_order(tmp_path):
    network, piece = settled(TwoSensors()), backend()
    runner = piece.open(piece.compile(request(network, tmp_path)).file)
    assert tuple(runner.inputs) == ("rgb", "depth")
    for batch in (1, 3):
        rgb, depth = pixels(batch, seed=7), pixels(batch, seed=8)
        found = runner.run({"depth": depth, "rgb": rgb})
        np.testing.assert_allclose(found, answer(network, rgb, depth), rtol=1e-4, atol=1e-5)


def test_an_export_that_openvino_runs_differently_is_refused(tmp_path):
    with pytest.raises(ExportError, match="backend 'openvino'.*disagrees with the network at batch 1: cosine -1.0"):
        backend().compile(request(settled(OddBatch()), tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_tolerance_the_precision_cannot_keep_is_refused(network, tmp_path):
    if not offered("BF16"):
        pytest.skip("this CPU does not compute in bf16")
    with pytest.raises(ExportError, match="precision bf16: .* Use precision: f32, or a larger tolerance.$"):
        backend(precision="bf16", tolerance=1e-5).compile(request(network, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_threads_of_the_call_go_before_the_option(compiled):
    for asked, found in ((None, 1), (2, 2)):
        runner = compiled[0].open(compiled[1].file, asked)
        assert runner._single.get_compiled_model().get_property("INFERENCE_NUM_THREADS") == found


def test_damaged_files_give_one_message_each(compiled, tmp_path):
    good = compiled[1].file
    flipped = bytearray(good.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    for name, data in {"half": good.read_bytes()[:900], "flipped": bytes(flipped), "text": b"no model" * 99}.items():
        path = tmp_path / f"{name}.zip"
        path.write_bytes(data)
        with pytest.raises(BundleError, match=f"{name}.zip: damaged") as caught:
            compiled[0].open(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(BundleError, match="no such file"):
        compiled[0].open(tmp_path / "absent.zip")


def test_a_graph_that_lies_about_its_weights_is_refused(compiled, tmp_path):
    with zipfile.ZipFile(compiled[1].file) as good, zipfile.ZipFile(tmp_path / "short.zip", "w") as short:
        short.writestr("openvino.xml", good.read("openvino.xml"))
        short.writestr("openvino.bin", good.read("openvino.bin")[:100])
    with pytest.raises(BundleError, match=r"short.zip: OpenVINO cannot load it \(.+\). Is the file complete"):
        compiled[0].open(tmp_path / "short.zip")


def test_opening_imports_neither_torch_nor_onnx(compiled):
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'timm', 'transformers', 'open_clip'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from edgefw.plugins.backends.openvino import OpenVinoBackend, OpenVinoConfig\n"
        f"runner = OpenVinoBackend(OpenVinoConfig(threads=1)).open(Path({str(compiled[1].file)!r}))\n"
        "print(runner.run({'image': np.zeros((2, 3, 16, 16), np.float32)}).shape)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "(2, 8)", result.stderr


def test_a_network_that_rounds_is_compiled_too(network, compiled, tmp_path):
    artefact = compiled[0].compile(replace(request(network, tmp_path), quantised=True))
    assert artefact.details["check"]["batch 4"]["cosine"] > 0.9999
