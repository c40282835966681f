"""The ablation benchmark's own logic: halves without a common model, cells that build on each other, readable recipes."""

from __future__ import annotations

import importlib
import json
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import edgefw
from edgefw.recipe.chosen import ChosenPhase
from edgefw.recipe.compose import compose
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.stages.kept import Kept
from edgefw.stages.kept import write_kept as write_kept_table

ROOT = Path(__file__).resolve().parents[1]
CLASSES = [
    "bed",
    "bench",
    "bookcase",
    "bottle",
    "cabinet",
    "chair",
    "desk",
    "door",
    "lamp",
    "potted plant",
    "sofa",
    "table",
]
DATA = ROOT.parent / "shared" / "data" / "furniture-rgbd"


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "edgevl"))
    return importlib.import_module("cells")


def test_a_row_after_another_one_begins_with_all_its_phases(cells: ModuleType) -> None:
    all_cells = {cell.name: cell for cell in cells.cells()}
    after = [cell for cell in all_cells.values() if cell.start]
    assert after
    for cell in after:
        earlier = all_cells[cell.start]
        assert cell.phases[: len(earlier.phases)] == earlier.phases
        assert list(all_cells).index(cell.start) < list(all_cells).index(cell.name)


REAL = ["swin-t", "vit-s", "dat-t"]


@pytest.mark.parametrize("student", ["cnn", "vit", "dat", "swin", *REAL])
def test_every_row_that_starts_from_initial_weights_at_fp32_has_the_same_steps_and_images(
    cells: ModuleType, student: str
) -> None:
    budgets = {
        (sum(phase["steps"] for phase in cell.phases), sum(phase["steps"] * phase["batch"] for phase in cell.phases))
        for cell in cells.cells(students=[student])
        if cell.row["bits"] == 32 and not cell.start
    }
    assert len(budgets) == 1


