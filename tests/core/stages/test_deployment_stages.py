"""Export, verify, bundle and labelling of one small real run with two sensors, each number held against a second way.

The teacher knows colours by their mean; the student is trained for seconds. Nothing of ours is replaced.
"""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from edgefw import engine
from edgefw.cli.main import run as command_line
from edgefw.errors import BundleError, DataError, GateFailed, RecipeError
from edgefw.labels.texts import pack_from_names
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.reporting.numbers import mebibytes
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.bundle_text import describe
from edgefw.runtime.hashes import sha256_of
from edgefw.runtime.label_pack import read_pack
from edgefw.runtime.labelling import Encoder, label_images
from edgefw.runtime.opening import Opener, single_input
from edgefw.verifying.reverify import verify_run


def result(run: Path, stage: str) -> dict:
    return json.loads((run / stage / "result.json").read_text())


def value(rows, model, modality, metric):
    return next(r["value"] for r in rows if (r["model"], r["modality"], r["metric"]) == (model, modality, metric))


def encoder_of(opened, role, artefact):
    opener, entry = Opener(opened), opened.artefact(artefact)
    return Encoder(
        runner=opener.runner(entry, 1),
        input=single_input(entry),
        modality=opener.modality(role),
        preprocessing=opener.preprocessing(role),
    )


# ---- export ----------------------------------------------------------------------------------------------------


def test_every_artefact_has_a_folder_with_a_record_of_it(run):
    records = result(run, "export")["artefacts"]
    assert [record["name"] for record in records] == ["onnxruntime-fp32", "onnxruntime-int8-static"]
    for record in records:
        file = run / "export" / record["name"] / record["file"]
        assert json.loads((file.parent / "artefact.json").read_text()) == record
        assert (file.stat().st_size, sha256_of(file)) == (record["bytes"], record["sha256"])
        assert record["signature"] == {"name": "encoder", "inputs": ["rgb"], "serves": ["rgb", "depth"]}
        assert record["inputs"] == {"image": [3, 16, 16]}
    assert records[1]["source"] == "onnxruntime-fp32"
    assert records[1]["bytes"] < 0.5 * records[0]["bytes"]


def test_calibration_sees_every_sensor(run):
    assert result(run, "export")["artefacts"][1]["details"]["samples"] == 24  # 12 samples, two images each


def test_training_parts_stay_behind(run):
    names = {entry.name for entry in onnx.load(run / "export/onnxruntime-fp32/model.onnx").graph.initializer}
    assert not any("dropout" in name.lower() for name in names)


# ---- verify ----------------------------------------------------------------------------------------------------


def test_accuracy_of_an_artefact_is_what_the_bundle_says_of_the_files(project, run):
    """A second way to every number: the bundle's own preprocessing, runner and label pack on the files."""
    verify = result(run, "verify")
    stored = np.load(run / "verify/predictions.npz")
    ids = json.loads((run / "verify/ids.json").read_text())
    names = verify["labels"]
    truth = np.array([names.index(name.split("-")[1]) for name in ids])
    np.testing.assert_array_equal(stored["labels"], truth)
    with open_bundle(run) as opened:
        pack = opened.label_pack()
        assert list(pack.names) == names
        for model in ("onnxruntime-fp32", "onnxruntime-int8-static"):
            for role, ending in (("rgb", ".png"), ("depth", "-depth.png")):
                asked = [at for at, name in enumerate(ids) if role == "rgb" or name != "test-red-0"]
                paths = [project / "data" / f"{ids[at]}{ending}" for at in asked]
                said = [
                    names.index(item.ranking[0][0])
                    for item in label_images(encoder_of(opened, role, model), pack, paths)
                ]
                np.testing.assert_array_equal(stored[f"{model}/{role}"][asked], said)
                accuracy = float(np.mean(np.array(said) == truth[asked]))
                assert value(verify["evaluation"], model, role, "top1") == pytest.approx(accuracy)


def test_a_missing_image_is_not_asked_about(run):
    stored = np.load(run / "verify/predictions.npz")
    place = json.loads((run / "verify/ids.json").read_text()).index("test-red-0")
    assert stored["student/depth"][place] == -1
    assert stored["student/rgb"][place] >= 0
    rows = result(run, "verify")["evaluation"]
    counts = {(row["model"], row["modality"]): row["n"] for row in rows if row["metric"] == "top1"}
    assert counts["student", "rgb"] == 15
    assert counts["student", "depth"] == 14


