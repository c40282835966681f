"""The TensorRT backend: what it writes without TensorRT, in fp32, fp16 and int8, and, marked gpu, the plan itself."""

import os
import subprocess
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from small_networks import ConvNet, OddBatch, TwoSensors, answer, cosines, pixels, request, settled

from edgefw.contracts.backend import absence, float_precision, refuse_unready
from edgefw.contracts.quantizer import Calibration, refuse_pairs
from edgefw.errors import ExportError, MissingDependency, RecipeError
from edgefw.plugins.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeConfig
from edgefw.plugins.backends.tensorrt import TensorRtBackend, TensorRtConfig
from edgefw.plugins.backends.tensorrt_onnx import refuse_unreadable
from edgefw.plugins.backends.tensorrt_plan import Profile, absent, trtexec_line
from edgefw.plugins.quantizers.fp16 import Half, HalfConfig
from edgefw.plugins.quantizers.int8_dynamic import DynamicConfig, Int8Dynamic
from edgefw.plugins.quantizers.int8_latency_aware import Int8LatencyAware, LatencyAwareConfig
from edgefw.plugins.quantizers.int8_nncf import Int8Nncf, NncfConfig
from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig
from edgefw.plugins.quantizers.weight_only import WeightOnly, WeightOnlyConfig
from edgefw.registry.kinds import Kind
from edgefw.testing.checks_backend import CHECKS
from edgefw.testing.parametrize import make_checks

without_tensorrt = pytest.mark.skipif(absent() is None, reason="TensorRT and a GPU are here")


def backend(**options) -> TensorRtBackend:
    return TensorRtBackend(TensorRtConfig(**{"exporter": "legacy", **options}))


def run_onnx(file, **feeds) -> np.ndarray:
    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(None, feeds)[0]


@pytest.fixture(scope="module")
def network():
    return settled(ConvNet())