def test_every_cell_is_a_recipe_that_edgefw_reads(cells: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEVL_DATA", "data")
    monkeypatch.setenv("EDGEVL_WORK", "work")
    seen = {cell.row["method"]: cell for cell in cells.cells(seeds=[3])}
    for cell in seen.values():
        config = read_recipe(str(cells.RECIPE), cell.overrides()).config
        assert [phase.name for phase in config.train] == [phase["name"] for phase in cell.phases]
        assert config.seed == 3


def test_ranges_come_from_as_many_samples_as_a_row_says(cells: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEVL_DATA", "data")
    monkeypatch.setenv("EDGEVL_WORK", "work")
    rows = {cell.row["method"]: cell for cell in cells.cells(["ptq", "ptq-few", "ptq-tensor"], ["cnn"], [1])}
    read = {name: read_recipe(str(cells.RECIPE), cell.overrides()).config.export for name, cell in rows.items()}
    assert {name: export.calibration for name, export in read.items()} == {"ptq": 128, "ptq-few": 8, "ptq-tensor": 128}
    assert read["ptq-tensor"].quantizers[0].options == {"per_channel": False}


def test_a_student_with_a_budget_of_its_own_has_it_in_every_phase_that_says_nothing_else(cells: ModuleType) -> None:
    steps = {name: next(cells.cells(["stage-2"], [name], [1])).phases for name in ("cnn", "vit")}
    assert [(phase["steps"], phase["batch"]) for phase in steps["cnn"]] == [(120, 48), (40, 12)]
    assert [(phase["steps"], phase["batch"]) for phase in steps["vit"]] == [(600, 16), (150, 12)]
    assert [phase["optimiser"]["lr"] for phase in steps["vit"]] == [pytest.approx(1e-4), pytest.approx(5e-5)]


@pytest.mark.parametrize("student", REAL)
def test_every_row_is_composed_at_real_size(cells: ModuleType, monkeypatch: pytest.MonkeyPatch, student: str) -> None:
    monkeypatch.setenv("EDGEVL_DATA", "data")
    monkeypatch.setenv("EDGEVL_WORK", "work")
    rows = list(cells.cells(students=[student]))
    assert {"stage-1", "qat", "qvit", "stage-2", "successor", "best", "frank", "skd"} <= {c.row["method"] for c in rows}
    for cell in rows:
        found = compose(read_recipe(str(cells.RECIPE), cell.overrides()), Registry())
        assert found.recipe.config.compute.precision == "bf16" and found.recipe.config.compute.threads is None


def test_a_row_is_made_for_its_students_alone(cells: ModuleType) -> None:
    assert {cell.student for cell in cells.cells(methods=["qvit"])} == {"vit", "dat"}
    assert [cell.name for cell in cells.cells(methods=["ptq", "qvit"], students=["cnn"], seeds=[1])] == ["ptq-cnn-1"]
    with pytest.raises(SystemExit, match="no cell is left of cnn: qvit is for vit, dat, swin, swin-t, vit-s, dat-t."):
        list(cells.cells(methods=["qvit"], students=["cnn"]))


@pytest.mark.parametrize("student", ["vit", "dat", "swin", *REAL])
def test_the_row_of_qvit_is_composed(cells: ModuleType, monkeypatch: pytest.MonkeyPatch, student: str) -> None:
    monkeypatch.setenv("EDGEVL_DATA", "data")
    monkeypatch.setenv("EDGEVL_WORK", "work")
    (cell,) = cells.cells(methods=["qvit"], students=[student], seeds=[1])
    phase = compose(read_recipe(str(cells.RECIPE), cell.overrides()), Registry()).phases[-1]
    assert phase.quantizer is not None and phase.quantizer.technique.name == "qvit"
    assert [loss.loss.technique.name for loss in phase.losses] == ["feature", "distribution-guided"]


SHIPPED = {
    "stage-1": "edgevl-stage-1",
    "ptq": "edgevl-ptq",
    "qat": "edgevl-qat",
    "qvit": "edgevl-qvit",
    "stage-2": "edgevl",
    "successor": "edgevl-successor",
    "best": "edgevl-best",
} | {name: name for name in ("cmkd-rgb", "cmkd-depth", "frank", "gupta", "fida", "cqd", "skd")}


@pytest.mark.parametrize("method", SHIPPED)
def test_a_row_is_composed_as_the_shipped_recipe_of_its_name(
    method: str, cells: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEVL_DATA", "data")
    monkeypatch.setenv("EDGEVL_WORK", "work")
    (cell,) = cells.cells([method], ["vit" if method == "qvit" else "cnn"], [1])
    row = compose(read_recipe(str(cells.RECIPE), cell.overrides()), Registry()).phases
    recipe = compose(read_recipe(SHIPPED[method], ["data.file=samples.csv"]), Registry()).phases
    assert [_techniques(phase) for phase in row] == [_techniques(phase) for phase in recipe]


def _techniques(phase: ChosenPhase) -> dict[str, Any]:
    """What a phase computes: its techniques with every option; sizes, rates and steps are the benchmark's own."""
    chosen = {kind: getattr(phase, kind) for kind in ("scheme", "sampler", "quantizer")}
    pieces = {kind: (one.technique.name, one.config.model_dump()) for kind, one in chosen.items() if one is not None}
    if pieces["scheme"][1].get("modality", "") is None:
        pieces["scheme"][1]["modality"] = "depth"  # left out: the other one of two sensors
    losses = sorted((each.loss.technique.name, each.weight, str(each.loss.config)) for each in phase.losses)
    return pieces | {"losses": losses, "ema": phase.phase.ema}


def test_an_unknown_method_is_named_with_those_that_exist(cells: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no method 'stage-9' in rows.yaml. There are: cmkd-rgb, "):
        list(cells.cells(methods=["stage-9"]))


def test_the_label_superset_leaves_out_some_test_names_and_repeats_none() -> None:
    names = (ROOT / "benchmarks" / "edgevl" / "superset.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert len(names) == len(set(names)) >= 40
    assert {name for name in CLASSES if name not in names} == {"cabinet", "desk", "potted plant", "sofa"}


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/furniture-rgbd")
def test_no_model_is_in_both_halves_and_each_class_is_in_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "edgevl"))
    teacher, students = importlib.import_module("halves").halves(DATA)
    assert not set(teacher) & set(students)
    assert (len(teacher), len(students)) == (74, 71)


@pytest.mark.parametrize("precision", ["int8-qat", "qvit"])
def test_the_figures_of_a_row_are_those_of_its_file(tmp_path: Path, precision: str, cells: ModuleType) -> None:
    measured = importlib.import_module("collect").measured
    values = {("rounded", "depth"): 0.2, ("rounded", "rgb"): 0.4, ("float", "depth"): 0.9, ("float", "rgb"): 0.9}
    values |= {("teacher", "depth"): 0.1, ("teacher", "rgb"): 0.7}
    evaluation = [
        {"model": model, "modality": modality, "metric": metric, "value": value}
        for (model, modality), value in values.items()
        for metric in ("top1", "balanced_top1")
    ]
    files = [
        {"name": "float", "precision": "fp32", "bytes": 4_000_000},
        {"name": "rounded", "precision": precision, "bytes": 1_000_000},
    ]
    (tmp_path / "result.json").write_text(json.dumps({"evaluation": evaluation, "artefacts": files}))
    (tmp_path / "train" / "qat").mkdir(parents=True)
    (tmp_path / "train" / "qat" / "phase.json").write_text('{"result": {"cpu_seconds": 3.5}}')
    row = measured(tmp_path, 8)
    assert (row["average"], row["megabytes"], row["train_seconds"]) == (pytest.approx(0.3), 1.0, 3.5)
    assert row["teacher"]["average"] == pytest.approx(0.4)


def test_rows_that_know_the_classes_train_without_curation_on_what_it_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: ModuleType
) -> None:
    halves, kept = importlib.import_module("halves"), importlib.import_module("kept")
    monkeypatch.setenv("EDGEVL_WORK", str(tmp_path))
    monkeypatch.setenv("EDGEVL_DATA", "data")
    run, data = tmp_path / "run", tmp_path / "data"
    assert not kept.write_kept(run, data)
    data.mkdir()
    (run / "curate").mkdir(parents=True)
    with tarfile.open(data / halves.SHARD, "w") as tar:
        for name in ("a", "b", "c"):
            halves.add_sample(tar, {"": name.encode(), "jpg": b"1", "depth.png": b"2", "json": b"{}"})
    rows = Kept(
        ids=["distil/a", "distil/b", "distil/c"],
        label=np.zeros(3),
        confidence=np.ones(3),
        kept=np.array([1, 0, 1], bool),
    )
    write_kept_table(run / "curate", rows)
    assert kept.write_kept(run, data)
    assert [sample[""] for sample in halves.shard_samples(data / kept.FILE)] == [b"a", b"c"]
    (cell,) = cells.cells(["known-stage-2"], ["cnn"], [1])
    recipe = read_recipe(cells.RECIPE, cell.overrides()).config
    assert recipe.curate is None and recipe.data.options["shards"]["train"] == str(data / kept.FILE)


def finished(cell: object, **changes: object) -> dict[str, object]:
    """What cells.json says of a finished cell."""
    accuracies = dict.fromkeys(("depth", "rgb", "average", "depth_balanced", "rgb_balanced", "average_balanced"), 0.5)
    about = {"digest": cell.digest(), "teacher_sha256": "abc", "cpu": "one processor", "teacher": accuracies}
    return {**accuracies, "megabytes": 1.0, "train_seconds": 2.0, **about, **changes}


@pytest.mark.parametrize("changes", [{"digest": "another recipe"}, {"teacher_sha256": "another teacher"}])
def test_a_committed_cell_counts_if_recipe_and_teacher_are_todays(
    tmp_path: Path, cells: ModuleType, changes: dict[str, str]
) -> None:
    collect = importlib.import_module("collect")
    write_teacher(tmp_path)
    one, other = list(cells.cells(["stage-1"], ["cnn"], [1, 2]))
    file = tmp_path / "cells.json"
    file.write_text(json.dumps({one.name: finished(one), other.name: finished(other, **changes)}))
    assert list(collect.earlier(file, [one, other], tmp_path)) == [one.name]
    assert collect.earlier(tmp_path / "none.json", [one], tmp_path) == {}


def write_teacher(work: Path) -> None:
    (work / "teacher").mkdir()
    (work / "teacher" / "training.json").write_text('{"weights_sha256": "abc"}')


def test_a_cell_of_other_first_weights_does_not_count_where_there_are_some(tmp_path: Path, cells: ModuleType) -> None:
    collect, start = (importlib.import_module(name) for name in ("collect", "start"))
    write_teacher(tmp_path)
    cnn, vit = *cells.cells(["stage-1"], ["cnn"], [1]), *cells.cells(["stage-1"], ["vit"], [1])
    file = tmp_path / "cells.json"
    file.write_text(json.dumps({cnn.name: finished(cnn), vit.name: finished(vit, start_sha256="that of this machine")}))
    assert list(collect.earlier(file, [cnn, vit], tmp_path)) == [cnn.name, vit.name]  # none made here yet
    weights = start.start_file("vit", tmp_path)
    weights.parent.mkdir()
    weights.write_bytes(b"others")
    assert list(collect.earlier(file, [cnn, vit], tmp_path)) == [cnn.name]
    file.write_text(json.dumps({vit.name: finished(vit, start_sha256=start.digest(weights))}))
    assert list(collect.earlier(file, [cnn, vit], tmp_path)) == [vit.name]


@pytest.mark.parametrize("student", ["vit", "dat"])
def test_first_weights_are_those_of_the_trunk_that_was_trained(tmp_path: Path, cells: ModuleType, student: str) -> None:
    from safetensors.torch import save_file

    from edgefw.plugins.students import dat, timm

    start = importlib.import_module("start")
    piece = {key: value for key, value in start.starting()[student].items() if key not in ("name", "head")}
    config, build = {"vit": (timm.TimmConfig, timm.build), "dat": (dat.DatConfig, dat.build)}[student]
    torch.manual_seed(1)
    trained = build(config(**piece), edgefw.BuildContext())
    state = {f"trunk.{name}": values for name, values in trained.state_dict().items()}
    save_file(state | {"head.weight": torch.zeros(2, 2)}, tmp_path / "student.safetensors")
    start.save_backbone(tmp_path / "student.safetensors", tmp_path / "start.safetensors")
    torch.manual_seed(2)
    again = build(config(**piece, weights=str(tmp_path / "start.safetensors")), edgefw.BuildContext())
    pixels = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(again.eval()(pixels).pooled, trained.eval()(pixels).pooled)


def test_what_is_known_is_run_only_where_another_cell_starts_from_it(cells: ModuleType) -> None:
    unknown = importlib.import_module("run").unknown
    chosen = list(cells.cells(["stage-1", "qat", "gupta"], ["cnn"], [1]))
    names = [cell.name for cell in chosen]
    assert [cell.name for cell in unknown(chosen, names)] == []
    assert [cell.name for cell in unknown(chosen, {"stage-1-cnn-1", "gupta-cnn-1"})] == ["stage-1-cnn-1", "qat-cnn-1"]
    assert [cell.name for cell in unknown(chosen, {"stage-1-cnn-1", "qat-cnn-1"})] == ["gupta-cnn-1"]


def test_generalisation_asks_for_runs_of_its_own_whatever_is_committed(
    tmp_path: Path, cells: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, generalise = (importlib.import_module(name) for name in ("run", "generalise"))
    write_teacher(tmp_path)
    chosen = list(cells.cells(generalise.METHODS, ["cnn"], [1]))
    (tmp_path / "cells.json").write_text(json.dumps({cell.name: finished(cell) for cell in chosen}))
    monkeypatch.setattr(run, "HERE", tmp_path)
    command = generalise.making(tmp_path, tmp_path)[1:]
    monkeypatch.setattr("sys.argv", [option for option in command if option != "--own-runs"])
    assert set(run.committed(chosen, tmp_path, run.read_arguments())) == {cell.name for cell in chosen}
    monkeypatch.setattr("sys.argv", command)
    assert run.committed(chosen, tmp_path, run.read_arguments()) == {}
    assert list(cells.cells(run.read_arguments().only, run.read_arguments().students, [1])) == chosen


def test_own_runs_leave_the_committed_table_alone(
    tmp_path: Path, cells: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = importlib.import_module("run")
    for options, target in (([], cells.HERE), (["--own-runs"], tmp_path), (["--smoke", "2"], tmp_path)):
        monkeypatch.setattr("sys.argv", ["run.py", *options])
        assert run.target_of(run.read_arguments(), tmp_path, goes_on=False) == target


def test_runs_that_are_missing_are_named_with_what_makes_them(tmp_path: Path, cells: ModuleType) -> None:
    refuse_missing = importlib.import_module("collect").refuse_missing
    there, missing = tmp_path / "stage-1-cnn-1", tmp_path / "qat-cnn-2"
    there.mkdir()
    (there / "cell.json").write_text("{}")
    refuse_missing([there])
    with pytest.raises(SystemExit, match="lacks the finished runs qat-cnn-2. Make them with .*run.py --own-runs"):
        refuse_missing([there, missing])


@pytest.fixture
def separation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "edgevl"))
    return importlib.import_module("separation")


def test_separation_is_that_of_all_triplets_and_of_the_nearest_other_model(separation: ModuleType) -> None:
    draw = np.random.default_rng(4)
    classes, models = draw.integers(0, 3, 24), draw.integers(0, 9, 24)
    rows = separation.unit(draw.normal(size=(24, 5)))
    distance = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    by_anchor, right = [], []
    for a in range(24):
        positives = [p for p in range(24) if classes[p] == classes[a] and models[p] != models[a]]
        negatives = [n for n in range(24) if classes[n] != classes[a]]
        if positives and negatives:
            broken = [distance[a, p] + 0.3 > distance[a, n] for p in positives for n in negatives]
            by_anchor.append(np.mean(broken))
        others = [n for n in range(24) if models[n] != models[a]]
        right.append(classes[min(others, key=lambda n: distance[a, n])] == classes[a])
    found = separation.apart(rows, classes, models)
    assert found["neighbour"] == pytest.approx(np.mean(right), abs=1e-4)
    assert found["violated"] == pytest.approx(np.mean(by_anchor), abs=0.01)


def test_separation_of_classes_in_corners_is_complete(separation: ModuleType) -> None:
    classes, models = np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3])
    rows = np.eye(2)[classes]
    assert separation.apart(rows, classes, models) == {"violated": 0.0, "neighbour": 1.0}
    assert separation.apart(rows, np.array([0, 1, 0, 1]), models) == {"violated": 1.0, "neighbour": 0.0}


