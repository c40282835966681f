"""label, verify, bench and bundle show with an artefact that takes two images, as a user types them."""

import json
import subprocess
import sys

import pytest

SINGLE, JOINT = "onnxruntime-fp32", "onnxruntime-fp32-rgb+depth"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, pair_bundle):
    return pair_bundle.write_pair_bundle(tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.fixture
def scenes(tmp_path, pair_bundle, monkeypatch):
    """rgb/<colour>/<number>.png beside depth/..., six scenes; red/0 has no depth, lone.png no photograph."""
    pair_bundle.write_scenes(tmp_path)
    (tmp_path / "depth" / "red" / "0.png").unlink()
    pair_bundle.write_depth(tmp_path / "depth" / "lone.png", 400)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(result) -> str:
    """The one message of a refused command."""
    code, out, err = result
    assert code == 2, (code, out, err)
    assert "Traceback" not in err and len(err.strip().splitlines()) == 1
    return err.strip()


def test_pairs_are_labelled_together_and_the_rest_alone(edgefw, bundle, scenes):
    code, out, err = edgefw("label", bundle, "rgb=rgb", "depth=depth", "--jsonl", "--batch", 2)
    assert code == 0
    found = [json.loads(line) for line in out.splitlines()]
    joint = {entry["path"]: entry for entry in found if entry["modality"] == "rgb+depth"}
    assert sorted(joint) == [f"rgb/{name}.png" for name in ("blue/0", "blue/1", "green/0", "green/1", "red/1")]
    assert joint["rgb/red/1.png"]["files"] == {"rgb": "rgb/red/1.png", "depth": "depth/red/1.png"}
    assert all(path.split("/")[1] == entry["label"] for path, entry in joint.items())
    alone = {entry["path"]: entry["modality"] for entry in found if entry["modality"] != "rgb+depth"}
    assert alone == {"rgb/red/0.png": "rgb", "depth/lone.png": "depth"}
    assert "rgb+depth 5, rgb 1, depth 1" in err and err.startswith("7 scenes: ")


def test_the_second_image_matters(edgefw, bundle, scenes, pair_bundle):
    before = edgefw("label", bundle, "rgb=rgb/blue", "depth=depth/blue", "--top", 3)[1]
    for path in (scenes / "depth" / "blue").iterdir():
        pair_bundle.write_depth(path, 3900)
    after = edgefw("label", bundle, "rgb=rgb/blue", "depth=depth/blue", "--top", 3)[1]
    assert before.splitlines()[0].startswith("rgb/blue/0.png + depth/blue/0.png\tblue\t")
    assert before != after


def test_answers_do_not_depend_on_the_batch_or_the_order_of_sources(edgefw, bundle, scenes):
    first = edgefw("label", bundle, "rgb=rgb", "depth=depth", "--batch", 1)[1]
    second = edgefw("label", bundle, "depth=depth", "rgb=rgb", "--batch", 16)[1]
    assert sorted(first.splitlines()) == sorted(second.splitlines())


def test_the_document_names_artefacts_files_and_what_is_left(edgefw, bundle, scenes):
    (scenes / "depth" / "red" / "1.png").write_bytes(b"no picture")
    code, out, err = edgefw("label", bundle, "rgb=rgb", "depth=depth", "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["artefact"], document["modality"]) == (JOINT, "rgb+depth")
    assert document["artefacts"] == {"rgb+depth": JOINT, "rgb": SINGLE, "depth": SINGLE}
    assert [entry["path"] for entry in document["unreadable"]] == ["depth/red/1.png"]
    assert document["unpaired"] == []
    assert {"rgb/red/1.png": "rgb"}.items() <= {e["path"]: e["modality"] for e in document["images"]}.items()
    assert "1 files cannot be read: depth/red/1.png: neither .npy nor an image format" in err


def test_a_file_that_no_artefact_takes_alone_is_counted_and_listed(edgefw, bundle, scenes, tmp_path, pair_bundle):
    code, out, err = edgefw("label", bundle, "rgb=rgb", "depth=depth", "--artefact", JOINT)
    assert code == 0 and len(out.splitlines()) == 5
    reason = "no partner, and no artefact takes it alone"
    assert f"2 files are not labelled: rgb/red/0.png: {reason}; depth/lone.png: {reason}" in err
    only = pair_bundle.write_pair_bundle(tmp_path / "only", keep=(JOINT,))
    document = json.loads(edgefw("label", only, "rgb=rgb", "depth=depth", "--json")[1])
    assert [(entry["path"], entry["modality"]) for entry in document["unpaired"]] == [
        ("rgb/red/0.png", "rgb"), ("depth/lone.png", "depth")
    ]  # fmt: skip
    (scenes / "unread" / "rgb").mkdir(parents=True)
    (scenes / "unread" / "rgb" / "lone.png").write_bytes(b"")
    message = refusal(edgefw("label", only, "rgb=unread/rgb", "depth=depth/lone.png"))
    assert "none of 2 images can be labelled: unread/rgb/lone.png" in message


def test_one_named_source_is_that_sensors(edgefw, bundle, scenes):
    code, out, _ = edgefw("label", bundle, "rgb=rgb/red", "--json")
    document = json.loads(out)
    assert code == 0 and (document["artefact"], document["modality"]) == (SINGLE, "rgb")
    assert document["counts"] == {"red": 2}


def test_an_artefact_of_one_image_labels_every_file_alone(edgefw, bundle, scenes, tmp_path, pair_bundle):
    lone = pair_bundle.write_pair_bundle(tmp_path / "lone", keep=(SINGLE,))
    for arguments in ((bundle, "--artefact", SINGLE), (lone,)):
        code, out, err = edgefw("label", arguments[0], "rgb=rgb", "depth=depth", *arguments[1:])
        assert code == 0 and len(out.splitlines()) == 12
        assert "rgb 6, depth 6" in err


def test_label_says_what_is_wrong_with_pairs_in_one_message(edgefw, bundle, scenes):
    cases = {
        ("rgb=rgb", "nir=depth"): "nir=depth: no modality 'nir'. The bundle has: rgb, depth.",
        ("rgb=rgb", "depth=absent"): "absent: there is no such file or folder.",
        ("rgb=rgb", "depth"): "depth: other sources are named by their sensor. Name this one too: rgb=depth",
        ("rgb=rgb/red", "depth=depth/lone.png"): "no pairs: no image of rgb and depth has the same name (rgb/red/",
        ("rgb=rgb", "--artefact", JOINT): "there is no source of depth. Give rgb=DIR depth=DIR.",
        ("rgb", "--artefact", JOINT): f"artefact '{JOINT}' takes rgb and depth together, and this is rgb alone.",
        ("rgb=rgb", "depth=depth", "--artefact", "x"): "no artefact 'x'. It has: ",
    }
    for arguments, message in cases.items():
        assert message in refusal(edgefw("label", bundle, *arguments)), arguments
    code, _, err = edgefw("label", bundle, "rgb=rgb", "--modality", "rgb")
    assert code == 2 and "--modality is the sensor of unnamed sources; these are named." in err
    (scenes / "empty").mkdir()
    assert "empty: no image here." in refusal(edgefw("label", bundle, "rgb=rgb", "depth=empty"))


def test_labelling_pairs_imports_no_torch(bundle, scenes):
    script = (
        "import sys\nfrom edgefw.cli.main import run\n"
        f"code = run(['label', {str(bundle)!r}, 'rgb=rgb', 'depth=depth'])\n"
        "sys.exit(code or 'torch' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=scenes)


def test_verify_measures_pairs_of_two_folders(edgefw, bundle, scenes):
    code, out, err = edgefw("verify", bundle, "--data", "rgb=rgb", "--data", "depth=depth", "--json")
    result = json.loads(out)
    assert code == 0, err
    assert result["samples"] == {"rgb": 6, "depth": 6, "rgb+depth": 5}
    top1 = {(row["model"], row["modality"]): (row["value"], row["n"]) for row in result["evaluation"]
            if row["metric"] == "top1"}  # fmt: skip
    assert top1[JOINT, "rgb+depth"] == (1.0, 5) and top1[SINGLE, "rgb"] == (1.0, 6)
    assert {row["name"]: row["reference"] for row in result["artefacts"]} == {SINGLE: SINGLE, JOINT: JOINT}
    assert result["best"] == SINGLE
    assert result["warnings"] == [
        (
            "the bundle sets no limit for min_agreement, max_slowdown, max_ms, max_mb, max_memory_mib, max_error, max_length_error, "
            "max_batch_error"
        ),
        "max_drop and min_cosine are not judged: the bundle holds no student to compare it with",
        "the bundle carries no reference answers, so no image was drawn; an older edgefw wrote it",
    ]


def test_verify_says_what_it_leaves_out(edgefw, bundle, scenes, tmp_path, pair_bundle):
    code, out, err = edgefw("verify", bundle, "--data", "rgb=rgb")
    assert code == 0 and "warning: rgb+depth is not measured: give --data depth=DIR too" in err
    assert JOINT not in out
    _, _, err = edgefw("verify", bundle, "--data", "rgb=rgb/red", "--data", "depth=depth/blue/..")
    assert "rgb+depth is not measured: no file has the same name in rgb/red and depth/blue/.." in err
    only = pair_bundle.write_pair_bundle(tmp_path / "only", keep=(JOINT,))
    assert "give --data depth=DIR too" in refusal(edgefw("verify", only, "--data", "rgb=rgb"))


def test_bench_and_show_name_the_artefact_of_two_images(edgefw, bundle):
    code, out, _ = edgefw("bench", bundle, "--seconds", 0.1, "--no-memory", "--json")
    assert code == 0 and {row["name"] for row in json.loads(out)["artefacts"]} == {SINGLE, JOINT}
    lines = edgefw("bundle", "show", bundle)[1].splitlines()
    assert any(JOINT in line and line.endswith("MB  rgb+depth") for line in lines)
