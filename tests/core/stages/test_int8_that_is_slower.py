"""Int8 against the clock, in a real run: what is delivered, what the gate says, what is printed and shown, and when it is made again.

No test depends on which file is faster: limits are out of reach, or met by anything.
"""

from __future__ import annotations

import json
import shutil

import pytest

from edgefw import engine
from edgefw.cli.main import run as command_line
from edgefw.plugins.backends.onnx_work import int8_share
from edgefw.recipe.read import read_recipe
from edgefw.registry.kinds import Kind
from edgefw.registry.loading import Registry
from edgefw.registry.technique import BuildContext
from edgefw.reporting.model_rows import ModelRow, int8_text
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.bundle_text import describe, int8_work
from edgefw.stages.verify_cost import integer_precisions

TIMED = "export.quantizers=[{name: int8-latency-aware, seconds: 0.2, min_cosine: 1.0}]"
"""Rounding leaves no cosine of 1, so that the float file stays, whichever is faster."""


def again(project, out, *overrides, until="verify"):
    return engine.run(read_recipe(str(project / "tiny.yaml"), overrides), Registry(), out, until=until, resume=True)


def _shown(out, capsys) -> str:
    """What `bundle show` prints of a run's bundle."""
    capsys.readouterr()
    assert command_line(["bundle", "show", str(out)]) == 0
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def timed(project, tmp_path_factory):
    """A finished run with a quantizer that leaves no file."""
    out = shutil.copytree(project / "run", tmp_path_factory.mktemp("timed") / "run")
    again(project, out, TIMED, "compute.threads=1", until=None)
    return out


def test_a_quantised_file_has_its_time_beside_float_and_its_share_of_int8(run, result, capsys) -> None:
    float_file, int8_file = result(run, "verify")["artefacts"]
    assert (float_file["slowdown"], float_file["int8_share"], float_file["precision"]) == (None, None, "fp32")
    assert int8_file["slowdown"] == pytest.approx(int8_file["latency_ms_p50"] / float_file["latency_ms_p50"])
    assert int8_file["int8_share"] == int8_share(run / int8_file["path"]) > 0.5
    assert int8_file["precision"] == "int8-static"
    with open_bundle(run) as opened:
        quality = opened.artefact("onnxruntime-int8-static").quality
        assert (quality["int8_share"], quality["slowdown"]) == (int8_file["int8_share"], int8_file["slowdown"])
        assert f", x {int8_file['slowdown']:.2f} of float" in "\n".join(describe(opened))
    assert f'<td class="n">x {int8_file["slowdown"]:.2f}</td>' in (run / "report.html").read_text()


def test_a_file_that_is_too_slow_fails_the_gate_and_says_by_how_much(copy, capsys) -> None:
    text = (copy / "resolved.yaml").read_text()
    assert "max_slowdown: null" in text
    (copy / "resolved.yaml").write_text(text.replace("max_slowdown: null", "max_slowdown: 0.0001"))
    assert command_line(["verify", str(copy)]) == 1
    captured = capsys.readouterr()
    assert "FAIL onnxruntime-int8-static: max_slowdown" in captured.out
    assert "of its products in int8" in captured.out
    assert "onnxruntime-int8-static: max_slowdown is" in captured.err
    assert "onnxruntime-fp32: max_slowdown" not in captured.err
    assert json.loads((copy / "result.json").read_text())["status"] == "gate-failed"
    assert command_line(["report", str(copy)]) == 0
    assert "latency p50 against that of the float artefact, at most" in (copy / "report.html").read_text()


def test_a_quantised_file_without_int8_is_called_fp32(project, tmp_path, result, capsys) -> None:
    out = shutil.copytree(project / "run", tmp_path / "run")
    unfolded = "export.backends=[{name: onnxruntime, optimise: none}]"  # so that the file shrinks without int8
    again(project, out, unfolded, "export.quantizers=[{name: int8-static, operators: [Relu]}]", until=None)
    (row,) = [row for row in result(out, "verify")["artefacts"] if row["source"]]
    assert (row["name"], row["precision"], row["int8_share"]) == ("onnxruntime-int8-static", "fp32", 0.0)
    assert "none of its multiply-accumulates runs in int8, so it is called fp32" in row["warnings"]
    assert "called fp32: none of its products in int8" in _shown(out, capsys)


