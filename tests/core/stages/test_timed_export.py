"""What export does with a quantizer of others that times its files, and with backends whose files it cannot time."""

from __future__ import annotations

from types import SimpleNamespace

from edgefw.contracts.quantizer import QuantizationReport
from edgefw.plugins.backends.onnxruntime import OnnxRuntimeConfig
from edgefw.stages.export import _Exporter
from edgefw.stages.export_targets import Target


class Untidy:
    """Finds nothing faster, and leaves a file behind."""

    level, precision = "onnx", "int8-untidy"

    def quantize_timed(self, source, target, calibration, opened):
        target.with_name("scratch.bin").write_bytes(b"left")
        return QuantizationReport(warnings=("nothing was faster",), stays_float=True)


class Compiler:
    """A backend that turns ONNX files into its own."""

    name = "compiled"

    def compile_onnx(self, file, request): ...


def made_for(backend) -> Target:
    chosen = SimpleNamespace(config=OnnxRuntimeConfig(), label="")
    images = SimpleNamespace(calibration=lambda: None)
    return Target(backend=backend, chosen=chosen, signature=None, graph="", images=images)


def exporter(tmp_path, said, **pieces):
    context = SimpleNamespace(
        folder=SimpleNamespace(stage=lambda name: tmp_path),
        progress=SimpleNamespace(say=said.append),
        recipe=SimpleNamespace(config=SimpleNamespace(compute=SimpleNamespace(threads=1))),
        pieces=SimpleNamespace(**pieces),
        composition=SimpleNamespace(quantizers=[SimpleNamespace(label="")]),
    )
    return _Exporter(context, SimpleNamespace(quantizer=None))


def test_what_a_quantizer_leaves_behind_goes_with_its_folder(tmp_path) -> None:
    made = exporter(tmp_path, [])
    target = made_for(SimpleNamespace(name="onnxruntime", open=None))
    chosen = SimpleNamespace(path="export.quantizers[0]", label="")
    made._quantise(target, Untidy(), chosen, "onnxruntime-fp32", tmp_path / "model.onnx", None)
    assert [row["name"] for row in made.float_stays] == ["onnxruntime-int8-untidy"]
    assert list(tmp_path.iterdir()) == []


def test_a_backend_whose_files_cannot_be_timed_is_named(tmp_path) -> None:
    said = []
    made = exporter(tmp_path, said, quantizers=[Untidy()])
    made._say_what_cannot_be_timed(made_for(Compiler()))
    made._say_what_cannot_be_timed(made_for(SimpleNamespace(name="onnxruntime")))
    assert said == ["export: no compiled-int8-untidy: it times ONNX files, and 'compiled' compiles them"]