def test_rows_of_separation_are_means_over_seeds_and_sensors(separation: ModuleType) -> None:
    def run(value: float) -> dict[str, dict[str, dict[str, float]]]:
        sensors = {
            name: {"violated": value + add, "neighbour": 0.0, "top1": 1.0} for name, add in (("rgb", 0), ("depth", 0.2))
        }
        return {"test": sensors}

    rows = separation.means({"stage-1-cnn-1": run(0.1), "stage-1-cnn-2": run(0.3), "known-stage-1-cnn-1": run(0.0)})
    assert rows[0] == {"method": "stage-1", "seeds": 2, "test": {"violated": 0.3, "neighbour": 0.0, "top1": 1.0}}
    assert [row["method"] for row in rows] == ["stage-1", "known-stage-1"]


def test_gains_are_those_over_the_row_that_a_row_starts_from_seed_by_seed(cells: ModuleType) -> None:
    gains = importlib.import_module("gains")
    each = {
        "stage-1-cnn-1": {"average": 0.50, "average_balanced": 0.40},
        "stage-1-cnn-2": {"average": 0.52, "average_balanced": 0.41},
        "qat-cnn-1": {"average": 0.51, "average_balanced": 0.38},
        "qat-cnn-2": {"average": 0.55, "average_balanced": 0.41},
        "known-stage-1-cnn-1": {"average": 0.505, "average_balanced": 0.40},
        "gupta-cnn-1": {"average": 0.1, "average_balanced": 0.1},
        "ptq-cnn-1": {"average": 0.4996, "average_balanced": 0.3996},
    }
    rows = gains.table(list(cells.cells()), each).splitlines()[2:]
    assert rows == [
        "| stage 1 again, other crops | cnn | stage 1 (fp32) | +0.5 (+0.0) | +0.5 (+0.0) |",
        "| + PTQ | cnn | stage 1 (fp32) | +0.0 (+0.0) | +0.0 (+0.0) |",
        "| + QAT | cnn | stage 1 (fp32) | +1.0 (-2.0), +3.0 (+0.0) | +2.0 (-1.0) |",
    ]


