"""The ablation of benchmarks/clip4retrofit: equal budgets, readable recipes, corruptions, claims by hand, a miniature of both sets."""

from __future__ import annotations

import importlib
import io
import json
import tarfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from edgefw.recipe.compose import compose
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "benchmarks" / "clip4retrofit"
DATA = ROOT.parent / "shared" / "data"
TEACHER = "0" * 64


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


@pytest.fixture
def ablation(script) -> ModuleType:
    return script("ablation")


def picture(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def jpeg(pixels: np.ndarray) -> bytes:
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, format="JPEG")
    return stored.getvalue()


def miniature(folder: Path) -> Path:
    """Both sets with a few images: cifar10 with two classes, furniture-rgbd with two classes of two models."""
    cifar, furniture = folder / "cifar10", folder / "furniture-rgbd"
    cifar.mkdir(parents=True), furniture.mkdir()
    (cifar / "classes.txt").write_text("\n".join(["airplane", "automobile", *map(str, range(8))]) + "\n")
    (furniture / "classes.txt").write_text("\n".join(["bed", "chair", *map(str, range(10))]) + "\n")
    for shard in ("train-000000", "train-000004", "train-000009", "test-000000"):
        with tarfile.open(cifar / f"{shard}.tar", "w") as archive:
            for number in range(4):
                add(archive, f"{shard}_{number}.jpg", jpeg(picture(32, number)))
                add(archive, f"{shard}_{number}.cls", str(number % 2).encode())
    rows = ["key,split,class,model_id,model_name"]
    for split in ("train", "val", "test"):
        with tarfile.open(furniture / f"{split}-000000.tar", "w") as archive:
            for number in range(4):
                name, model = ("bed", "chair")[number % 2], f"{split}{number}"
                rows.append(f"{model}_v00,{split},{name},{model},Nice {name}")
                view = {"wall_texture": "brick", "floor_texture": "wood"}
                about = {"class": name, "model_id": model, "model_name": f"Nice {name}", "view": view}
                add(archive, f"{model}_v00.jpg", jpeg(picture(128, number)))
                add(archive, f"{model}_v00.depth.png", b"not looked at")
                add(archive, f"{model}_v00.json", json.dumps(about).encode())
    (furniture / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_every_row_of_the_table_shows_as_many_images_in_as_many_steps(ablation) -> None:
    cells = list(ablation.cells())
    assert len(cells) == 7 * 2 * 3
    assert {(cell.images, cell.phase["steps"]) for cell in cells} == {(5760, 120)}


def test_rows_add_what_their_titles_say_and_change_nothing_else(ablation) -> None:
    rows = {cell.row["row"]: cell.phase for cell in ablation.cells(sets=["cifar10"], seeds=[1])}
    names = {row: [loss["name"] for loss in phase["losses"]] for row, phase in rows.items()}
    assert names["embedding"] == ["feature"]
    assert names["both"] == ["feature", "pca-attention", "gl-tokens"]
    assert names["adversarial"] == [*names["both"], "view-adversarial"]
    assert names["changed"] == names["both"]
    assert names["consistency"] == [*names["both"], "view-consistency"]
    assert {row for row, phase in rows.items() if phase["views"]["name"] == "multi-view"} == {
        "adversarial",
        "consistency",
        "changed",
    }
    kept = [{key: phase[key] for key in ("optimiser", "steps", "cache", "select", "clip")} for phase in rows.values()]
    assert all(own == kept[0] for own in kept)


def test_controls_differ_from_their_rows_in_steps_or_images_alone(ablation) -> None:
    names = ["embedding-long", "both-long", "changed-long", "adversarial-long", "consistency-long"]
    for name in names:
        plain = name.removesuffix("-long")
        longer, own = (next(ablation.cells([row], ["cifar10"], [1])).phase for row in (name, plain))
        assert longer == own | {"steps": 2 * own["steps"]}
    both, half = (next(ablation.cells([row], ["cifar10"], [1])).phase for row in ("both", "both-half"))
    assert half == both | {"batch": both["batch"] // 2}
    for name in ("adversarial", "consistency"):
        plain, light = (next(ablation.cells([row], ["cifar10"], [1])).phase for row in (name, f"{name}-light"))
        weights = [[loss.get("weight", 1.0) for loss in phase["losses"]] for phase in (plain, light)]
        assert weights[0][:-1] == weights[1][:-1] and weights[1][-1] == pytest.approx(weights[0][-1] / 10)
        assert light | {"losses": plain["losses"]} == plain


def test_controls_of_one_set_stay_there(ablation) -> None:
    controls = [(cell.set, cell.row["row"]) for cell in ablation.cells(table="controls")]
    assert ("cifar10", "both-long") in controls and ("furniture-rgbd", "both-long") not in controls
    assert {("cifar10", "adversarial-light"), ("furniture-rgbd", "adversarial-light")} <= set(controls)


def test_a_choice_changes_its_own_keys_alone(ablation) -> None:
    (plain,) = ablation.cells(["embedding"], ["cifar10"], [1])
    (faster,) = ablation.cells(["lr-3e-3"], ["cifar10"], [1])
    assert faster.phase["optimiser"] == plain.phase["optimiser"] | {"lr": 3e-3}
    (weighed,) = ablation.cells(["both-1"], ["cifar10"], [1])
    assert [loss.get("weight", 1.0) for loss in weighed.phase["losses"]] == [1.0, 1.0, 1.0]
    assert len({cell.digest(TEACHER) for cell in (plain, faster, weighed)}) == 3
    assert plain.digest(TEACHER) != plain.digest("1" * 64)


def test_every_row_is_a_recipe_that_edgefw_reads(ablation, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CLIP4RETROFIT_WORK", str(tmp_path))
    table = ablation.yaml.safe_load((SCRIPTS / "rows.yaml").read_text(encoding="utf-8"))
    for cell in ablation.cells([row["row"] for row in table["rows"]], ["cifar10"], [3]):
        config = read_recipe(str(ablation.RECIPE), cell.overrides(tmp_path, tmp_path, "val")).config
        assert (config.seed, config.data.options["shards"]["test"]) == (3, "train-000009.tar")
        assert config.train[0].steps == cell.phase["steps"]


@pytest.mark.parametrize("row", ["adversarial", "consistency"])
def test_the_rows_with_every_piece_are_composed(ablation, tmp_path, monkeypatch, row) -> None:
    monkeypatch.setenv("CLIP4RETROFIT_WORK", str(tmp_path))
    (cell,) = ablation.cells([row], ["cifar10"], [1])
    phase = compose(read_recipe(str(ablation.RECIPE), cell.overrides(tmp_path, tmp_path, "test")), Registry()).phases[0]
    assert [loss.loss.technique.name for loss in phase.losses] == [loss["name"] for loss in cell.phase["losses"]]
    assert cell.techniques() >= {("projector", "pca"), ("projector", "gl"), ("view", "multi-view")}


def test_an_unknown_row_is_named_with_those_that_exist(ablation) -> None:
    with pytest.raises(SystemExit, match="there is no row 'pcb'. There are: embedding, pca, "):
        list(ablation.cells(["pcb"]))


def test_a_corruption_is_the_same_on_every_run_and_grows_with_its_severity(script) -> None:
    corruptions = script("corruptions")
    smooth = np.asarray(Image.fromarray(picture(6, 0)).resize((48, 48), Image.Resampling.BICUBIC))
    assert len(corruptions.CORRUPTIONS) == 8
    for name in corruptions.CORRUPTIONS:
        changes = []
        for severity in corruptions.SEVERITIES:
            changed = corruptions.corrupt(smooth, name, severity, "key")
            assert changed.shape == smooth.shape and changed.dtype == np.uint8
            assert np.array_equal(changed, corruptions.corrupt(smooth, name, severity, "key"))
            changes.append(np.abs(changed.astype(float) - smooth).mean())
        assert 0 < changes[0] < changes[1] < changes[2], (name, changes)
    noises = [corruptions.corrupt(smooth, "noise", 1, key) for key in ("a", "b")]
    assert not np.array_equal(*noises)


def test_brightness_contrast_and_pixelation_are_what_they_say(script) -> None:
    corrupt = script("corruptions").corrupt
    grey = np.full((8, 8, 3), 100, np.uint8)
    assert (corrupt(grey, "brightness", 1, "") == round(100 + 0.25 * 255)).all()
    assert (corrupt(grey, "contrast", 3, "") == 100).all()
    halves = (
        np.repeat(np.array([[0, 200]], np.uint8), 4, axis=1)[None].repeat(8, axis=0)[:, 0][..., None].repeat(3, axis=2)
    )
    assert (corrupt(halves, "pixelate", 1, "") == halves).all()  # blocks of 2 x 2 do not cross the edge at 4
    assert (corrupt(halves, "contrast", 2, "")[:, 0] == round(100 - 0.3 * 100)).all()


def test_claims_are_judged_on_differences_of_one_seed(script) -> None:
    judged = script("claims").judged

    def row(clean: tuple[float, ...], corrupted: tuple[float, ...]) -> dict[int, dict[str, float]]:
        return {
            seed: {"clean": c, "clean_balanced": c, "corrupted": k, "auc": c}
            for seed, (c, k) in enumerate(zip(clean, corrupted), 1)
        }

    rows = {
        "embedding": row((0.50, 0.52), (0.40, 0.40)),
        "pca": row((0.52, 0.53), (0.40, 0.40)),  # +2, +1
        "gl": row((0.49, 0.53), (0.40, 0.40)),  # -1, +1
        "both": row((0.53, 0.53), (0.40, 0.41)),
        "adversarial": row((0.53, 0.54), (0.42, 0.42)),  # clean 0, +1; corrupted +2, +1
        "consistency": row((0.52, 0.53), (0.45, 0.46)),  # clean -1, 0
    }
    found = {claim["claim"].split(" above")[0].split(" gains")[0]: claim for claim in judged(rows)}
    assert found["pca"]["clean"] == {"points": 1.5, "spread": 0.7071, "seeds": [2.0, 1.0]}
    assert (found["pca"]["holds"], found["pca"]["every_seed"], found["pca"]["beyond_spread"]) == (True, True, True)
    assert (found["gl"]["holds"], found["gl"]["every_seed"]) == (False, False)
    adversarial, consistency = found["multi-view (adversarial)"], found["multi-view (consistency)"]
    assert (adversarial["holds"], adversarial["every_seed"], adversarial["corrupted"]["points"]) == (True, True, 1.5)
    assert (consistency["gains"], consistency["keeps_clean"], consistency["holds"]) == (True, False, False)
    assert consistency["keeps_clean_within_spread"] and consistency["beyond_spread"]


def test_more_right_answers_for_the_largest_class_alone_keep_nothing(script) -> None:
    both = {1: {"clean": 0.5, "clean_balanced": 0.5, "corrupted": 0.4, "auc": 0.7}}
    collapsed = {1: {"clean": 0.56, "clean_balanced": 0.46, "corrupted": 0.46, "auc": 0.7}}
    (claim,) = script("claims").judged({"both": both, "consistency": collapsed})
    assert (claim["gains"], claim["keeps_clean"], claim["holds"], claim["every_seed"]) == (True, False, False, False)


def test_answers_are_counted_by_class(script) -> None:
    found = script("said").counted(np.array([0, 0, 2, 2]), np.array([0, 1, 2, 1]), 4)
    assert found == {"said": [2, 0, 2, 0], "recall": [1.0, 0.0, 1.0, 0.0], "never_said": 2}
    told = script("said").table(
        {"classes": ["a", "b", "c", "d"], "images": [1, 2, 1, 0], "rows": [{"row": "both", "seed": 1, **found}]}
    )
    assert told.splitlines()[-1] == "| both | 1 | 2 | 2 | 0 | 2 | 0 |"


def test_what_a_loss_adds_to_its_views_is_told_apart(script) -> None:
    same = {1: {"clean": 0.5, "clean_balanced": 0.5, "corrupted": 0.4, "auc": 0.7}}
    better = {1: {"clean": 0.5, "clean_balanced": 0.5, "corrupted": 0.43, "auc": 0.7}}
    (claim,) = script("claims").judged({"changed": same, "adversarial": better})
    assert claim["claim"].startswith("multi-view (adversarial) above its views")
    assert (claim["corrupted"]["points"], claim["holds"], claim["beyond_spread"]) == (3.0, True, False)


def test_a_loss_of_clean_accuracy_is_judged_the_other_way_round(script) -> None:
    both = {
        1: {"clean": 0.5, "clean_balanced": 0.5, "corrupted": 0.4, "auc": 0.7},
        2: {"clean": 0.5, "clean_balanced": 0.5, "corrupted": 0.4, "auc": 0.7},
    }
    half = {
        1: {"clean": 0.46, "clean_balanced": 0.46, "corrupted": 0.4, "auc": 0.7},
        2: {"clean": 0.45, "clean_balanced": 0.45, "corrupted": 0.4, "auc": 0.7},
    }
    (claim,) = script("claims").judged({"both": both, "both-half": half})
    assert claim["clean"]["points"] == -4.5 and claim["clean"]["seeds"] == [-4.0, -5.0]
    assert claim["holds"] and claim["every_seed"] and claim["beyond_spread"]
    (reversed_claim,) = script("claims").judged({"both": half, "both-half": both})
    assert not (reversed_claim["holds"] or reversed_claim["every_seed"] or reversed_claim["beyond_spread"])


def test_a_claim_without_its_rows_is_left_out(script) -> None:
    one = {1: {"clean": 0.5, "clean_balanced": 0.5, "corrupted": 0.4, "auc": 0.7}}
    assert script("claims").judged({"embedding": one, "consistency": one}) == []
    (claim,) = script("claims").judged({"embedding": one, "pca": one})
    assert claim["clean"]["spread"] is None and not claim["beyond_spread"]


def test_parts_of_the_sets_are_apart_and_captions_name_what_is_seen(script, tmp_path) -> None:
    sets = script("sets")
    data = miniature(tmp_path / "data")
    furniture = sets.SETS["furniture-rgbd"]
    sets.write_students_part(data, tmp_path / "work")
    names = furniture.names(data)
    teacher = {sample[""] for sample in furniture.samples(data, "teacher")}
    students = {sample[""] for sample in sets.shard_samples(tmp_path / "work" / "data" / sets.SHARD)}
    assert len(teacher) == len(students) == 2 and not teacher & students
    first = furniture.samples(data, "val")[0]
    assert furniture.captions_of(first, names)[3] == "a bed, nice bed, in a room with brick walls and a wood floor"
    cifar = sets.SETS["cifar10"]
    assert [cifar.class_of(sample, []) for sample in cifar.samples(data, "test")] == [0, 1, 0, 1]
    drawn = [sample[""] for sample in cifar.samples(data, "test", 2)]
    assert len(drawn) == 2 and drawn == [sample[""] for sample in cifar.samples(data, "test", 2)]


def test_pictures_are_corrupted_once_and_a_perfect_model_is_told_so(script, tmp_path) -> None:
    robustness, sets = script("robustness"), script("sets")
    held = robustness.held_out(sets.SETS["cifar10"], miniature(tmp_path / "data"), "test", 4, tmp_path)
    assert len(held.conditions) == 1 + 8 * 3 and held.pictures("fog-2").shape == (4, 32, 32, 3)
    before = (held.folder / "fog-2.npy").stat().st_mtime_ns
    robustness.held_out(sets.SETS["cifar10"], tmp_path / "data", "test", 4, tmp_path)
    assert (held.folder / "fog-2.npy").stat().st_mtime_ns == before
    truth = np.eye(2)[held.labels]
    found = robustness.measured(lambda images: truth[: len(images)], np.eye(2), held)
    assert (found["clean"], found["auc"], found["corrupted"], found["n"]) == (1.0, 1.0, 1.0, 4)
    assert found["by_corruption"]["jpeg"] == [1.0, 1.0, 1.0]
    wrong = robustness.measured(lambda images: 1 - truth[: len(images)], np.eye(2), held)
    assert (wrong["clean"], wrong["auc"], wrong["corrupted_auc"]) == (0.0, 0.0, 0.0)


def test_the_table_has_means_spreads_and_claims(script, ablation) -> None:
    figures = script("figures")
    names = script("corruptions").CORRUPTIONS
    done = []
    for cell in ablation.cells(["embedding", "pca"], ["cifar10"], [1, 2]):
        clean = {"embedding": 0.5, "pca": 0.6}[cell.row["row"]] + 0.02 * cell.seed
        numbers = {key: clean for key in ("clean", "clean_balanced", "auc", "corrupted", "corrupted_auc")}
        each = {name: [clean] * 3 for name in names}
        done.append(
            (
                cell,
                numbers | {"n": 10, "n_corrupted": 5, "by_corruption": each, "train_seconds": 60.0, "megabytes": 1.0},
            )
        )
    teacher = done[0][1] | {"clean": 0.9}
    found = figures.results(done, {"cifar10": teacher}, {"split": "test"})
    assert [row["row"] for row in found["rows"]] == ["teacher", "embedding", "pca"]
    assert found["rows"][1]["clean"] == 0.53 and found["rows"][1]["clean_spread"] == 0.014142
    assert [claim["holds"] for claim in found["claims"]] == [True]
    printed = figures.table(found)
    assert (
        "| embedding loss only | 53.0 ± 1.4 | 53.0 ± 1.4 | 53.0 ± 1.4 | 53.0 ± 1.4 | 53.0 | 53.0 | 2 | 60 |" in printed
    )
    assert (
        "| cifar10 | pca above embedding loss only | +10.0 ± 0.0 | +10.0 ± 0.0 | +10.0 ± 0.0 | yes | yes | yes |"
        in printed
    )


def test_a_run_says_what_it_took_and_how_its_losses_began(script, tmp_path) -> None:
    (tmp_path / "train" / "distil").mkdir(parents=True)
    (tmp_path / "train" / "distil" / "phase.json").write_text(json.dumps({"result": {"cpu_seconds": 12.34}}))
    (tmp_path / "result.json").write_text(json.dumps({"artefacts": [{"bytes": 1_500_000}]}))
    lines = [{"step": step, "losses": {"feature": 1 / step}} for step in (1, 10, 20, 30, 40)]
    text = "".join(json.dumps(line) + "\n" for line in [{"stage": "curate"}, *lines, {"step": 40, "accuracy": 0.5}])
    (tmp_path / "metrics.jsonl").write_text(text)
    assert script("figures").run_numbers(tmp_path) == {
        "train_seconds": 12.3,
        "megabytes": 1.5,
        "losses": {
            "start": {"step": 1, "feature": 1.0},
            "quarter": {"step": 10, "feature": 0.1},
            "end": {"step": 40, "feature": 0.025},
        },
    }


def test_of_many_pictures_some_are_corrupted_and_keep_their_class(script, tmp_path, monkeypatch) -> None:
    robustness, sets = script("robustness"), script("sets")
    monkeypatch.setattr(robustness, "MOST_CORRUPTED", 3)
    held = robustness.held_out(sets.SETS["cifar10"], miniature(tmp_path / "data"), "test", 4, tmp_path)
    assert (len(held.pictures("clean")), len(held.pictures("jpeg-1"))) == (4, 3)
    for row, changed in zip(held.rows, held.pictures("brightness-1")):
        clean = held.pictures("clean")[row].astype(int)
        assert (changed == np.minimum(clean + 64, 255)).mean() > 0.99  # 0.25 * 255 is 63.75
    assert held.labels_of("jpeg-1").tolist() == held.labels[held.rows].tolist()


@pytest.mark.slow
def test_the_teacher_is_trained_goes_on_and_gives_tokens(script, tmp_path, monkeypatch) -> None:
    import edgefw
    from edgefw.plugins.teachers import openclip

    train_teacher, out = script("train_teacher"), tmp_path / "teacher"
    asked = ["train_teacher.py", "--data", str(miniature(tmp_path / "data")), "--out", str(out), "--batch", "2"]
    monkeypatch.setattr("sys.argv", [*asked, "--steps", "3", "--images", "4"])
    train_teacher.main()
    whole = json.loads((out / "training.json").read_text())
    assert whole["images"] == {"cifar10": 4, "furniture-rgbd": 2} and not (out / "state.pt").exists()
    config = openclip.OpenClipConfig(model=f"local-dir:{out}")
    assert {"tokens", "qkv"} <= openclip.provides_for(config)
    teacher = openclip.build(config, edgefw.BuildContext())
    assert (teacher.spec.tokens.grid, teacher.spec.tokens.heads, teacher.spec.width) == ((8, 8), 3, 384)

    monkeypatch.setattr(train_teacher, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train_teacher.main()  # stopped at the end: the state of step 2 is there
    monkeypatch.undo()
    monkeypatch.setattr("sys.argv", [*asked, "--steps", "3", "--images", "4"])
    train_teacher.main()
    assert json.loads((out / "training.json").read_text())["weights_sha256"] == whole["weights_sha256"]
