"""Preprocessing as ONNX operators, held against Pillow's pixels, and a run with `export.folded`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from PIL import Image

from edgefw import engine
from edgefw.cli.main import run as command_line
from edgefw.errors import ExportError, RecipeError
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.folded_file import INPUT
from edgefw.runtime.preprocessing import Preprocessing, Step
from edgefw.stages.folded import drawn, refuse_idle, verified
from edgefw.stages.folding import fold, unfoldable
from edgefw.stages.opened import Opened

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SIZES = [
    (131, 187),
    (187, 131),
    (30, 41),
    (64, 64),
    (65, 140),
    (67, 64),
    (164, 82),
    (455, 121),
    (90, 30),
    (198, 131),
    (199, 131),
]
"""Those of the second half: Pillow 13 resizes their rows first, but for the last but one."""


def contract(fit: str, filter: str, size: int = 64) -> Preprocessing:
    steps = [Step("resize", {"size": size, "filter": filter, "fit": fit})]
    steps += [Step("centre-crop", {"size": size})] if fit == "shortest" else []
    return Preprocessing(
        "rgb", {}, (*steps, Step("scale", {"divisor": 255.0}), Step("normalise", {"mean": MEAN, "std": STD}))
    )


def encoder(path: Path, opset: int = 18, inputs: tuple[str, ...] = ("image",)) -> Path:
    """An ONNX file that gives back its first input."""
    shape = ["batch", 3, "height", "width"]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in (*inputs, "embedding")]
    graph = helper.make_graph([helper.make_node("Identity", [inputs[0]], ["embedding"])], "g", value[:-1], value[-1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), path)
    return path


def run_onnx(file: Path, pictures: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"]).run(
        None, {INPUT: pictures}
    )[0]


@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
@pytest.mark.parametrize("fit", ["stretch", "shortest"])
def test_the_graph_gives_the_pixels_of_pillow_but_for_a_step_here_and_there(
    fit: str, filter: str, tmp_path: Path
) -> None:
    wanted = contract(fit, filter)
    fold(encoder(tmp_path / "identity.onnx"), wanted, tmp_path / "folded.onnx")
    for height, width in SIZES:
        pictures = drawn(height, width)
        expected = np.stack([wanted(picture) for picture in pictures])
        found = run_onnx(tmp_path / "folded.onnx", pictures)
        steps = np.abs(found - expected) * np.array(STD)[:, None, None] * 255  # of 255
        assert found.shape == (3, 3, 64, 64) and steps.max() < 1.01
        assert (steps > 0.5).mean() < 0.02
        if min(height, width) == 64 == max(height, width):
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_another_filter_or_another_crop_would_be_seen(tmp_path: Path) -> None:
    fold(encoder(tmp_path / "identity.onnx"), contract("stretch", "bicubic"), tmp_path / "folded.onnx")
    pictures = drawn(131, 187)
    expected = np.stack([contract("stretch", "bilinear")(picture) for picture in pictures])
    assert (np.abs(run_onnx(tmp_path / "folded.onnx", pictures) - expected) * 255 * 0.22 > 2).mean() > 0.2


@pytest.mark.parametrize(
    ("steps", "colour", "reason"),
    [
        (
            [Step("min-max", {})],
            True,
            "its step 'min-max' has no place in a graph; resize, centre-crop, scale, clip, norm",
        ),
        ([Step("resize", {"size": 8, "filter": "lanczos"})], True, "it resizes with 'lanczos'; bilinear and bicubic"),
        ([Step("resize", {"size": 8, "filter": "bilinear", "antialias": False})], True, "with antialiasing"),
        ([], False, "its files are no 8-bit pictures of three channels"),
    ],
)
def test_what_has_no_place_in_a_graph_is_named(steps: list[Step], colour: bool, reason: str) -> None:
    last = Step("normalise", {"mean": MEAN, "std": STD})
    assert reason in str(unfoldable(Preprocessing("x", {}, (*steps, last)), colour))


def test_files_of_two_inputs_or_of_an_old_opset_are_refused(tmp_path: Path) -> None:
    for source in (encoder(tmp_path / "a.onnx", inputs=("rgb", "depth")), encoder(tmp_path / "b.onnx", opset=17)):
        with pytest.raises(ExportError, match="goes in front of one input, in opset 18 or newer"):
            fold(source, contract("stretch", "bicubic"), tmp_path / "folded.onnx")


@pytest.fixture(scope="module")
def folded(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run, exported again with the preprocessing of photographs inside."""
    folder = Path(shutil.copytree(project / "run", tmp_path_factory.mktemp("folded") / "run"))
    engine.run(read_recipe(str(project / "tiny.yaml"), ["export.folded=[rgb]"]), Registry(), folder, resume=True)
    return folder


