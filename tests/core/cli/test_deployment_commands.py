"""label, bench, bundle, labels and verify as a user types them: output, JSON, exit codes, one message per mistake."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgefw.labels.triggers import with_trigger
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.label_pack import Negative, write_pack


def refusal(result) -> str:
    """The one message of a refused command."""
    code, out, err = result
    assert code == 2, (code, out, err)
    assert "Traceback" not in err
    return err.strip()


# ---- label -----------------------------------------------------------------------------------------------------


def test_label_prints_a_line_per_image_and_a_summary(edgefw, bundle, pictures):
    code, out, err = edgefw("label", bundle, pictures)
    assert code == 0
    lines = [line.split("\t") for line in out.splitlines()]
    assert [line[1] for line in lines] == [line[0].split("/")[-2] for line in lines]
    assert err.strip() == "12 images: blue 4, green 4, red 4"


def test_label_prints_one_json_document(edgefw, bundle, pictures):
    code, out, _ = edgefw("label", bundle, pictures / "red", pictures / "blue", "--json", "--top", 2)
    document = json.loads(out)
    assert code == 0
    assert document["artefact"] == "onnxruntime-int8-static"
    assert document["modality"] == "rgb"
    assert document["labels"] == ["red", "green", "blue"]
    assert document["counts"] == {"red": 4, "blue": 4}
    assert document["unreadable"] == []
    assert [len(image["labels"]) for image in document["images"]] == [2] * 8
    assert document["images"][0]["label"] == document["images"][0]["labels"][0]["label"] == "red"


def test_label_prints_json_lines(edgefw, bundle, pictures):
    code, out, _ = edgefw("label", bundle, f"{pictures}/*/0.png", "--jsonl", "--artefact", "onnxruntime-fp32")
    assert code == 0
    assert [json.loads(line)["label"] for line in out.splitlines()] == ["blue", "green", "red"]


def test_label_counts_and_lists_what_it_cannot_read(edgefw, bundle, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "p")
    (tmp_path / "p" / "bad.png").write_bytes(b"no picture")
    code, out, err = edgefw("label", bundle, tmp_path / "p")
    assert code == 0
    assert len(out.splitlines()) == 12
    assert "1 files cannot be read:" in err
    assert "bad.png: no image format that Pillow knows." in err
    code, out, _ = edgefw("label", bundle, tmp_path / "p", "--json")
    assert json.loads(out)["unreadable"] == [
        {"path": str(tmp_path / "p/bad.png"), "error": "no image format that Pillow knows."}
    ]
    message = refusal(edgefw("label", bundle, tmp_path / "p" / "bad.png"))
    assert "none of 1 images can be read" in message


def test_label_takes_a_pack_and_holds_its_threshold(edgefw, bundle, pictures, tmp_path, small_bundle):
    with open_bundle(bundle) as opened:
        pack = opened.label_pack()
    strict = [type(label)(name=f"very {label.name}", vectors=label.vectors, threshold=1.0) for label in pack.labels]
    write_pack(type(pack)(labels=strict, logit_scale=1.0, encoder=pack.encoder), tmp_path / "p.json")
    code, out, err = edgefw("label", bundle, pictures / "red", "--pack", tmp_path / "p.json")
    assert code == 0
    assert out.splitlines()[0].split("\t")[1].startswith("unknown: very red")
    assert "unknown 4" in err


def test_label_reads_an_archive(edgefw, bundle, pictures, tmp_path):
    assert edgefw("bundle", "pack", bundle, tmp_path / "b.edgefw")[0] == 0
    code, out, _ = edgefw("label", tmp_path / "b.edgefw", pictures / "green")
    assert code == 0
    assert {line.split("\t")[1] for line in out.splitlines()} == {"green"}


def test_label_says_what_is_wrong_in_one_message(edgefw, bundle, pictures, tmp_path):
    damaged = shutil.copytree(bundle, tmp_path / "damaged")
    (damaged / "labels.json").write_text("{}")
    foreign = tmp_path / "foreign.json"
    with open_bundle(bundle) as opened:
        pack = opened.label_pack()
    write_pack(type(pack)(labels=pack.labels, logit_scale=1.0, encoder="0" * 64), foreign)
    cases = {
        ("absent", pictures): "there is no such bundle",
        (pictures, pictures): "no bundle (there is no manifest.json)",
        (bundle, "absent.png"): "there is no such file or folder",
        (bundle, ""): "a SOURCE is empty",
        (bundle, "~nobody-of-this-name/7.png"): "there is no such file or folder",
        (bundle, "~nobody-of-this-name/*.png"): "the pattern matches no image",
        (bundle, "rgb="): "'': there is no such file or folder",
        (bundle, "absent/*.png"): "the pattern matches no image",
        (bundle, tmp_path / "damaged"): "none of",
        (damaged, pictures): "damaged or changed",
        (bundle, pictures, "--modality", "sonar"): "--modality sonar: the bundle has rgb, depth",
        (bundle, pictures, "--artefact", "tflite"): "no artefact 'tflite'. It has: onnxruntime-fp32",
        (bundle, pictures, "--pack", "absent.json"): "absent.json: cannot be read",
        (bundle, pictures, "--pack", foreign): "made for encoder 000000000000",
        (bundle, pictures, "--labels", "a cat"): "names no teacher that reads text",
        (bundle, pictures, "--json", "--jsonl"): "--json excludes --jsonl",
        (bundle, pictures, "--batch", 0): "Invalid value for '--batch'",
        (bundle,): "Missing argument '[MODALITY=]SOURCE...'",
    }
    (tmp_path / "damaged" / "x.png").write_bytes(b"")
    for arguments, message in cases.items():
        assert message in refusal(edgefw("label", *arguments)), arguments


# ---- bundle ----------------------------------------------------------------------------------------------------


def test_bundle_show_tells_hashes_and_licences(edgefw, bundle):
    code, out, _ = edgefw("bundle", "show", bundle)
    assert code == 0
    for text in (
        "* onnxruntime-int8-static",
        "sha256 ",
        "red, green, blue",
        "Apache-2.0",
        "CC0-1.0",
        "decoded by depth",
    ):
        assert text in out
    document = json.loads(edgefw("bundle", "show", bundle, "--json")[1])
    assert document["manifest"]["default"] == "onnxruntime-int8-static"
    assert document["labels"]["names"] == ["red", "green", "blue"]
    assert "manifest.json" in document["sha256"]


def test_bundle_goes_through_an_archive_and_back_unchanged(edgefw, bundle, tmp_path):
    assert edgefw("bundle", "pack", bundle, tmp_path / "b.edgefw")[0] == 0
    assert edgefw("bundle", "extract", tmp_path / "b.edgefw", tmp_path / "out")[0] == 0
    code, out, err = edgefw("bundle", "diff", bundle, tmp_path / "out")
    assert (code, out, err.strip()) == (0, "", "equal")
    assert "not an empty folder" in refusal(edgefw("bundle", "extract", bundle, tmp_path / "out"))


def test_bundle_diff_names_what_differs(edgefw, bundle, tmp_path, small_bundle):
    other = small_bundle.write_small_bundle(tmp_path / "other", default="onnxruntime-fp32")
    code, out, err = edgefw("bundle", "diff", bundle, other)
    assert (code, err.strip()) == (1, "2 differences")
    assert 'manifest.default: "onnxruntime-int8-static" -> "onnxruntime-fp32"' in out
    document = json.loads(edgefw("bundle", "diff", bundle, other, "--json")[1])
    assert document["equal"] is False
    assert {row["key"] for row in document["differences"]} == {"manifest.default", "sha256.manifest.json"}


# ---- labels ----------------------------------------------------------------------------------------------------


def test_labels_show_reads_packs_and_bundles(edgefw, bundle):
    code, out, _ = edgefw("labels", "show", bundle / "labels.json")
    assert code == 0
    assert "a {} wall" in out
    assert edgefw("labels", "show", bundle)[1] == out
    document = json.loads(edgefw("labels", "show", bundle, "--json")[1])
    assert [row["label"] for row in document["labels"]] == ["red", "green", "blue"]
    assert document["trigger"] is None and "trigger" not in out
    assert "absent.json: cannot be read" in refusal(edgefw("labels", "show", bundle / "absent.json"))


def test_labels_show_tells_which_frames_a_pack_has_a_camera_keep(edgefw, bundle, tmp_path):
    (tmp_path / "t.yaml").write_text("any: [red, blue]\nnone: [green]\nbegin: 0.6\nquota: 20\n")
    with open_bundle(bundle) as opened:
        write_pack(with_trigger(opened.label_pack(), tmp_path / "t.yaml"), tmp_path / "p.json")
    told = [line for line in edgefw("labels", "show", tmp_path / "p.json")[1].splitlines() if "trigger" in line]
    assert told == [
        "trigger    any: red, blue",
        "trigger    none: green",
        "trigger    begin: 0.6",
        "trigger    quota: 20",
    ]
    document = json.loads(edgefw("labels", "show", tmp_path / "p.json", "--json")[1])
    assert document["trigger"] == {"any": ["red", "blue"], "none": ["green"], "begin": 0.6, "quota": 20}


def test_labels_build_refuses_a_wrong_trigger_before_all_else(edgefw, bundle, tmp_path):
    (tmp_path / "t.yaml").write_text("any: [snow]\n")
    build = ("labels", "build", bundle, "--labels", "red, blue", "--trigger", tmp_path / "t.yaml", "--out")
    assert "names 'snow', which is no label of the pack. It has: red, blue" in refusal(edgefw(*build, tmp_path / "p"))
    (tmp_path / "t.yaml").write_text("any: [red]\nbegin: on\n")
    assert "begin: must be a valid number, got True" in refusal(edgefw(*build, tmp_path / "p"))


def test_labels_eval_measures_on_folders(edgefw, bundle, pictures, tmp_path):
    mixed = shutil.copytree(pictures, tmp_path / "p")
    shutil.move(mixed / "red" / "0.png", mixed / "blue" / "wrong.png")
    code, out, _ = edgefw("labels", "eval", bundle, mixed, "--json")
    assert code == 0
    (row,) = json.loads(out)["results"]
    assert row["n"] == 12
    assert row["top1"] == pytest.approx(11 / 12)
    assert row["balanced_top1"] == pytest.approx((1 + 1 + 4 / 5) / 3)
    assert row["recall"] == {"red": 1.0, "green": 1.0, "blue": 0.8}
    assert "top-1 91.7 %" in edgefw("labels", "eval", bundle, mixed)[1]
    assert "named after a label" in refusal(edgefw("labels", "eval", bundle, pictures / "red"))


def test_labels_build_asks_for_one_source_of_names(edgefw, bundle, tmp_path):
    assert "either --labels" in refusal(edgefw("labels", "build", bundle, "--out", tmp_path / "p.json"))
    message = refusal(edgefw("labels", "build", bundle, "--file", tmp_path / "absent", "--out", tmp_path / "p.json"))
    assert "absent: cannot be read" in message


def test_labels_build_refuses_a_wrong_prompt_list_before_all_else(edgefw, bundle, tmp_path):
    (tmp_path / "p.yaml").write_text("labels: [red]\nthreshold: 0.2\ntemplates: a {}\n")
    build = ("labels", "build", bundle, "--file", tmp_path / "p.yaml", "--out", tmp_path / "p.json")
    assert "p.yaml says it too" in refusal(edgefw(*build, "--threshold", 0))
    assert "--template" in refusal(edgefw(*build, "--template", "one {}"))
    (tmp_path / "p.yaml").write_text("labels: [red, Red]\n")
    assert "p.yaml: labels[1]: 'Red' stands at labels[0] already" in refusal(edgefw(*build))
    (tmp_path / "names.txt").write_text("red\nRed\n")
    assert "labels given twice: red" in refusal(edgefw(*build[:4], tmp_path / "names.txt", *build[5:]))


def test_a_pack_with_negatives_is_shown_and_labels_with_them(edgefw, bundle, pictures, tmp_path):
    with open_bundle(bundle) as opened:
        pack = opened.label_pack()
    red, green = pack.labels[0], pack.labels[1]
    road = Negative(name="green wall", vectors=green.vectors, of=("red",))
    wall = Negative(name="blue wall", vectors=pack.labels[2].vectors)
    write_pack(replace(pack, labels=[red], negatives=[road, wall]), tmp_path / "p.json", "int8")
    document = json.loads(edgefw("labels", "show", tmp_path / "p.json", "--json")[1])
    assert [(row["negative"], row["of"]) for row in document["negatives"]] == [
        ("green wall", ["red"]),
        ("blue wall", []),
    ]
    assert "negative of all" in edgefw("labels", "show", tmp_path / "p.json")[1]
    code, out, _ = edgefw("label", bundle, pictures, "--pack", tmp_path / "p.json", "--jsonl")
    said = [(Path(line["path"]).parent.name, line["label"]) for line in map(json.loads, out.splitlines())]
    assert code == 0 and set(said) == {("red", "red"), ("green", None), ("blue", None)}


# ---- bench -----------------------------------------------------------------------------------------------------


def test_bench_prints_a_row_per_artefact(edgefw, bundle):
    code, out, _ = edgefw("bench", bundle, "--seconds", "0.1", "--no-memory")
    assert code == 0
    assert out.startswith("artefact ")
    assert len(out.splitlines()) == 3
    document = json.loads(edgefw("bench", bundle, "--seconds", "0.1", "--batch", 2, "--no-memory", "--json")[1])
    assert document["batch"] == 2
    assert {row["memory_mib"] for row in document["artefacts"]} == {None}


# ---- verify of a bundle ----------------------------------------------------------------------------------------


def test_verify_holds_a_bundle_against_its_float_file(edgefw, bundle, pictures):
    code, out, _ = edgefw("verify", bundle, "--data", pictures, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["kind"] == "bundle"
    assert document["ok"]
    assert document["samples"] == {"rgb": 12}
    top1 = {row["model"]: row["value"] for row in document["evaluation"] if row["metric"] == "top1"}
    assert top1 == {"onnxruntime-fp32": 1.0, "onnxruntime-int8-static": 1.0}
    int8 = next(row for row in document["artefacts"] if row["name"] == "onnxruntime-int8-static")
    assert int8["reference"] == "onnxruntime-fp32"
    assert 0.99 < int8["cosine_mean"] < 1.0
    assert {row["check"] for row in document["budget"]} == {"max_drop", "min_cosine", "max_not_finite"}


NUMBERS = (
    "cosine_mean", "cosine_p1", "cosine_min", "relative_error_mean", "relative_error_max", "length_error", "top1_agreement", "drop"
)  # fmt: skip


def test_verify_says_of_what_nothing_can_be_compared_with_that_it_has_no_reference(edgefw, bundle, pictures):
    _, out, _ = edgefw("verify", bundle, "--data", pictures)
    float_line, int8_line = (line for line in out.splitlines() if " ms" in line)
    assert re.match(r"onnxruntime-fp32 +no reference, \d+\.\d\d ms, ", float_line)
    assert re.match(
        r"onnxruntime-int8-static +cosine [01]\.\d{4} \(p1 0\.\d{4}, min 0\.\d{4}\), relative error 0\.\d+, alone [01]\.\d{4} \(min 0\.\d{4}\), agr",
        int8_line,
    )
    document = json.loads(edgefw("verify", bundle, "--data", pictures, "--json")[1])
    one, other = document["artefacts"]
    assert one["reference"] == one["name"] and one["latency_ms_p50"] > 0
    assert {one[key] for key in NUMBERS} == {None} and None not in [other[key] for key in NUMBERS]
    assert set(one["modalities"]) == {"rgb"} and set(one["modalities"]["rgb"].values()) == {None}
    assert one["batch_1"] is None and other["batch_1"]["cosine_mean"] > 0.99
    assert None not in other["modalities"]["rgb"].values()


def test_verify_prints_the_time_beside_float_without_a_limit_on_it(edgefw, bundle, pictures):
    code, out, err = edgefw("verify", bundle, "--data", pictures)
    float_line, int8_line = (line for line in out.splitlines() if " ms" in line)
    assert code == 0 and "of float" not in float_line
    assert all(0 < float(re.search(r" MB, memory (\d+\.\d) MiB", line)[1]) < 200 for line in (float_line, int8_line))
    ratio = float(re.search(r"ms, x (\d+\.\d\d) of float, ", int8_line)[1])
    slower = "warning: onnxruntime-int8-static: slower than its float source on this machine" in err
    assert slower == (ratio > 1.05) or ratio == 1.05


def test_verify_prints_what_is_lost_with_its_interval(edgefw, tmp_path, small_bundle, pictures):
    folder = small_bundle.write_small_bundle(tmp_path / "b", budget={"max_drop": 10.0})
    code, out, _ = edgefw("verify", folder, "--data", pictures)
    assert code == 0
    assert [line.count(", drop 0.0 points (0.0 to 0.0), ") for line in out.splitlines() if " ms" in line] == [0, 1]
    assert out.count("max_drop 0 (budget 10; 95 %: 0.0 to 0.0)") == 1
    document = json.loads(edgefw("verify", folder, "--data", pictures, "--json")[1])
    assert document["artefacts"][1]["drop"] == {
        "points": 0.0, "low": 0.0, "high": 0.0, "metric": "top1", "modality": "rgb", "n": 12,
    }  # fmt: skip


def test_verify_exits_with_1_when_a_budget_is_not_met(edgefw, tmp_path, small_bundle, pictures):
    folder = small_bundle.write_small_bundle(tmp_path / "b", budget={"min_cosine": 1.0, "max_mb": 0.0001})
    code, out, err = edgefw("verify", folder, "--data", pictures)
    assert code == 1
    assert "FAIL onnxruntime-int8-static: max_mb" in out
    assert "The budget was not met:" in err
    assert "Traceback" not in err
    assert json.loads(edgefw("verify", folder, "--data", pictures, "--json")[1])["ok"] is False


def test_verify_compares_embeddings_where_nothing_is_labelled(edgefw, bundle, pictures):
    code, out, err = edgefw("verify", bundle, "--data", pictures / "red")
    assert code == 0
    assert "top-1" not in out.split("cosine")[0]
    assert "max_drop is not judged for onnxruntime-int8-static: no labelled image" in err


def test_verify_reads_several_sensors(edgefw, bundle, pictures, tmp_path):
    from PIL import Image

    (tmp_path / "depth").mkdir()
    for number in range(3):
        values = np.random.default_rng(number).integers(400, 4000, (20, 20)).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / "depth" / f"{number}.png")
    code, out, _ = edgefw(
        "verify", bundle, "--data", f"rgb={pictures}", "--data", f"depth={tmp_path / 'depth'}", "--json"
    )
    document = json.loads(out)
    assert code == 0
    assert document["samples"] == {"rgb": 12, "depth": 3}
    assert set(document["artefacts"][1]["modalities"]) == {"rgb", "depth"}


def test_verify_says_what_is_wrong_in_one_message(edgefw, bundle, pictures, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"x")
    cases = {
        (bundle,): "Give --data DIR",
        (bundle, "--data", "absent"): "there is no folder absent",
        (bundle, "--data", f"sonar={pictures}"): "no modality 'sonar'. The bundle has: rgb, depth",
        (bundle, "--data", pictures, "--data", pictures): "modality 'rgb' is given twice",
        (bundle, "--data", tmp_path / "bad"): "none of its 1 images can be read",
        (tmp_path, "--data", pictures): "no bundle",
    }
    for arguments, message in cases.items():
        assert message in refusal(edgefw("verify", *arguments)), arguments


# ---- the base installation -------------------------------------------------------------------------------------

BLOCKED = ("torch", "torchvision", "timm", "open_clip", "transformers", "torchao", "accelerate", "onnx", "onnxscript",
           "pyarrow", "webdataset", "jinja2", "matplotlib", "sklearn", "pandas", "scipy", "sympy")  # fmt: skip


def test_the_device_side_needs_none_of_the_training_packages(bundle, pictures, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {BLOCKED!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    script = (
        "import sys\nfrom edgefw.cli.main import run\n"
        f"bundle, pictures = {str(bundle)!r}, {str(pictures)!r}\n"
        "for arguments in (['label', bundle, pictures], ['verify', bundle, '--data', pictures], ['bundle', 'show', bundle],\n"
        "                  ['bench', bundle, '--seconds', '0.1', '--no-memory'], ['labels', 'eval', bundle, pictures],\n"
        "                  ['labels', 'show', bundle], ['bundle', 'diff', bundle, bundle]):\n"
        "    code = run(arguments)\n"
        "    assert code == 0, (arguments, code)\n"
        f"loaded = sorted(set(sys.modules) & set({BLOCKED!r}))\n"
        "assert not loaded, loaded\n"
    )
    import os

    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    assert result.returncode == 0, result.stderr


def test_new_label_names_without_torch_say_what_to_install(pictures, tmp_path, small_bundle):
    teacher = {"technique": "openclip", "options": {"model": "ViT-B-32"}, "fingerprint": "", "templates": []}
    folder = small_bundle.write_small_bundle(tmp_path / "b", teacher=teacher)
    script = (
        "import sys, importlib.util\n"
        "import edgefw.labels.texts as texts\n"
        "texts.is_importable = lambda name: False\n"
        "from edgefw.cli.main import run\n"
        f"sys.exit(run(['label', {str(folder)!r}, {str(pictures)!r}, '--labels', 'a cat,a dog']))\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert 'pip install "edgefw[train]"' in result.stderr
    assert "--pack" in result.stderr
    assert "Traceback" not in result.stderr