def test_teacher_reads_colours_and_not_depth_and_the_student_learns_both(run):
    rows = result(run, "verify")["evaluation"]
    assert value(rows, "teacher", "rgb", "top1") == 1.0
    assert value(rows, "teacher", "depth", "top1") <= 0.5
    assert value(rows, "student", "rgb", "top1") >= 0.9
    assert value(rows, "student", "depth", "top1") >= 0.6


def test_distance_to_the_student_is_that_of_the_files(project, run):
    verify = result(run, "verify")
    fp32, int8 = verify["artefacts"]
    assert fp32["cosine_min"] > 0.999999
    assert fp32["relative_error_max"] < 1e-4
    with open_bundle(run) as opened:
        runners = {name: encoder_of(opened, "rgb", name) for name in ("onnxruntime-fp32", "onnxruntime-int8-static")}
        images = [
            runners["onnxruntime-fp32"].prepare(path.read_bytes(), "x")
            for path in sorted((project / "data").glob("test-*.png"))
            if "depth" not in path.name
        ]
        one, other = (encoder.embed(images).astype(np.float64) for encoder in runners.values())
    cosines = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    found = int8["modalities"]["rgb"]
    assert found["n"] == 15
    assert found["cosine_mean"] == pytest.approx(cosines.mean(), abs=1e-6)
    assert found["cosine_min"] == pytest.approx(cosines.min(), abs=1e-6)
    assert found["cosine_p1"] == pytest.approx(np.percentile(cosines, 1), abs=1e-6)
    assert int8["cosine_mean"] == min(part["cosine_mean"] for part in int8["modalities"].values())


def test_costs_are_measured(run):
    for record in result(run, "verify")["artefacts"]:
        assert 0 < record["latency_ms_p50"] <= record["latency_ms_p95"]
        assert record["bytes"] == (run / record["path"]).stat().st_size
        assert record["batch_relative_error"] < 1e-3
        assert 0 < record["memory_mib"] < 200 and record["memory_why"] is None
        assert f'<td class="n">{mebibytes(record["memory_mib"])}</td>' in (run / "report.html").read_text()


def test_budget_rows_follow_from_the_numbers(run):
    verify = result(run, "verify")
    rows = {(row["artefact"], row["check"]): row for row in verify["budget"]}
    assert [check for name, check in rows if name == "onnxruntime-int8-static"] == [
        "max_drop", "min_cosine", "max_length_error", "max_batch_error", "max_not_finite"
    ]  # fmt: skip
    fp32 = verify["artefacts"][0]
    largest = max(fp32["relative_error_max"], fp32["batch_1"]["relative_error_max"])
    assert rows["onnxruntime-fp32", "max_error"]["value"] == largest < 1e-4
    assert (
        rows["onnxruntime-fp32", "max_batch_error"]["limit"] == rows["onnxruntime-fp32", "max_error"]["limit"] == 0.01
    )
    assert rows["onnxruntime-int8-static", "max_batch_error"]["limit"] == 0.25
    int8 = verify["artefacts"][1]
    said = max(int8["length_error"], int8["batch_1"]["length_error"])
    assert rows["onnxruntime-int8-static", "max_length_error"]["value"] == said < 0.1
    assert verify["unjudged"] == []
    top1 = {(row["model"], row["modality"]): row["value"] for row in verify["evaluation"] if row["metric"] == "top1"}
    drop = max(100 * (top1["onnxruntime-fp32", m] - top1["onnxruntime-int8-static", m]) for m in ("rgb", "depth"))
    assert rows["onnxruntime-int8-static", "max_drop"]["value"] == pytest.approx(drop)
    assert rows["onnxruntime-int8-static", "min_cosine"]["value"] == verify["artefacts"][1]["cosine_mean"]
    assert verify["best"] in ("onnxruntime-fp32", "onnxruntime-int8-static")


def test_the_drop_is_that_of_the_stored_answers_pair_by_pair(run):
    """Record, row of the budget, bundle and report: the worst sensor, and a bootstrap over samples written out."""
    record = result(run, "verify")["artefacts"][1]
    stored, found = np.load(run / "verify/predictions.npz"), {}
    for role in ("rgb", "depth"):
        one, other = (stored[f"onnxruntime-{name}/{role}"] for name in ("fp32", "int8-static"))
        asked = one >= 0
        right = [(own[asked] == stored["labels"][asked]).astype(float) for own in (one, other)]
        found[role] = 100 * (right[0] - right[1])
    drop = record["drop"]
    assert drop["points"] == pytest.approx(max(values.mean() for values in found.values()))
    lost = found[drop["modality"]]
    draws = np.random.default_rng(0).integers(0, len(lost), (1000, len(lost)))
    ends = np.percentile(lost[draws].mean(axis=1), [2.5, 97.5])
    assert (drop["low"], drop["high"]) == pytest.approx(tuple(ends), abs=1e-9)
    assert (drop["metric"], drop["n"]) == ("top1", len(lost))
    rows = {(row["artefact"], row["check"]): row for row in result(run, "verify")["budget"]}
    assert rows[record["name"], "max_drop"]["interval"] == [drop["low"], drop["high"]]
    text = f"{drop['points']:.1f} points ({drop['low']:.1f} to {drop['high']:.1f})"
    with open_bundle(run) as opened:
        assert opened.artefact(record["name"]).quality["drop"] == drop
        assert f"      drop {text}" in describe(opened)
    assert f'<td class="n">{text}</td>' in (run / "report.html").read_text()