def test_kept_classes_are_counted_and_recalled_by_hand(tmp_path: Path, cells: ModuleType) -> None:
    kept_classes = importlib.import_module("kept_classes")
    classes = {"a": "cat", "b": "cat", "c": "dog"}
    runs = {
        "of all": [run_of(tmp_path / "all", ["c"], [1, 1, 1])],
        "of each": [run_of(tmp_path / "each", ["a", "c"], [0, 1, 1])],
    }
    assert kept_classes.rows(classes, runs) == [
        {"class": "cat", "samples": 2, "kept": {"of all": 0, "of each": 1}, "recall": {"of all": 0.0, "of each": 50.0}, "teacher_rgb": 100.0},
        {"class": "dog", "samples": 1, "kept": {"of all": 1, "of each": 1}, "recall": {"of all": 100.0, "of each": 100.0}, "teacher_rgb": 0.0},
    ]  # fmt: skip


def run_of(folder: Path, kept: list[str], said: list[int]) -> Path:
    """A run whose curation kept these of a, b, c, and whose student says this of two cats and a dog, of either sensor."""
    (folder / "curate").mkdir(parents=True)
    (folder / "verify").mkdir()
    table = Kept(
        ids=[f"shard/{key}" for key in "abc"],
        label=np.zeros(3, np.int64),
        confidence=np.ones(3),
        kept=np.array([key in kept for key in "abc"]),
    )
    write_kept_table(folder / "curate", table)
    (folder / "verify" / "result.json").write_text(json.dumps({"labels": ["cat", "dog"]}))
    answers = {f"onnxruntime-fp32/{sensor}": np.array(said) for sensor in ("rgb", "depth")}
    np.savez(
        folder / "verify" / "predictions.npz", labels=np.array([0, 0, 1]), **answers, **{"teacher/rgb": np.zeros(3)}
    )
    return folder