NAMES = ["folded-rgb-onnxruntime-fp32", "folded-rgb-onnxruntime-int8-static"]


def test_each_onnx_artefact_gets_one_and_the_others_stay_as_they_were(run: Path, folded: Path, result: Any) -> None:
    plain, made = result(run, "export"), result(folded, "export")
    assert "folded" not in plain and "folded" not in json.loads((run / "bundle/manifest.json").read_text())
    assert [record["sha256"] for record in made["artefacts"]] == [record["sha256"] for record in plain["artefacts"]]
    assert [record["name"] for record in made["folded"]] == NAMES
    record = made["folded"][0]
    assert (record["source"], record["inputs"]) == ("onnxruntime-fp32", {"picture": [0, 0, 3]})
    assert record["details"]["drawn_cosine_min"] > 0.999


def test_verify_measures_the_difference_on_held_out_pictures(project: Path, folded: Path, result: Any) -> None:
    rows = {row["name"]: row for row in result(folded, "verify")["folded"]}
    assert list(rows) == NAMES
    row = rows[NAMES[0]]
    assert (row["modality"], row["n"], row["not_finite"]) == ("rgb", 15, 0)
    assert row["cosine_min"] > 0.999 and row["top1_agreement"] == 1.0
    checked = {(own["artefact"], own["check"]) for own in result(folded, "verify")["budget"]}
    assert {(NAMES[0], "min_cosine"), (NAMES[0], "max_folded_error"), (NAMES[0], "max_not_finite")} <= checked
    assert (NAMES[1], "min_cosine") in checked and (NAMES[1], "max_folded_error") not in checked


def test_the_bundles_file_labels_a_picture_with_onnxruntime_alone(project: Path, folded: Path, capsys: Any) -> None:
    picture = np.asarray(Image.open(project / "data/test-green-1.png"))
    with open_bundle(folded) as bundle:
        entry = bundle.manifest.folded[0]
        assert (entry.name, entry.modalities, entry.inputs) == (NAMES[0], ["rgb"], {"picture": [0, 0, 3]})
        assert entry.source == "onnxruntime-fp32"
        assert entry.quality["cosine_min"] > 0.999 and entry.file in bundle.sums
        pack = bundle.label_pack()
        probabilities = pack.probabilities(run_onnx(bundle.file(entry), picture[None]))
    assert pack.names[int(probabilities.argmax())] == "green"
    assert command_line(["bundle", "show", str(folded)]) == 0
    assert "rgb pictures of any size, preprocessing inside; cosine " in capsys.readouterr().out


def test_a_file_that_prepares_otherwise_fails_the_gate(project: Path, folded: Path, tmp_path: Path) -> None:
    from edgefw.verifying.reverify import verify_run

    copy = Path(shutil.copytree(folded, tmp_path / "run"))
    file = copy / "export" / NAMES[0] / "model.onnx"
    model = onnx.load(file)
    first, _, last = [node for node in model.graph.node if node.op_type == "Gather" and node.input[0] == INPUT]
    first.input[1], last.input[1] = last.input[1], first.input[1]  # red is blue
    onnx.save(model, file)
    found = verify_run(copy)
    failed = {row["artefact"] for row in found["budget"] if not row["ok"]}
    assert failed == {NAMES[0]}


