"""ORT-format files of the onnxruntime backend: the same embeddings, the operators that a minimal build needs, int8 as well."""

from contextlib import nullcontext

import numpy as np
import onnx
import onnxruntime
import pytest
from small_networks import ConvNet, TwoSensors, answer, cosines, pixels, request, settled
from torch import nn

import edgefw
from edgefw.contracts.backend import LayerShower, OnnxCompiler, WorkCounter
from edgefw.contracts.quantizer import Calibration, refuse_pairs
from edgefw.errors import BundleError, ExportError
from edgefw.plugins.backends import ort_format
from edgefw.plugins.backends.onnx_work import int8_share
from edgefw.plugins.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeConfig, build, open_session
from edgefw.plugins.quantizers.fp16 import Half, HalfConfig
from edgefw.plugins.quantizers.int8_dynamic import DynamicConfig, Int8Dynamic
from edgefw.plugins.quantizers.int8_nncf import Int8Nncf, NncfConfig
from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig
from edgefw.plugins.quantizers.weight_only import WeightOnly, WeightOnlyConfig
from edgefw.runtime.integer_products import products_are_exact


def backend(**options):
    config = OnnxRuntimeConfig(**{"exporter": "legacy", "threads": 1, "format": "ort", **options})
    return build(config, edgefw.BuildContext())


@pytest.fixture(scope="module")
def network():
    return settled(ConvNet())


@pytest.fixture(scope="module")
def compiled(network, tmp_path_factory):
    piece = backend()
    return piece, piece.compile(request(network, tmp_path_factory.mktemp("ort"), keep_onnx=True))


def test_the_file_gives_the_networks_embeddings_for_any_batch(network, compiled) -> None:
    piece, artefact = compiled
    assert (artefact.file.name, artefact.level) == ("model.ort", "compiled")
    runner = piece.open(artefact.file)
    for batch in (1, 2, 7):
        images = pixels(batch, seed=9)
        np.testing.assert_allclose(runner.run({"image": images}), answer(network, images), rtol=1e-4, atol=1e-6)


def test_operators_of_a_minimal_build_lie_beside_it_and_in_the_record(compiled) -> None:
    folder = compiled[1].file.parent
    assert sorted(path.name for path in folder.iterdir()) == ["float.onnx", "model.ort", "required_operators.config"]
    lines = compiled[1].details["operators"]
    named = {name for line in lines for name in line.split(";")[2].split(",")}
    assert named & {"Conv", "FusedConv"} and named & {"Gemm", "FusedGemm"} and "ReduceMean" in named
    assert all(line in (folder / "required_operators.config").read_text() for line in lines)


def metadata(file) -> dict[str, str]:
    return (
        onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map
    )


def test_the_converter_tells_nothing(network, tmp_path, caplog, capfd) -> None:
    caplog.set_level("DEBUG")
    backend().compile(request(network, tmp_path))
    assert not [record for record in caplog.records if record.name.startswith("ort_format")]
    assert not any("Created" in text for text in capfd.readouterr())


def test_operators_of_a_minimal_build_travel_inside_the_file(compiled) -> None:
    lines = metadata(compiled[1].file)["required_operators.config"].splitlines()
    beside = (compiled[1].file.parent / "required_operators.config").read_text().splitlines()
    assert lines == compiled[1].details["operators"] == [line for line in beside if line and not line.startswith("#")]


@pytest.mark.parametrize("operators", ["weighted", ["Relu"]])
def test_it_says_how_much_of_its_work_is_int8(network, compiled, tmp_path, operators) -> None:
    piece, artefact = compiled
    assert isinstance(piece, WorkCounter) and piece.int8_share(artefact.file) == 0.0
    images = pixels(16, seed=3)
    calibration = Calibration(batches=lambda: iter([{"image": images}]), samples=len(images))
    source = tmp_path / "int8.onnx"
    model = onnx.load(artefact.onnx)
    onnx.helper.set_model_props(model, {"author": "us"})
    onnx.save(model, tmp_path / "float.onnx")
    quantizer = Int8Static(StaticConfig(reduce_range=True, operators=operators), "q")
    try:
        quantizer.quantize(tmp_path / "float.onnx", source, calibration)
    except ExportError as error:
        assert operators == ["Relu"] and "larger" in str(error)  # roundings were added, no weight shrank
    made = piece.compile_onnx(source, request(network, tmp_path))
    assert piece.int8_share(made.file) == int8_share(source)
    assert (int8_share(source) == 0.0) is (operators == ["Relu"])
    assert metadata(made.file)["required_operators.config"].splitlines() == made.details["operators"]


def test_a_file_that_does_not_say_it_has_no_share(compiled, tmp_path) -> None:
    older = tmp_path / "model.ort"
    ort_format._converted(compiled[1].onnx, older)
    assert compiled[0].int8_share(older) is None


def test_a_quantised_file_is_converted_and_says_the_same(network, compiled, tmp_path) -> None:
    piece, artefact = compiled
    assert isinstance(piece, OnnxCompiler)
    images = pixels(16, seed=3)
    calibration = Calibration(batches=lambda: iter([{"image": images}]), samples=len(images))
    source = tmp_path / "float.onnx"
    Int8Static(StaticConfig(reduce_range=True), "export.quantizers[0]").quantize(artefact.onnx, source, calibration)
    made = piece.compile_onnx(source, request(network, tmp_path))
    own = piece.open(made.file).run({"image": images})
    other = open_session(source, 1).run(None, {"image": images})[0]
    assert cosines(own, other).min() > 0.9999
    assert any("QuantizeLinear" in line or "QLinearConv" in line for line in made.details["operators"])


