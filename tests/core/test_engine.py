"""The engine on a recipe of seconds: order, skipping, stopping, observers, and what a run folder holds."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgefw import engine
from edgefw.errors import EdgefwError, EdgefwWarning, PluginError, RecipeError, RunFolderError
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry

TINY = Path(__file__).parents[1] / "fixtures" / "tiny_pieces"
RECIPE = """
seed: 3
data: {name: folder, root: data}
modalities: {rgb: {name: rgb}}
teacher: {name: tiny-colours}
student: {name: tiny-trunk}
curate: {labels: [red, green, blue, grey], keep: 0.5}
train:
  - name: distil
    scheme: {name: single-modality}
    losses: [{name: feature}]
    optimiser: {lr: 1e-2}
    steps: 4
    batch: 8
    cache: {views: 2}
  - name: polish
    scheme: {name: single-modality}
    losses: [{name: feature, weight: 0.5}, {name: similarity-kl}]
    steps: 3
    batch: 8
compute: {device: cpu, log_every: 2}
"""


def draw(root: Path, counts: dict[str, int]) -> None:
    """Noise with one strong channel, in folders by colour."""
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for channel, name in enumerate(("red", "green", "blue")):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 60, (20, 20, 3))
                pixels[..., channel] += 150
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{number}.png")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(TINY)
    monkeypatch.setenv("EDGEFW_PLUGINS", "edgefw-tiny")
    monkeypatch.delenv("EDGEFW_CACHE", raising=False)
    draw(tmp_path / "data", {"train": 8, "val": 2})
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    return tmp_path


def run(project: Path, *overrides: str, out: str = "run", **options: Any) -> dict[str, Any]:
    recipe = read_recipe(str(project / "tiny.yaml"), overrides)
    return engine.run(recipe, Registry(), project / out, **{"until": "train", **options})


def diary(project: Path) -> list[str]:
    """What the observer wrote since the last look."""
    file = project / "run" / "diary.txt"
    lines = file.read_text().splitlines()
    file.unlink()
    return lines


def stages(result: dict[str, Any]) -> dict[str, bool]:
    return {row["name"]: row["skipped"] for row in result["stages"]}


def test_a_run_leaves_what_the_documentation_says(project: Path) -> None:
    result = run(project)
    folder = project / "run"
    assert result == json.loads((folder / "result.json").read_text())
    assert result["status"] == "ok"
    assert result["until"] == "train"
    assert stages(result) == {"curate": False, "train": False}
    assert result["provenance"]["samples"] == {"total": 24, "kept": 12, "skipped": 0}
    assert (folder / "recipe.yaml").read_text() == RECIPE
    assert read_recipe(str(folder / "resolved.yaml")).resolved == read_recipe(str(project / "tiny.yaml")).resolved
    environment = json.loads((folder / "environment.json").read_text())
    tiny = {"kind": "teacher", "name": "tiny-colours", "module": "edgefw_tiny.colours"}
    assert {**tiny, "distribution": "edgefw-tiny", "version": "1.0"} in environment["plugins"]
    assert environment["packages"]["torch"]
    phases = [json.loads(line)["phase"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(phases)) == ["distil", "polish"]
    for phase in ("distil", "polish"):
        assert (folder / "train" / phase / "student.safetensors").is_file()
    train = json.loads((folder / "train" / "result.json").read_text())
    assert train["steps"] == 7
    assert train["weights"] == "train/polish/student.safetensors"
    assert set(train["losses"]) >= {"loss", "feature", "similarity-kl"}


def test_observers_hear_of_everything_and_of_skipped_stages(project: Path) -> None:
    run(project)
    lines = diary(project)
    assert lines[0] == f"run {project / 'tiny.yaml'}"
    assert lines[-1] == "finished NoneType"
    assert [line for line in lines if line.split()[0] in ("start", "end")] == [
        "start curate",
        "end curate",
        "start train",
        "end train",
    ]
    assert "step distil 4" in lines
    assert "step polish 2" in lines
    run(project)
    assert diary(project)[1:-1] == ["skip curate", "skip train"]


def test_only_what_changed_is_run_again(project: Path) -> None:
    first = run(project)
    weights = (project / "run" / "train" / "distil" / "student.safetensors").stat().st_mtime_ns
    assert stages(run(project)) == {"curate": True, "train": True}
    assert stages(run(project, "compute.log_every=5", "compute.workers=0", "verify.max_ms=3")) == {
        "curate": True,
        "train": True,
    }
    again = run(project, "train.1.losses.0.weight=0.25")
    assert stages(again) == {"curate": True, "train": False}
    assert (project / "run" / "train" / "distil" / "student.safetensors").stat().st_mtime_ns == weights
    assert again["provenance"]["weights_sha256"] != first["provenance"]["weights_sha256"]
    assert stages(run(project, "curate.keep=0.75")) == {"curate": False, "train": False}
    back = run(project)
    assert back["provenance"]["weights_sha256"] == first["provenance"]["weights_sha256"]


def test_a_changed_picture_is_noticed(project: Path) -> None:
    run(project, until="curate")
    assert stages(run(project, until="curate")) == {"curate": True}
    Image.new("RGB", (20, 20), (250, 10, 10)).save(project / "data" / "train" / "red" / "0.png")
    assert stages(run(project, until="curate")) == {"curate": False}


def test_a_lost_file_is_made_again(project: Path) -> None:
    first = run(project)
    (project / "run" / "train" / "polish" / "student.safetensors").unlink()
    again = run(project)
    assert stages(again) == {"curate": True, "train": False}
    assert again["provenance"]["weights_sha256"] == first["provenance"]["weights_sha256"]


def test_a_removed_phase_leaves_no_weights_behind(project: Path) -> None:
    run(project)
    (project / "tiny.yaml").write_text(RECIPE.replace("name: polish", "name: finish"))
    run(project)
    assert not (project / "run" / "train" / "polish").exists()
    assert (project / "run" / "train" / "finish" / "student.safetensors").is_file()


def test_two_runs_of_one_seed_give_the_same_bytes(project: Path) -> None:
    one, two = run(project, out="one"), run(project, out="two")
    assert one["provenance"]["weights_sha256"] == two["provenance"]["weights_sha256"]
    other = run(project, "seed=4", out="three")
    assert one["provenance"]["weights_sha256"] != other["provenance"]["weights_sha256"]


def test_without_a_curate_section_every_sample_is_kept_without_teacher_or_labels(project: Path) -> None:
    text = RECIPE.replace(", {name: similarity-kl}", "")
    (project / "tiny.yaml").write_text("\n".join(line for line in text.splitlines() if "curate:" not in line))
    run(project, until="curate")
    result = json.loads((project / "run" / "curate" / "result.json").read_text())
    assert (result["kept"], result["total"], result["labels"], result["per_label"]) == (24, 24, [], [])
    assert not (project / "run" / "cache" / "teacher").exists()


def test_curation_takes_the_colours_for_what_they_are(project: Path) -> None:
    run(project, until="curate")
    result = json.loads((project / "run" / "curate" / "result.json").read_text())
    totals = {row["label"]: row["total"] for row in result["per_label"]}
    assert totals == {"red": 8, "green": 8, "blue": 8, "grey": 0}
    assert sum(row["kept"] for row in result["per_label"]) == result["kept"] == 12
    red = result["per_label"][0]
    assert all(name.startswith("train/red/") for name in red["examples"])
    assert red["mean_confidence"] > result["per_label"][3]["total"]


def test_another_fraction_does_not_ask_the_teacher_again(project: Path) -> None:
    run(project, until="curate")
    shards = {path: path.stat().st_mtime_ns for path in (project / "run" / "cache").rglob("*.safetensors")}
    assert shards
    run(project, "curate.keep=1.0", until="curate")
    assert {path: path.stat().st_mtime_ns for path in (project / "run" / "cache").rglob("*.safetensors")} == shards


def test_of_each_label_the_same_share_is_kept(project: Path) -> None:
    run(project, "curate.per_label=true", "curate.keep=0.25", until="curate")
    result = json.loads((project / "run" / "curate" / "result.json").read_text())
    assert {row["label"]: row["kept"] for row in result["per_label"]} == {"red": 2, "green": 2, "blue": 2, "grey": 0}
    assert result["rule"] == "the surest 25 % of each label"


def test_a_label_listed_twice_is_used_once_with_a_warning(project: Path) -> None:
    with pytest.warns(EdgefwWarning, match=r"curate\.labels: listed more than once: red\..*share its probability"):
        run(project, "curate.labels=[red,Red,green,blue]", until="curate")
    result = json.loads((project / "run" / "curate" / "result.json").read_text())
    assert result["labels"] == ["red", "green", "blue"]


def test_a_threshold_that_nothing_reaches_says_what_the_surest_sample_scored(project: Path) -> None:
    with pytest.raises(EdgefwError, match=r"curate\.threshold: no sample scores above 1\.0 \(the surest one has 0\.99"):
        run(project, "curate.threshold=1.0", until="curate")


def test_skipped_samples_are_counted_and_listed(project: Path) -> None:
    (project / "data" / "train" / "red" / "broken.png").write_bytes(b"\x89PNG no more")
    run(project, until="curate")
    result = json.loads((project / "run" / "curate" / "result.json").read_text())
    assert (result["total"], result["skipped"]) == (24, 1)
    assert result["skipped_samples"][0]["where"].endswith("broken.png")


def test_selection_on_a_validation_split_that_is_not_there_is_refused(project: Path) -> None:
    import shutil

    shutil.rmtree(project / "data" / "val")
    with pytest.raises(RecipeError, match=r"train\[0\]\.select\.by: 'loss' needs a validation split"):
        run(project, out="none")
    run(project, "train.0.select.by=last", "train.1.select.by=last", out="last")


def test_an_unknown_stage_is_refused_before_anything_is_written(project: Path) -> None:
    with pytest.raises(RecipeError, match="no stage 'trian'"):
        run(project, until="trian")
    assert not (project / "run").exists()


def test_a_recipe_that_does_not_compose_writes_nothing(project: Path) -> None:
    with pytest.raises(EdgefwError, match="no-such-teacher"):
        run(project, "teacher.name=no-such-teacher")
    assert not (project / "run").exists()


def test_a_run_of_another_recipe_is_not_written_over(project: Path) -> None:
    run(project, until="curate")
    (project / "other.yaml").write_text(RECIPE)
    with pytest.raises(RunFolderError, match="run of recipe 'tiny', not of 'other'"):
        engine.run(read_recipe(str(project / "other.yaml")), Registry(), project / "run", "curate")


def test_a_failed_run_tells_the_observers_and_lets_go_of_the_folder(project: Path) -> None:
    with pytest.raises(EdgefwError):
        run(project, "curate.threshold=1.0", until="curate")
    assert diary(project)[-1] == "finished DataError"
    assert stages(run(project, until="curate")) == {"curate": False}


def test_an_observer_that_fails_is_fatal_only_when_strict(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFW_TENSORBOARD", "1")
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(PluginError, match="tensorboard"):
        run(project, until="curate", strict_plugins=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(project, until="curate")
    assert sum("tensorboard" in str(one.message) for one in caught) == 1


def test_runs_share_a_cache_when_they_are_told_to(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFW_CACHE", str(project / "shared"))
    run(project, until="curate", out="one")
    shards = list((project / "shared").rglob("*.safetensors"))
    run(project, until="curate", out="two")
    assert list((project / "shared").rglob("*.safetensors")) == shards
    assert not (project / "one" / "cache").exists()


def test_a_backend_refuses_a_quantizer_before_data_are_curated(project: Path) -> None:
    with pytest.raises(
        EdgefwError, match=r"export.quantizers\[0\]: backend 'tensorrt': the quantizer 'int8-static' rounds to uint8"
    ):
        run(project, "export={backends: [{name: tensorrt}], quantizers: [{name: int8-static}]}", until=None)
    assert not [entry for entry in (project / "run").rglob("*") if entry.parent.name in {"curate", "train"}]


def test_a_quantizer_refuses_the_student_before_data_are_curated(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgefw.plugins.quantizers.int8_dynamic import Int8Dynamic

    def refuse(self: Int8Dynamic, network: object) -> None:
        raise EdgefwError("not for this student")

    monkeypatch.setattr(Int8Dynamic, "check_network", refuse)
    with pytest.raises(EdgefwError, match="not for this student"):
        run(project, "export={backends: [{name: onnxruntime}], quantizers: [{name: int8-dynamic}]}")
    assert not [entry for entry in (project / "run").rglob("*") if entry.parent.name in {"curate", "train"}]