def narrower(model: onnx.ModelProto) -> None:
    whole, last = model.graph.output[0].name, "narrower"
    numbers = [("from", [0]), ("to", [4]), ("axis", [1])]
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(values, np.int64), name) for name, values in numbers
    )
    model.graph.node.append(helper.make_node("Slice", [whole, "from", "to", "axis"], [last]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(last, TensorProto.FLOAT, ["batch", 4]))


def test_a_file_of_another_width_is_a_failed_check(folded: Path, tmp_path: Path) -> None:
    from edgefw.verifying.reverify import verify_run

    copy = Path(shutil.copytree(folded, tmp_path / "run"))
    file = copy / "export" / NAMES[0] / "model.onnx"
    model = onnx.load(file)
    narrower(model)
    onnx.save(model, file)
    stage = json.loads((copy / "export/stage.json").read_text())
    stage["files"][f"{NAMES[0]}/model.onnx"] = file.stat().st_size
    (copy / "export/stage.json").write_text(json.dumps(stage))
    found = verify_run(copy)
    failed = {(row["artefact"], row["check"], row.get("why")) for row in found["budget"] if not row["ok"]}
    assert failed == {(NAMES[0], "runs", "gives shape (1, 4), its source (1, 8)")}


def test_a_modality_that_no_graph_takes_alone_is_refused() -> None:
    refuse_idle(["rgb"], {"rgb", "depth"})
    with pytest.raises(RecipeError, match="^export.folded: no ONNX artefact takes 'depth' alone. Leave it out"):
        refuse_idle(["rgb", "depth"], {"rgb"})


def test_graphs_that_onnx_cannot_join_are_one_message(tmp_path: Path) -> None:
    source = encoder(tmp_path / "a.onnx")
    model = onnx.load(source)
    model.ir_version = 8
    model.graph.node[0].output[0] = "nowhere"
    onnx.save(model, source)
    with pytest.raises(ExportError, match="preprocessing cannot go in front of it"):
        fold(source, contract("stretch", "bicubic"), tmp_path / "folded.onnx")


def test_a_modality_that_no_sample_has_is_named_as_not_judged() -> None:
    record = {
        "name": "folded-rgb-x",
        "backend": "b",
        "precision": "fp32",
        "source": "x",
        "signature": {"serves": ["rgb"]},
    }
    context: Any = SimpleNamespace(folder=SimpleNamespace(result=lambda stage: {"folded": [record]}))
    opened, held = Opened(), SimpleNamespace(samples=[SimpleNamespace(images={"depth": "a"})])
    assert verified(context, opened, held) == []
    assert [(row["name"], row["why"]) for row in opened.unjudged] == [("folded-rgb-x", "no held-out sample has 'rgb'")]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["export.folded=[depth]"],
            "export.folded: the preprocessing of 'depth' cannot be part of a graph: its files are no",
        ),
        (["export.folded=[rgb, rgb]"], "export.folded: 'rgb' stands there 2 times. Leave it there once."),
        (["export.folded=[sonar]"], "export.folded: there is no modality 'sonar'. There are: rgb, depth."),
        (
            ["export.folded=[rgb]", "export.backends=[{name: tensorrt}]"],
            "export.folded: no backend of the recipe writes ONNX",
        ),
    ],
)
def test_what_cannot_be_folded_is_one_message_at_check(
    project: Path, capsys: Any, overrides: list[str], message: str
) -> None:
    assert command_line(["check", str(project / "tiny.yaml"), *overrides]) == 2
    assert message in capsys.readouterr().err


def test_check_lists_the_files(project: Path, capsys: Any) -> None:
    assert command_line(["check", str(project / "tiny.yaml"), "export.folded=[rgb]"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in NAMES)