def test_what_the_converter_stores_in_float_again_is_refused_before_training() -> None:
    with pytest.raises(ExportError) as caught:
        refuse_pairs({"export.quantizers[0]": Half(HalfConfig(), "export.quantizers[0]")}, [backend()])
    assert str(caught.value) == (
        "export.quantizers[0]: backend 'onnxruntime', format ort: its converter stores the numbers of 'fp16' in float again, so "
        "nothing is gained. Use format: onnx, or remove the quantizer."
    )
    refuse_pairs({"q": WeightOnly(WeightOnlyConfig(), "q")}, [backend()])
    refuse_pairs({"q": Half(HalfConfig(), "q")}, [backend(format="onnx")])


@pytest.mark.parametrize("x86", [True, False])
def test_files_that_compute_in_half_precision_are_refused_where_there_are_no_kernels(monkeypatch, x86) -> None:
    monkeypatch.setattr(ort_format, "_X86", x86)
    half = {"q": Half(HalfConfig(compute="fp16"), "q")}
    with pytest.raises(ExportError, match="in float again") if x86 else nullcontext():
        refuse_pairs(half, [backend()])


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    ("quantizer", "advice"),
    [
        (Int8Static(StaticConfig(), "q"), "Set reduce_range: true for it, or use format: onnx."),
        (Int8Dynamic(DynamicConfig(), "q"), "Set reduce_range: true for it, or use format: onnx."),
        (Int8Nncf(NncfConfig(), "q"), "other embeddings here. Use format: onnx."),
    ],
)
def test_sums_that_this_processor_would_cut_are_refused_before_training(monkeypatch, quantizer, advice, exact) -> None:
    monkeypatch.setattr(ort_format, "products_are_exact", lambda: exact)
    with nullcontext() if exact else pytest.raises(ExportError, match=f"^q: backend .* cuts sums of int8 .* {advice}$"):
        refuse_pairs({"q": quantizer}, [backend()])
    refuse_pairs({"q": Int8Static(StaticConfig(reduce_range=True), "q")}, [backend()])
    refuse_pairs({"q": quantizer}, [backend(format="onnx")])


def test_sums_that_this_processor_would_cut_are_refused_with_what_to_do(network, compiled, tmp_path) -> None:
    piece, artefact = compiled
    images = pixels(16, seed=3)
    calibration = Calibration(batches=lambda: iter([{"image": images}]), samples=len(images))
    source = tmp_path / "int8.onnx"
    Int8Static(StaticConfig(), "export.quantizers[0]").quantize(artefact.onnx, source, calibration)
    try:
        piece.compile_onnx(source, request(network, tmp_path))
    except ExportError as error:
        assert not products_are_exact()
        assert "reduce_range: true" in str(error)
    else:
        assert (tmp_path / "model.ort").is_file()


def test_optimise_none_which_the_converter_would_ignore_is_refused() -> None:
    with pytest.raises(ValueError, match="optimise none has no effect with format ort, whose converter optimises"):
        OnnxRuntimeConfig(format="ort", optimise="none")
    OnnxRuntimeConfig(optimise="none")


def test_two_inputs_keep_their_names(tmp_path) -> None:
    network, piece = settled(TwoSensors()), backend()
    runner = piece.open(piece.compile(request(network, tmp_path)).file)
    assert tuple(runner.inputs) == ("rgb", "depth")


def test_its_layers_cannot_be_looked_into_and_the_portable_files_can(compiled) -> None:
    assert not isinstance(compiled[0], LayerShower)
    portable = backend(format="onnx")
    assert isinstance(portable, OnnxRuntimeBackend) and isinstance(portable, LayerShower)
    assert not isinstance(portable, OnnxCompiler)


def test_what_is_no_model_is_one_message(compiled, network, tmp_path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"no model")
    with pytest.raises((ExportError, BundleError), match="cannot be converted"):
        compiled[0].compile_onnx(tmp_path / "no.onnx", request(network, tmp_path))
    (tmp_path / "model.ort").write_bytes(compiled[1].file.read_bytes()[:300])
    with pytest.raises(BundleError, match="model.ort: onnxruntime cannot load it"):
        compiled[0].open(tmp_path / "model.ort")


def test_the_onnx_file_for_quantizers_is_whole(compiled) -> None:
    onnx.checker.check_model(onnx.load(compiled[1].onnx))


class Wide(nn.Module):
    """Half a megabyte of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 256, 3), nn.Linear(256, 512)

    def forward(self, image):
        return self.head(self.first(image).relu().mean((2, 3)))


def test_a_file_whose_weights_the_converter_unpacks_is_refused(tmp_path) -> None:
    piece, network = backend(), settled(Wide())
    source = piece.compile(request(network, tmp_path, keep_onnx=True)).onnx
    half = tmp_path / "half" / "float.onnx"
    half.parent.mkdir()
    Half(HalfConfig(), "q").quantize(source, half, Calibration(batches=lambda: iter(()), samples=0))
    with pytest.raises(ExportError, match=r"stores the file's numbers in float again .* Use format: onnx."):
        piece.compile_onnx(half, request(network, half.parent))
    assert not (half.parent / "model.ort").exists()
