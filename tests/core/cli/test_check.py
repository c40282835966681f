"""`edgefw check` on pieces that take no time: the numbers of the plan, and what it refuses before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgefw.cli.main import run

TINY = Path(__file__).parents[2] / "fixtures" / "tiny_pieces"
RECIPE = """\
# Coloured squares. For tests.
data: {name: folder, root: data}
modalities: {rgb: {name: rgb}}
teacher: {name: tiny-colours}
student: {name: tiny-trunk, width: 12, size: 16}
train:
  - name: distil
    scheme: {name: single-modality}
    losses: [{name: feature}]
    epochs: 3
    batch: 4
export: {quantizers: [{name: int8-static}]}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe beside 12 + 4 + 5 pictures of three classes."""
    monkeypatch.setenv("EDGEFW_PLUGINS", "edgefw-tiny")
    monkeypatch.syspath_prepend(TINY)
    for split, count in (("train", 12), ("val", 4), ("test", 5)):
        for index in range(count):
            label = ("red", "green", "blue")[index % 3]
            file = tmp_path / "data" / split / label / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.zeros((20, 20, 3), np.uint8)
            pixels[..., index % 3] = 200
            Image.fromarray(pixels).save(file)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path / "recipe.yaml"


@pytest.fixture
def plan(recipe: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def planned(*arguments: str) -> dict[str, Any]:
        assert run(["check", str(recipe), "--json", *arguments]) == 0, capsys.readouterr().err
        captured = capsys.readouterr()
        return json.loads(captured.out)

    return planned


@pytest.fixture
def refusal(recipe: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def refused(*arguments: str) -> str:
        assert run(["check", str(recipe), *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err

    return refused


def test_the_plan_counts_samples_steps_and_parameters(plan) -> None:
    found = plan()
    assert found["data"] == {
        "classes": 3,
        "licence": "unknown",
        "splits": {
            "train": {"samples": 12, "skipped": 0, "labelled": 12, "modalities": {"rgb": 12}},
            "val": {"samples": 4, "skipped": 0, "labelled": 4, "modalities": {"rgb": 4}},
            "test": {"samples": 5, "skipped": 0, "labelled": 5, "modalities": {"rgb": 5}},
        },
    }
    (phase,) = found["phases"]
    assert (phase["steps_per_epoch"], phase["steps"], phase["epochs"], phase["size"]) == (3, 9, 3, 16)
    trunk = 3 * 12 * 9 + 12 + 2 * 12 + 12 * 12 * 9 + 12
    assert found["student"]["parameters"] == trunk
    assert found["student"]["head"] == {"in": 12, "out": 8, "parameters": 12 * 8 + 8}
    assert found["student"]["map"] == {"grid": [4, 4], "channels": 12}
    assert found["teacher"]["width"] == 8 and found["teacher"]["sees"] == "rgb"
    assert found["verify"] == {"split": "test", "samples": 5, "labels": 3}


def test_the_plan_names_each_piece_with_its_origin(plan) -> None:
    rows = {row["path"]: row for row in plan()["pieces"]}
    assert rows["teacher"]["distribution"] == "edgefw-tiny" and rows["teacher"]["version"] == "1.0"
    assert rows["train[0].losses[0]"]["distribution"] == "edgefw"
    assert rows["student"]["options"] == {"width": 12, "size": 16}


def test_memory_has_its_parts(plan) -> None:
    memory = plan("train.0.ema=0.9")["phases"][0]["memory"]
    trained = 4 * (3 * 12 * 9 + 12 + 2 * 12 + 12 * 12 * 9 + 12 + 12 * 8 + 8)
    buffers = 4 * 2 * 12 + 8
    assert memory["gradients"] == trained
    assert memory["weights"] == memory["average"] == trained + buffers
    assert memory["optimiser"] == 2 * trained
    assert memory["peak"] == sum(memory[name] for name in memory if name != "peak")
    assert plan("train.0.optimiser={name: sgd}")["phases"][0]["memory"]["optimiser"] == trained
    assert plan("train.0.optimiser={name: sgd, momentum: 0}")["phases"][0]["memory"]["optimiser"] == 0


def test_activations_grow_with_the_batch(plan) -> None:
    four, twelve = (plan(f"train.0.batch={batch}")["phases"][0]["memory"]["activations"] for batch in (4, 12))
    assert four < twelve <= 3 * four


def test_export_and_disk_are_foreseen(plan) -> None:
    found = plan("train.0.cache={views: 3}")
    assert [row["name"] for row in found["export"]] == ["onnxruntime-fp32", "onnxruntime-int8-static"]
    assert found["export"][0]["inputs"] == {"rgb": [3, 16, 16]}
    assert found["export"][1]["bytes"] < found["export"][0]["bytes"]
    assert found["disk"]["teacher_cache"] == 4 * 8 * (12 * 3 + 4)
    assert found["disk"]["total"] == sum(value for name, value in found["disk"].items() if name != "total")


def test_a_quantizer_that_a_backend_cannot_read_is_refused(recipe: Path, plan, capsys) -> None:
    assert run(["check", str(recipe), "export.backends=[{name: onnxruntime}, {name: tensorrt}]"]) == 2
    assert "the quantizer 'int8-static' rounds to uint8 or has a zero point" in " ".join(
        capsys.readouterr().err.split()
    )
    found = plan("export={backends: [{name: tensorrt}], quantizers: [{name: int8-static, activation: int8}]}")
    assert [row["name"] for row in found["export"]] == ["tensorrt-fp32", "tensorrt-int8-static"]


def test_sizes_are_those_of_each_quantizer(plan) -> None:
    names = "[{name: int8-static}, {name: fp16}, {name: weight-only}]"
    plain, int8, half, kept = (row["bytes"] for row in plan(f"export.quantizers={names}")["export"])
    kernels, rest = 12 * 3 * 9 + 12 * 12 * 9 + 12 * 8, 12 + 2 * 12 + 12 + 8
    assert plain == 2 * half == 4 * (kernels + rest)
    assert int8 == kernels + 4 * rest
    assert kept == (12 * 3 * 9 + 12 * 12 * 9) + 2 * 12 * 5 + 4 * (12 * 8 + rest)  # the head has fewer than 256 numbers


def test_a_clean_teacher_answers_once_per_sample_however_many_views(plan) -> None:
    found = plan("train.0.cache={views: 3}", "train.0.views={name: crop-flip, teacher: clean}")
    assert found["disk"]["teacher_cache"] == 4 * 8 * (12 + 4)


def test_curation_shortens_the_phases(plan) -> None:
    found = plan("curate.labels=[red, green]", "curate.keep=0.5")
    assert found["curate"] == {"labels": 2, "kept": 6, "at_most": False, "rule": "the surest 50 %"}
    assert found["phases"][0]["steps_per_epoch"] == 1
    assert plan("curate.labels=[red]", "curate.threshold=0.3")["curate"] == {
        "labels": 1,
        "kept": 12,
        "at_most": True,
        "rule": "confidence above 0.3",
    }
    of_each = plan("curate.labels=[red, green]", "curate.keep=0.5", "curate.per_label=true")
    assert (of_each["curate"]["kept"], of_each["curate"]["at_most"]) == (8, True)  # 6, and a part of one for each label
    assert of_each["curate"]["rule"] == "the surest 50 % of each label"


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (["curate.keep=0.25", "train.0.batch=2"], "3 by 2 label names: the surest 25 %"),
        (
            ["curate.keep=0.25", "curate.per_label=true"],
            "at most 5 by 2 label names: the surest 25 % of each label",
        ),
        (["curate.keep=0.25", "curate.threshold=0.25"], "at most 12 by 2 label names: confidence above 0.25"),
    ],
)
def test_the_plan_names_the_rule_of_curation(
    recipe: Path, capsys: pytest.CaptureFixture[str], keys: list[str], line: str
) -> None:
    assert run(["check", str(recipe), "curate.labels=[red, green]", *keys]) == 0
    assert f"  curation keeps {line}\n" in capsys.readouterr().out


def test_a_static_check_needs_neither_data_nor_weights(plan) -> None:
    found = plan("--static", "data.root=/nowhere", "student.size=4096")
    assert set(found) == {"edgefw", "recipe", "source", "static", "pieces"}


@pytest.mark.parametrize("how", [(), ("--static",)])
@pytest.mark.parametrize("key", ["curate.labels", "evaluate.labels"])
def test_label_lists_that_cannot_be_used_are_refused(recipe: Path, refusal, how: tuple[str, ...], key: str) -> None:
    (recipe.parent / "empty.txt").write_text("# nothing\n\n")
    (recipe.parent / "latin.txt").write_bytes("caf\u00e9\n".encode("latin-1"))
    for name, words in (
        ("empty.txt", "'empty.txt' holds no label names. Write one name a line, or give a list."),
        ("latin.txt", "latin.txt is no UTF-8 text. Save it as UTF-8."),
        ("data", "data: cannot be read (Is a directory). Give the path of a text file with one name a line, or a list"),
    ):
        message = refusal("curate={labels: [red, blue]}", f"{key}={name}", *how)
        assert message.startswith(f"Error: {key}: ") and words in message and message.count("\n") == 1


def test_a_static_check_misses_a_list_of_the_recipe_and_not_one_of_the_data(refusal, plan) -> None:
    assert "none.txt: cannot be read" in refusal("curate={labels: none.txt}", "--static")
    assert plan("evaluate.labels=none.txt", "--static")["static"]


def test_the_text_says_the_same(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(recipe)]) == 0
    text = capsys.readouterr().out
    for fragment in (
        "teacher               tiny-colours     edgefw-tiny 1.0",
        "phase distil: 3 epochs of 3, 9 steps of 4 of 12 samples, 16 pixels",
        "head 12 -> 8, 104 parameters",
        "onnxruntime-int8-static  in: rgb 3 x 16 x 16",
        "verified on 5 test samples, 3 label names",
    ):
        assert fragment in text


def test_operators_that_int8_does_badly_are_told_with_what_to_take_instead(recipe: Path, capsys, plan) -> None:
    found = plan()
    assert (found["student"]["operators"], found["advice"]) == ({}, [])
    pytest.importorskip("timm")
    changes = ["student={name: timm, model: efficientnet_b0, size: 64}", "train.0.batch=2"]
    found = plan(*changes)
    assert found["student"]["operators"] == {"SiLU": 33, "squeeze-excite": 16}
    silu, gate = found["advice"]
    assert [row["calls"] for row in (silu, gate)] == [33, 16]
    assert silu["files"] == ["onnxruntime-int8-static"] and silu["instead"] == ["student.model=tf_efficientnet_lite0"]
    assert run(["check", str(recipe), *changes]) == 0
    text = capsys.readouterr().out
    assert "  calls 33 x SiLU, 16 x squeeze-excite\n" in text
    assert "\nadvice: student: 33 x SiLU stays in float between int8 layers" in text
    assert "Concerns onnxruntime-int8-static. Without it: student.model=tf_efficientnet_lite0." in text
    found = plan(*changes, *silu["instead"])
    assert (found["student"]["operators"], found["advice"]) == ({}, [])


def test_nothing_is_left_behind(recipe: Path, plan) -> None:
    before = sorted(path for path in recipe.parent.rglob("*"))
    plan()
    assert sorted(path for path in recipe.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("overrides", "fragment"),
    [
        (["data.root=/nowhere"], "/nowhere"),
        (["curate.labels=/nowhere.txt"], "curate.labels: /nowhere.txt: cannot be read"),
        (["evaluate.labels=[red, red]"], "evaluate.labels: listed more than once: red"),
        (["evaluate.template=a photo"], "has no {}"),
        (["train.0.batch=13"], "train[0]: sampler 'shuffle': 12 samples fill no batch of 13"),
        (["train.0.accumulate=2", "train.0.losses.0={name: infonce}"], "train[0].losses[0]: loss 'infonce' compares"),
        (["train.0.select.by=accuracy", "evaluate.labels=[cat]"], "train[0].select.by: 'accuracy' needs labels"),
        (["compute.device=tpu"], "compute.device: must be text of the form"),
        (["modalities={depth: {name: depth}}"], "modalities: none of depth shows photographs"),
        (["export.quantizers=[{name: weight-only, bits: 4}]"], "export.quantizers[0].bits: 4 bits are for MatMul"),
        (["export.quantizers=[{name: weight-only, block: 64}]"], "export.quantizers[0].block: blocks of 64 are for"),
        (
            ["export.quantizers.0.operators=[Convv]"],
            "export.quantizers[0].operators: onnxruntime cannot quantise Convv.",
        ),
        (
            ["export={backends: [{name: onnxruntime, format: ort}], quantizers: [{name: fp16}]}"],
            "export.quantizers[0]: backend 'onnxruntime', format ort: its converter stores",
        ),
        (["export.quantizers.0.name=int8-dynamic"], "of the weights are in convolutions"),
        (["train.0.gradient_checkpointing=true"], "gradient checkpointing needs student.checkpointing"),
    ],
)
def test_what_a_run_would_refuse_is_refused_now(refusal, overrides: list[str], fragment: str) -> None:
    assert fragment in refusal(*overrides)


def test_an_empty_held_out_split_is_told_with_the_one_there_is(recipe: Path, refusal) -> None:
    for file in (recipe.parent / "data" / "test").rglob("*.png"):
        file.unlink()
    assert "verify.split: the data set has no 'test' samples to verify on. Set verify.split=val" in refusal()


def test_a_phase_that_selects_needs_a_validation_split(recipe: Path, refusal) -> None:
    for file in (recipe.parent / "data" / "val").rglob("*.png"):
        file.unlink()
    assert "train[0].select.by: 'loss' needs a validation split" in refusal()


ENSEMBLE = "teacher={name: ensemble, members: [{name: tiny-colours}, {name: tiny-colours, weight: 3}]}"


def test_the_members_of_an_ensemble_are_pieces_of_the_plan(plan) -> None:
    found = plan(ENSEMBLE)
    rows = {row["path"]: row for row in found["pieces"] if row["path"].startswith("teacher")}
    assert list(rows) == ["teacher", "teacher.members[0]", "teacher.members[1]"]
    assert rows["teacher"]["distribution"] == "edgefw" and rows["teacher.members[1]"]["distribution"] == "edgefw-tiny"
    assert rows["teacher"]["provides"] == ["embedding", "text"]
    assert found["teacher"]["width"] == 16 and tuple(found["teacher"]["image_size"]) == (8, 8)
    assert found["student"]["head"]["out"] == 16


@pytest.mark.parametrize(
    ("teacher", "words"),
    [
        ("{name: ensemble, members: [{name: tiny-colours}]}", "teacher.members: must be at least 2 items long"),
        ("{name: ensemble, members: [{name: tiny-colours}, {weight: 2}]}", "teacher.members[1].name: is required"),
        (
            "{name: ensemble, members: [{name: tiny-colours}, {name: tiny-colours, weight: 0}]}",
            "teacher.members[1].weight: must be greater than 0.0, got 0.",
        ),
        (
            "{name: ensemble, members: [{name: tiny-colours}, {name: tiny-colours, size: 3}]}",
            "teacher.members[1].size: unknown key. Allowed: none.",
        ),
    ],
)
def test_a_wrong_ensemble_is_refused_with_one_message(recipe, capsys, teacher: str, words: str) -> None:
    assert run(["check", str(recipe), f"teacher={teacher}"]) == 2
    assert words in capsys.readouterr().err