@pytest.fixture(scope="module")
def compiled(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tensorrt")
    return backend().compile(request(network, folder, keep_onnx=True))


def test_the_line_for_trtexec_names_all_shapes_and_no_removed_flag() -> None:
    line = trtexec_line(
        {"rgb": (3, 224, 224), "depth": (1, 96, 96)}, Profile(best=4, largest=16, tf32=False), "a.onnx", "b.plan"
    )
    assert line == (
        "trtexec --onnx=a.onnx --saveEngine=b.plan --minShapes=rgb:1x3x224x224,depth:1x1x96x96 "
        "--optShapes=rgb:4x3x224x224,depth:4x1x96x96 --maxShapes=rgb:16x3x224x224,depth:16x1x96x96 "
        "--stronglyTyped --noTF32 --skipInference"
    )
    relaxed = trtexec_line({"image": (3, 8, 8)}, Profile(best=1, largest=1, tf32=True), "a.onnx", "b.plan")
    assert "--noTF32" not in relaxed


@without_tensorrt
def test_without_tensorrt_the_onnx_file_and_the_line_are_written_and_it_says_so(network, compiled) -> None:
    folder = compiled.file.parent
    assert sorted(path.name for path in folder.iterdir()) == ["float.onnx", "model.onnx", "trtexec.sh"]
    assert compiled.details["plan"] is None
    assert compiled.onnx == folder / "float.onnx"
    line = compiled.details["trtexec"]
    assert line.startswith("trtexec --onnx=model.onnx --saveEngine=model.plan --minShapes=image:1x3x16x16 ")
    assert {entry.key: entry.value for entry in onnx.load(compiled.file).metadata_props}["trtexec"] == line
    assert absence(backend()).startswith("not run here: no ")
    with pytest.raises(MissingDependency, match="^model.onnx: not run here: no "):
        backend().open(compiled.file)


@without_tensorrt
def test_checks_of_an_opened_file_are_skipped_and_not_passed() -> None:
    outcomes = {}
    for check in make_checks(Kind.BACKEND, "tensorrt", {"exporter": "legacy"}):
        if check.function in CHECKS and check.name != "imports_no_torch":
            try:
                check()
                outcomes[check.name] = "passed"
            except pytest.skip.Exception as skipped:
                outcomes[check.name] = str(skipped)
    passed = {name for name, outcome in outcomes.items() if outcome == "passed"}
    assert passed == {
        "accepted_levels_are_declared",
        "artefact_lies_in_the_folder",
        "runners_run_at_the_same_time",  # it has no `open_many`, on any machine
    }
    assert all(outcome.startswith("not run here: no ") for name, outcome in outcomes.items() if name not in passed)


@without_tensorrt
def test_the_script_calls_trtexec_in_its_own_folder(compiled, tmp_path) -> None:
    program = tmp_path / "trtexec"
    program.write_text('#!/bin/sh\npwd; echo "$@"\n')
    program.chmod(0o755)
    script = compiled.file.parent / "trtexec.sh"
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run([str(script)], capture_output=True, text=True, check=True, env={"PATH": path}, cwd="/")
    where, words = done.stdout.splitlines()
    assert where == str(compiled.file.parent)
    assert f"trtexec {words}" == compiled.details["trtexec"]


@without_tensorrt
def test_the_onnx_file_gives_the_networks_embeddings_for_any_batch(network, compiled) -> None:
    for batch in (1, 2, 7):
        images = pixels(batch, seed=9)
        np.testing.assert_allclose(run_onnx(compiled.file, image=images), answer(network, images), rtol=1e-4, atol=1e-6)
    assert set(compiled.details["onnxruntime"]) == {"batch 1", "batch 4"}


@without_tensorrt
def test_fp16_is_in_the_graph_between_float32_ends(network, compiled, tmp_path) -> None:
    piece = backend(precision="fp16")
    assert float_precision(piece) == "fp16"
    artefact = piece.compile(request(network, tmp_path))
    model = onnx.load(artefact.file)
    weights = [entry for entry in model.graph.initializer if len(entry.dims) > 1]
    assert weights and all(entry.data_type == TensorProto.FLOAT16 for entry in weights)
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert artefact.file.stat().st_size < 0.7 * compiled.file.stat().st_size
    images = pixels(5, seed=4)
    found, expected = run_onnx(artefact.file, image=images), answer(network, images)
    relative = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert 1e-6 < relative.max() < 1e-2


class Otherwise(ConvNet):
    """Exports as a network whose embeddings are 0.5 % longer."""

    def forward(self, image):
        return super().forward(image) * (1.005 if torch.onnx.is_in_onnx_export() else 1.0)


@without_tensorrt
def test_the_tolerance_holds_on_the_way_to_onnx_too(tmp_path) -> None:
    network = settled(Otherwise())
    with pytest.raises(ExportError, match="no exporter gave a correct file"):
        backend().compile(request(network, tmp_path))
    assert backend(tolerance=0.01).compile(request(network, tmp_path)).file.is_file()


class Far(ConvNet):
    """A weight that fp16 does not have, and that float32 makes small again."""

    def forward(self, image):
        return super().forward(image + image * torch.full((3, 16, 16), 7e4) * 1e-9)


def test_numbers_beyond_fp16_are_refused(tmp_path) -> None:
    with pytest.raises(ExportError, match=r"'.+' has 70000, and fp16 ends at 65504. Use precision fp32.$"):
        backend(precision="fp16").compile(request(settled(Far()), tmp_path))


@without_tensorrt
def test_two_inputs_keep_their_names(tmp_path) -> None:
    network = settled(TwoSensors())
    artefact = backend(best_batch=2, largest_batch=8).compile(request(network, tmp_path))
    assert "--maxShapes=rgb:8x3x16x16,depth:8x3x16x16" in artefact.details["trtexec"]
    rgb, depth = pixels(3, seed=7), pixels(3, seed=8)
    found = run_onnx(artefact.file, depth=depth, rgb=rgb)
    np.testing.assert_allclose(found, answer(network, rgb, depth), rtol=1e-4, atol=1e-5)


def calibrated(source, target, **options):
    images = pixels(16, seed=3)
    calibration = Calibration(batches=lambda: iter([{"image": images}]), samples=len(images))
    return Int8Static(StaticConfig(**options), "export.quantizers[0]").quantize(source, target, calibration)


def asked(compiled, network, tmp_path, **options):
    """A quantizer's file of the network, and what compiles it."""
    folder = tmp_path / "int8"
    folder.mkdir()
    calibrated(compiled.onnx, folder / "float.onnx", **options)
    return folder / "float.onnx", replace(request(network, folder), quantised=False)


@without_tensorrt
def test_an_int8_file_keeps_its_grids_and_gets_float_biases(network, compiled, tmp_path) -> None:
    source, wanted = asked(compiled, network, tmp_path, activation="int8")
    artefact = backend().compile_onnx(source, wanted)
    assert artefact.file.name == "model.onnx" and source.is_file()
    model, before = onnx.load(artefact.file), onnx.load(source)
    assert artefact.details["float_biases"] > 0
    kinds = [entry.data_type for entry in model.graph.initializer]
    assert TensorProto.INT32 not in kinds and TensorProto.INT32 in [
        entry.data_type for entry in before.graph.initializer
    ]
    assert kinds.count(TensorProto.INT8) > 0
    images = pixels(6, seed=5)
    own, other = run_onnx(artefact.file, image=images), run_onnx(source, image=images)
    assert cosines(own, other).min() > 0.9999
    assert cosines(own, answer(network, images)).min() > 0.9


def test_grids_that_tensorrt_does_not_read_are_refused_with_what_to_set(network, compiled, tmp_path) -> None:
    if compiled.onnx is None:
        pytest.skip("a plan was built, without an ONNX file beside it")
    source, wanted = asked(compiled, network, tmp_path, activation="uint8")
    with pytest.raises(
        ExportError, match=r"round to uint8 or have a zero point .* Give the quantizer `activation: int8`"
    ):
        backend().compile_onnx(source, wanted)


@pytest.mark.parametrize("options", [{}, {"activation": "int8", "zero_point": "affine"}, {"zero_point": "symmetric"}])
def test_grids_that_tensorrt_does_not_read_are_refused_before_training(options) -> None:
    quantizers = {"export.quantizers[0]": Int8Static(StaticConfig(**options), "export.quantizers[0]")}
    with pytest.raises(ExportError) as caught:
        refuse_pairs(quantizers, [backend()])
    assert str(caught.value) == (
        "export.quantizers[0]: backend 'tensorrt': the quantizer 'int8-static' rounds to uint8 or has a zero point; TensorRT takes int8 around 0. "
        "Use int8-static with `activation: int8`."
    )
    refuse_pairs(quantizers, [OnnxRuntimeBackend(OnnxRuntimeConfig())])


def test_dynamic_int8_is_refused_before_training_and_what_may_fit_is_not() -> None:
    with pytest.raises(ExportError, match="the quantizer 'int8-dynamic' measures ranges as it runs"):
        refuse_pairs({"q": Int8Dynamic(DynamicConfig(), "q")}, [backend()])
    with pytest.raises(ExportError, match="the quantizer 'int8-nncf' rounds to uint8 or has a zero point"):
        refuse_pairs({"q": Int8Nncf(NncfConfig(), "q")}, [backend()])
    with pytest.raises(
        ExportError, match="'weight-only' writes MatMulNBits, which is not ONNX's own; TensorRT has no such"
    ):
        refuse_pairs({"q": WeightOnly(WeightOnlyConfig(), "q")}, [backend()])
    fitting = [
        Int8Static(StaticConfig(activation="int8"), "q"),
        Int8Nncf(NncfConfig(zero_point="symmetric"), "q"),
        Half(HalfConfig(), "q"),
    ]
    refuse_pairs({str(place): quantizer for place, quantizer in enumerate(fitting)}, [backend()])


def test_a_quantizer_that_times_files_is_refused_before_training_where_no_backend_runs_them() -> None:
    timing = {"export.quantizers[0]": Int8LatencyAware(LatencyAwareConfig(), "export.quantizers[0]", print)}
    with pytest.raises(RecipeError) as caught:
        refuse_pairs(timing, [backend()])
    assert str(caught.value) == (
        "export.quantizers[0]: 'int8-latency-aware' times ONNX files as they run on this machine, and no backend here "
        "(tensorrt) runs them as they are. Use int8-static, or a backend that runs ONNX files (onnxruntime with format: onnx)."
    )
    refuse_pairs(timing, [backend(), OnnxRuntimeBackend(OnnxRuntimeConfig())])


@pytest.mark.parametrize("options", [{"activation": "int8"}, {}, {"activation": "int8", "zero_point": "affine"}])
def test_what_a_quantizer_says_of_its_grids_is_what_its_file_has(network, compiled, tmp_path, options) -> None:
    if compiled.onnx is None:
        pytest.skip("a plan was built, without an ONNX file beside it")
    file, _ = asked(compiled, network, tmp_path, **options)
    try:
        refuse_unreadable(onnx.load(file))
        found = "even"
    except ExportError:
        found = "uneven"
    assert found == Int8Static(StaticConfig(**options), "q").activations


def test_dynamic_int8_is_refused(network, compiled, tmp_path) -> None:
    model = onnx.load(compiled.onnx)
    model.graph.node[0].op_type = "DynamicQuantizeLinear"
    onnx.save(model, tmp_path / "dynamic.onnx")
    with pytest.raises(ExportError, match="TensorRT has no DynamicQuantizeLinear. Use the quantizer int8-static."):
        backend().compile_onnx(tmp_path / "dynamic.onnx", request(network, tmp_path))


@pytest.mark.parametrize("domain", ["com.microsoft", "acme"])
def test_operators_that_are_not_onnxs_own_are_refused(network, compiled, tmp_path, domain) -> None:
    model = onnx.load(compiled.onnx)
    refuse_unreadable(model)
    model.graph.node[0].domain, model.graph.node[0].op_type = domain, "MatMulNBits"
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(ExportError, match="TensorRT has no MatMulNBits. Use the quantizer int8-static."):
        backend().compile_onnx(tmp_path / "foreign.onnx", request(network, tmp_path))


def test_a_file_that_is_not_the_network_is_refused(tmp_path) -> None:
    with pytest.raises(
        ExportError, match="backend 'tensorrt': no exporter gave a correct file. legacy exporter: the file"
    ):
        backend().compile(request(settled(OddBatch()), tmp_path))


def test_the_best_batch_is_at_most_the_largest() -> None:
    with pytest.raises(ValueError, match="best_batch 9 is larger than largest_batch 8"):
        TensorRtConfig(best_batch=9, largest_batch=8)


@without_tensorrt
def test_maps_are_not_made_by_a_backend_that_is_not_run_here() -> None:
    refuse_unready([backend()])
    with pytest.raises(
        ExportError, match="^export.heat: maps are made by the first backend, and 'tensorrt' is not run here"
    ):
        refuse_unready([backend()], heat=True)


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="tensorrt is installed")
def test_what_is_missing_is_named_with_where_it_comes_from() -> None:
    assert absent() == (
        "no tensorrt; it comes from NVIDIA's own package index (pip install --extra-index-url https://pypi.nvidia.com "
        '"edgefw[tensorrt]"), on a Jetson with JetPack'
    )


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="tensorrt is installed")
def test_the_page_quotes_the_reason_as_it_is_given() -> None:
    page = (Path(__file__).parents[3] / "docs/techniques/backends.md").read_text(encoding="utf-8")
    assert f"`not run here: {absent()}`" in page


@pytest.mark.gpu
@pytest.mark.skipif(absent() is not None, reason="needs TensorRT and a GPU")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_plan_gives_the_networks_embeddings_for_any_batch(network, tmp_path, precision) -> None:
    piece = backend(precision=precision, largest_batch=4)
    artefact = piece.compile(request(network, tmp_path))
    assert artefact.file.name == "model.plan"
    runner = piece.open(artefact.file)
    for batch in (1, 2, 7):
        images = pixels(batch, seed=9)
        found, expected = runner.run({"image": images}), answer(network, images)
        relative = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
        assert relative.max() < (1e-3 if precision == "fp32" else 1e-2)