def test_a_qvit_file_without_int8_is_called_fp32_too(project, tmp_path, result) -> None:
    """Only the first convolution is rounded, and its result is float, so that no kernel is int8."""
    quantizer = "{name: qvit, outputs: none, exclude: ['*blocks*', 'head*']}"
    overrides = (
        "student={name: timm, model: test_vit, weights: none, size: 32}",
        f"train.distil.quantizer={quantizer}",
        "train.distil.steps=2",
        "export={backends: [{name: onnxruntime, threads: 1}], quantizers: []}",
        "verify={min_cosine: null, max_drop: null, max_slowdown: null, max_error: null}",
    )
    engine.run(read_recipe(str(project / "tiny.yaml"), overrides), Registry(), tmp_path / "run")
    (row,) = result(tmp_path / "run", "verify")["artefacts"]
    assert (row["name"], row["precision"], row["int8_share"]) == ("onnxruntime-qvit", "fp32", 0.0)
    assert "none of its multiply-accumulates runs in int8, so it is called fp32" in row["warnings"]


def test_every_quantizer_says_whether_its_files_promise_int8() -> None:
    promised, silent = set(), set()
    for name in [ref.name for ref in Registry().refs(Kind.QUANTIZER)]:
        technique = Registry().load(Kind.QUANTIZER, name)
        quantizer = technique.build(technique.config(), BuildContext(path="q"))
        (promised if integer_precisions([quantizer]) else silent).add(quantizer.precision)
    assert silent == {"fp16", "weight-only"}
    assert promised >= {"int8-static", "int8-dynamic", "int8-latency-aware", "int8-qat", "qvit"}


@pytest.mark.parametrize(("precision", "said"), [("fp32", "fp32"), ("weight-only", "0.0 %")])
def test_a_file_of_stored_weights_is_not_called_fp32(precision, said) -> None:
    row = ModelRow(model="m", artefact={"precision": precision, "int8_share": 0.0})
    assert int8_text(row) == said
    assert int8_work(0.0, precision).startswith("called fp32") == (precision == "fp32")
    assert (int8_work(0.5, precision), int8_work(None, precision)) == ("50.0 % of its products in int8", "")


def test_nothing_is_delivered_as_int8_where_nothing_is_worth_it(timed, result) -> None:
    exported = result(timed, "export")
    assert [row["name"] for row in exported["artefacts"]] == ["onnxruntime-fp32"]
    (left,) = exported["float_stays"]
    assert (left["name"], left["source"]) == ("onnxruntime-int8-latency-aware", "onnxruntime-fp32")
    assert {row["precision"] for row in left["details"]["choices"]} == {"float"}
    assert left["warnings"][0].endswith(": the float file stays")
    assert not (timed / "export" / "onnxruntime-int8-latency-aware").exists()
    assert result(timed, "verify")["best"] == "onnxruntime-fp32"
    with open_bundle(timed) as opened:
        assert opened.manifest.default == "onnxruntime-fp32"


def test_the_report_shows_what_stayed_in_float_and_why(timed, result) -> None:
    page = (timed / "report.html").read_text()
    assert "What stayed in float, and why" in page
    assert "Not delivered, onnxruntime-fp32 stays: " in page
    for row in result(timed, "export")["float_stays"][0]["details"]["choices"]:
        assert row["group"] in page


def test_threads_export_again_only_what_was_timed(project, timed, tmp_path) -> None:
    def exported(out, *overrides):
        stages = again(project, out, *overrides, until="export")["stages"]
        return not next(row["skipped"] for row in stages if row["name"] == "export")

    assert not exported(timed, TIMED, "compute.threads=1")
    assert exported(timed, TIMED, "compute.threads=2")
    assert not exported(shutil.copytree(project / "run", tmp_path / "run"), "compute.threads=2")


def test_export_says_which_operators_int8_does_badly_and_the_report_shows_it(project, tmp_path, result) -> None:
    pytest.importorskip("timm")
    assert result(project / "run", "export")["advice"] == []
    out = tmp_path / "run"
    again(project, out, "student={name: timm, model: mobilenetv3_small_050, size: 32}", until="export")
    hard, gate = result(out, "export")["advice"]
    assert (hard["operator"], gate["operator"]) == ("Hardswish", "squeeze-excite")
    assert gate["files"] == ["onnxruntime-int8-static"] and gate["instead"] == ["student.model=mobilenetv4_conv_small"]
    assert command_line(["report", str(out)]) == 0
    assert "Without it: student.model=mobilenetv4_conv_small." in (out / "report.html").read_text()
