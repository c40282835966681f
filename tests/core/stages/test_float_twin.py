"""A student that trained with rounding: its file is timed beside the same network without rounding, and judged by that."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from edgefw import engine
from edgefw.cli.main import run as command_line
from edgefw.contracts.backend import CompileRequest
from edgefw.errors import ExportError
from edgefw.plugins.backends.onnx_work import work
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.reporting.progress import make_progress
from edgefw.run_folder import RunFolder
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.bundle_text import describe
from edgefw.stages.float_twin import float_network, float_twins
from edgefw.stages.graphs import graph_of
from edgefw.stages.opened import open_artefacts
from edgefw.stages.trained import load_student
from edgefw.stages.verify_cost import costs
from edgefw.verifying.reverify import recipe_of, verifying_context

ROUNDED = [
    "train.distil.quantizer={name: int8-qat}",
    "train.distil.steps=8",
    "export={backends: [{name: onnxruntime, threads: 1}], quantizers: []}",
]
NAME = "onnxruntime-int8-qat"


class Refusing:
    """A backend that compiles rounded networks only."""

    name = "refusing"
    accepts = frozenset({"module"})

    def __init__(self, error: Exception) -> None:
        self.error = error

    def compile(self, request):
        raise self.error

    def open(self, file, threads=None):
        raise AssertionError


@pytest.fixture(scope="module")
def rounded(project, tmp_path_factory):
    """A finished run whose only phase trains with rounding."""
    out = tmp_path_factory.mktemp("rounded") / "run"
    engine.run(read_recipe(str(project / "tiny.yaml"), ROUNDED), Registry(), out)
    return out


@pytest.fixture
def parts():
    """`parts(run)`: context, student, opened artefacts, and drawn images of one sensor by artefact."""

    def read(run):
        folder = RunFolder(run)
        context = verifying_context(folder, recipe_of(folder), Registry(), make_progress())
        opened = open_artefacts(context).artefacts
        (shape,) = opened[0].record["inputs"].values()
        images = {"rgb": np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)}
        return context, load_student(context), opened, images

    return read


def judged(run, tmp_path, limit: str) -> tuple[int, dict]:
    """Exit code and result of a second verification under a limit."""
    copy = shutil.copytree(run, tmp_path / "run")
    text = (copy / "resolved.yaml").read_text()
    assert "max_slowdown: null" in text
    (copy / "resolved.yaml").write_text(text.replace("max_slowdown: null", f"max_slowdown: {limit}"))
    return command_line(["verify", str(copy)]), json.loads((copy / "verify" / "result.json").read_text())


def test_a_twin_says_what_the_student_says_before_it_is_trained(rounded, parts) -> None:
    context, trained, opened, images = parts(rounded)
    with float_twins(context, trained, opened, {NAME: images}) as twins:
        said = twins.runners[NAME].run(opened[0].feeds(images))
    with torch.inference_mode():
        wanted = context.pieces.student_network().eval()(torch.from_numpy(images["rgb"])).embedding.numpy()
    np.testing.assert_allclose(said, wanted, rtol=1e-4, atol=1e-5)
    assert twins.absent == {}


def test_a_twin_has_the_products_of_its_artefact_and_rounds_nothing(rounded, parts, tmp_path) -> None:
    context, trained, (artefact,), images = parts(rounded)
    network = graph_of(float_network(context, trained), trained.scheme, artefact.signature)
    feeds = {name: np.repeat(values, 2, axis=0) for name, values in artefact.feeds(images).items()}
    shapes = {name: values.shape[1:] for name, values in feeds.items()}
    made = artefact.backend.compile(CompileRequest(network=network, inputs=shapes, folder=tmp_path, examples=feeds))
    own, twin = (onnx.load(file) for file in (rounded / artefact.record["path"], made.file))
    assert sum(node.macs for node in work(own)) == sum(node.macs for node in work(twin)) > 0
    assert any(node.op_type == "QuantizeLinear" for node in own.graph.node)
    assert not any(node.op_type == "QuantizeLinear" for node in twin.graph.node)


def test_a_file_that_learned_to_round_has_its_time_beside_a_float_twin(rounded, result) -> None:
    (row,) = result(rounded, "verify")["artefacts"]
    assert (row["name"], row["source"]) == (NAME, None)
    assert row["slowdown"] == pytest.approx(row["latency_ms_p50"] / row["float_ms_p50"])
    assert [path.name for path in (rounded / "export").iterdir() if path.is_dir()] == [NAME]
    with open_bundle(rounded) as opened:
        assert [entry.name for entry in opened.manifest.artefacts] == [NAME]
        assert f", x {row['slowdown']:.2f} of float" in "\n".join(describe(opened))
    assert f'<td class="n">x {row["slowdown"]:.2f}</td>' in (rounded / "report.html").read_text()


@pytest.mark.parametrize(("limit", "code"), [("0.0001", 1), ("10000.0", 0)])
def test_the_gate_holds_the_limit_against_the_twin(rounded, tmp_path, limit, code, capsys) -> None:
    got, verified = judged(rounded, tmp_path, limit)
    (check,) = [row for row in verified["budget"] if row["check"] == "max_slowdown"]
    assert (got, check["artefact"], check["ok"]) == (code, NAME, not code)
    captured = capsys.readouterr()
    assert f"{'FAIL' if code else 'ok  '} {NAME}: max_slowdown" in captured.out
    assert (f"{NAME}: max_slowdown is" in captured.err) == bool(code)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ExportError("no kernels for float."), "no kernels for float."),
        (RuntimeError("of the runtime's own"), "RuntimeError: of the runtime's own"),
    ],
)
def test_a_twin_that_does_not_compile_leaves_one_warning_and_no_verdict(rounded, parts, error, reason) -> None:
    context, trained, (artefact,), images = parts(rounded)
    refusing = replace(artefact, backend=Refusing(error))
    with float_twins(context, trained, [refusing], {NAME: images}) as twins:
        assert (twins.runners, twins.absent) == ({}, {NAME: reason})
    found = costs(context, trained, [refusing], {"rgb": images})[NAME]
    assert (found["slowdown"], found["float_ms_p50"]) == (None, None) and found["latency_ms_p50"] > 0
    assert found["warnings"] == [
        f"its slowdown is not known, as there is no float file to time it beside. Without rounding: {reason}"
    ]


def test_a_quantizer_that_came_after_training_needs_no_twin(run, parts, result) -> None:
    context, trained, opened, images = parts(run)
    with float_twins(context, trained, opened, {own.name: images for own in opened}) as twins:
        assert (twins.runners, twins.absent) == ({}, {})
    float_file, int8_file = result(run, "verify")["artefacts"]
    assert float_file["float_ms_p50"] is None
    assert int8_file["float_ms_p50"] == float_file["latency_ms_p50"]