@pytest.mark.slow
def test_a_budget_that_is_not_met_fails_the_gate_after_everything_is_written(project):
    recipe = read_recipe(str(project / "tiny.yaml"), ["verify.min_cosine=1.0"])
    with pytest.raises(GateFailed, match="min_cosine is 0.9"):
        engine.run(recipe, Registry(), shutil.copytree(project / "run", project / "strict"), resume=True)
    assert json.loads((project / "strict/result.json").read_text())["status"] == "gate-failed"
    assert (project / "strict/report.html").is_file()
    assert (project / "strict/bundle/manifest.json").is_file()


@pytest.mark.slow
def test_at_most_so_many_samples_are_drawn_from_the_whole_split(project, tmp_path):
    recipe = read_recipe(str(project / "tiny.yaml"), ["verify.samples=6"])
    out = shutil.copytree(project / "run", tmp_path / "few")
    engine.run(recipe, Registry(), out, until="verify", resume=True)
    ids = json.loads((out / "verify/ids.json").read_text())
    assert len(ids) == 6
    assert len({name.split("-")[1] for name in ids}) >= 2


@pytest.mark.slow
def test_a_split_without_samples_is_an_error_of_one_message(project, tmp_path):
    shutil.copytree(project / "data", tmp_path / "data")
    shutil.copy(project / "tiny.yaml", tmp_path / "tiny.yaml")
    lines = (tmp_path / "data/samples.csv").read_text().splitlines()
    (tmp_path / "data/samples.csv").write_text("\n".join(line for line in lines if ",test," not in line) + "\n")
    recipe = read_recipe(str(tmp_path / "tiny.yaml"), ["train.0.steps=1"])
    with pytest.raises(DataError, match="split 'test' is empty"):
        engine.run(recipe, Registry(), tmp_path / "run")
    assert not (tmp_path / "run/verify").exists()


@pytest.mark.slow
def test_without_label_texts_embeddings_are_compared_and_accuracy_is_not_judged(project, tmp_path):
    shutil.copytree(project / "data", tmp_path / "data")
    rows = list(csv.reader((tmp_path / "data/samples.csv").open()))
    with (tmp_path / "data/samples.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[row[0], row[1], "label" if row[0] == "id" else "", *row[3:]] for row in rows])
    shutil.copy(project / "tiny.yaml", tmp_path / "tiny.yaml")
    engine.run(
        read_recipe(str(tmp_path / "tiny.yaml"), ["train.0.steps=2", "verify.min_cosine=0.1"]),
        Registry(),
        tmp_path / "run",
    )
    verify = result(tmp_path / "run", "verify")
    assert {row["metric"] for row in verify["evaluation"]} == {"cosine"}
    assert {row["check"] for row in verify["budget"]} == {
        "min_cosine", "max_error", "max_length_error", "max_batch_error", "max_not_finite"
    }  # fmt: skip
    assert "verify.max_drop is not judged: no label texts" in verify["warnings"]
    with open_bundle(tmp_path / "run") as opened, pytest.raises(BundleError, match="holds no label pack"):
        opened.label_pack()


def test_a_quantizer_that_refuses_says_where_and_why(project, tmp_path):
    recipe = read_recipe(str(project / "tiny.yaml"), ["export.quantizers=[{name: int8-dynamic}]"])
    out = shutil.copytree(project / "run", tmp_path / "run")
    with pytest.raises(Exception, match=r"export.quantizers\[0\]: .* of the weights are in convolutions"):
        engine.run(recipe, Registry(), out, until="export", resume=True)
    assert (out / "export/result.json").read_bytes() == (project / "run/export/result.json").read_bytes()


def test_verifying_again_gives_the_same_answers_from_anywhere(copy, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    again = verify_run(copy)
    assert again["evaluation"] == result(run, "verify")["evaluation"]
    assert json.loads((copy / "result.json").read_text())["evaluation"] == again["evaluation"]
    assert [row["name"] for row in json.loads((copy / "result.json").read_text())["stages"]] == [
        "curate", "train", "export", "verify", "report",
    ]  # fmt: skip


OTHER = "evaluate.labels=[red, blue]"


def test_a_run_is_verified_on_other_samples_beside_itself(copy, tmp_path, capsys):
    before = (copy / "result.json").read_bytes()
    out = tmp_path / "elsewhere"
    changes = [OTHER, "verify.split=val", "verify.max_drop=null"]
    assert command_line(["verify", str(copy), *changes, "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["target"] == str(out)
    assert printed["labels"] == ["red", "blue"]
    assert (printed["split"], printed["samples"]) == ("val", 6)
    assert (copy / "result.json").read_bytes() == before
    stated = json.loads((out / "result.json").read_text())
    assert stated["evaluation"] == printed["evaluation"]
    assert stated["provenance"]["overrides"][-3:] == changes
    assert stated["provenance"]["weights_sha256"] == json.loads(before)["provenance"]["weights_sha256"]
    assert verify_run(out)["labels"] == ["red", "blue"]


def test_other_samples_may_lack_a_sensor_and_disagreements_have_pictures(copy, tmp_path, capsys):
    Image.new("RGB", (20, 20), (200, 30, 30)).save(tmp_path / "red.png")
    rows = "a,test,red,red.png,\nb,test,blue,red.png,\n"  # the same photograph: one of the two labels is wrong
    (tmp_path / "photos.csv").write_text(f"id,split,label,rgb,depth\n{rows}")
    data = f"data={{name: csv, file: {tmp_path / 'photos.csv'}}}"
    out = tmp_path / "elsewhere"
    changes = [data, "evaluate.labels=[red, blue]", "verify.split=test"]
    code = command_line(["verify", str(copy), *changes, "--out", str(out), "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert code in (0, 1) and printed["samples"] == 2
    assert {row["modality"] for row in printed["evaluation"]} == {"rgb"}
    assert any("no held-out sample has an image of depth" in text for text in printed["warnings"])
    (wrong,) = printed["disagreements"]
    assert {wrong["label"], wrong["artefact"]} == {"red", "blue"} and wrong["modality"] == "rgb"
    with Image.open(out / wrong["picture"]) as picture:
        assert max(picture.size) <= 160


def test_what_was_trained_cannot_change_afterwards(copy, tmp_path, capsys):
    out = str(tmp_path / "elsewhere")
    assert command_line(["verify", str(copy), "student.width=8", "--out", out]) == 2
    assert "only keys of data, evaluate, verify and compute can change" in capsys.readouterr().err
    assert command_line(["verify", str(copy), OTHER]) == 2
    assert "KEY=VALUE and --out, both of them" in capsys.readouterr().err
    assert command_line(["verify", str(copy), OTHER, "--out", str(copy)]) == 2
    assert "there is something already" in capsys.readouterr().err
    assert command_line(["verify", str(copy / "bundle"), OTHER, "--out", out]) == 2
    assert "a bundle holds no recipe" in capsys.readouterr().err


def test_a_failed_verification_elsewhere_leaves_nothing(copy, tmp_path, capsys):
    out = tmp_path / "elsewhere"
    assert command_line(["verify", str(copy), "verify.split=train2", "--out", str(out)]) == 2
    assert "train2" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [copy.name]


def test_the_command_verifies_a_run_and_exits_with_its_verdict(copy, capsys):
    assert command_line(["verify", str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "run"
    text = (copy / "resolved.yaml").read_text().replace("min_cosine: 0.9", "min_cosine: 1.0")
    (copy / "resolved.yaml").write_text(text)
    assert command_line(["verify", str(copy)]) == 1
    captured = capsys.readouterr()
    assert "FAIL onnxruntime-int8-static: min_cosine" in captured.out
    assert "The budget was not met" in captured.err
    shutil.rmtree(copy / "export")
    assert command_line(["verify", str(copy)]) == 2
    assert "no run with exported files" in capsys.readouterr().err


# ---- bundle ----------------------------------------------------------------------------------------------------


def test_the_bundle_holds_what_was_verified(run):
    verify, export = result(run, "verify"), result(run, "export")
    with open_bundle(run) as opened:
        manifest = opened.manifest
        assert manifest.default == verify["best"]
        assert manifest.encoder == sha256_of(run / "train/distil/student.safetensors") == export["student_sha256"]
        assert [entry.sha256 for entry in manifest.artefacts] == [record["sha256"] for record in export["artefacts"]]
        assert manifest.budget["min_cosine"] == 0.9
        assert manifest.provenance["weights_sha256"] == manifest.encoder
        assert set(manifest.provenance["licences"]) == {"teacher", "student", "data"}
        quality = manifest.artefacts[1].quality
        assert quality["top1"]["rgb"] == value(verify["evaluation"], "onnxruntime-int8-static", "rgb", "top1")


def test_a_pack_from_the_same_names_is_the_bundles_own(run):
    with open_bundle(run) as opened:
        own = opened.label_pack()
        made = pack_from_names(opened, own.names)
        assert made.names == own.names
        assert made.templates == ("a photo of a {}", "a {} wall")
        images = np.random.default_rng(0).normal(size=(6, own.width)).astype(np.float32)
        np.testing.assert_allclose(made.cosines(images), own.cosines(images), atol=2e-3)


def test_new_names_label_images_through_the_text_tower(project, run, capsys):
    pictures = str(project / "data" / "test-*-1.png")
    assert command_line(["label", str(run), pictures, "--labels", "a red wall, a green wall,a blue wall"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[1] for line in lines] == [f"a {Path(line[0]).name.split('-')[1]} wall" for line in lines]


def test_labels_build_writes_a_pack_that_label_takes(project, run, tmp_path, capsys):
    (tmp_path / "names.txt").write_text("# colours\nred\n\nblue\n")
    arguments = ["labels", "build", str(run), "--file", str(tmp_path / "names.txt"), "--template", "a {} thing",
                 "--threshold", "0.2", "--out", str(tmp_path / "p.json")]  # fmt: skip
    assert command_line(arguments) == 0
    assert command_line(["labels", "show", str(tmp_path / "p.json"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["templates"] == ["a {} thing"]
    assert [(row["label"], row["threshold"]) for row in document["labels"]] == [("red", 0.2), ("blue", 0.2)]
    picture = str(project / "data" / "test-blue-1.png")
    assert command_line(["label", str(run), picture, "--pack", str(tmp_path / "p.json")]) == 0
    assert "\tblue\t" in capsys.readouterr().out


def test_labels_build_takes_a_prompt_list(project, run, tmp_path, capsys):
    """Every vector is the text tower's, and a picture of a negative's colour gets no label."""
    (tmp_path / "p.yaml").write_text(
        "templates: ['a {} thing', 'a {} wall']\nthreshold: 0.1\nlabels:\n- red\n- name: azure\n  synonyms: [blue]\n"
        "  threshold: 0.2\nnegatives: [green]\n"
    )
    build = ["labels", "build", str(run), "--file", str(tmp_path / "p.yaml"), "--out", str(tmp_path / "p.json")]
    assert command_line([*build, "--dtype", "float32"]) == 0
    assert "2 labels, 1 negatives" in capsys.readouterr().err
    made = read_pack(tmp_path / "p.json")
    assert [(one.name, one.threshold, len(one.vectors)) for one in made.labels] == [("red", 0.1, 1), ("azure", 0.2, 2)]
    with open_bundle(run) as opened:
        plain = pack_from_names(opened, ["red", "azure", "blue", "green"], ["a {} thing", "a {} wall"])
    expected = np.concatenate([label.vectors for label in plain.labels])
    found = np.concatenate([entry.vectors for entry in (*made.labels, *made.negatives)])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    pictures = [str(project / "data" / f"test-{name}-1.png") for name in ("red", "blue", "green")]
    assert command_line(["label", str(run), *pictures, "--pack", str(tmp_path / "p.json"), "--jsonl"]) == 0
    said = [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()]
    assert said == ["red", "azure", None]


def test_wrong_names_for_a_pack_are_told(run):
    with open_bundle(run) as opened:
        with pytest.raises(BundleError, match="labels given twice: red"):
            pack_from_names(opened, ["red", "Red "])
        with pytest.raises(BundleError, match="no label names"):
            pack_from_names(opened, [" ", ""])
        with pytest.raises(RecipeError, match="has no {}"):
            pack_from_names(opened, ["red"], ["a wall"])


def test_texts_of_other_teacher_weights_are_refused(run):
    with open_bundle(run) as opened:
        entry = opened.manifest.teacher.model_copy(update={"fingerprint": "0" * 64})
        other = replace(opened, manifest=opened.manifest.model_copy(update={"teacher": entry}))
        with pytest.raises(BundleError, match="its weights are not those the bundle was made with"):
            pack_from_names(other, ["red"])
