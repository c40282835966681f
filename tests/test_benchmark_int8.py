"""The int8 table: what a row holds, what is judged, what is trained and measured once."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.integer_products import products_are_exact
from edgefw.runtime.opening import Opener

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "benchmarks/backends"
DATA = ROOT.parent / "shared/data"


@pytest.fixture
def script(monkeypatch):
    """Imports a script of the benchmark by its name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def file(ratio=0.9, points=0.2, called="int8", share=0.75, **more):
    drop = {"points": points, "low": points - 0.3, "high": points + 0.3}
    times = {"p50_ms": 10.0 * ratio, "p95_ms": 12.0 * ratio, "calls": 60}
    bounds = {"ratio": ratio, "ratio_low": ratio - 0.01, "ratio_high": ratio + 0.01}
    judged = {"called": called, "top1": 0.5, "drop": drop, "int8_share": share, "layers": None, "bytes": 1_250_000}
    return times | bounds | judged | more


FP32 = file(1.0, 0.0, "fp32", 0.0)


def row(network, **changes):
    ours = file()
    plain = {"network": network, "fp32_sha256": "a", "files": {"fp32": FP32, "int8-latency-aware": ours}}
    return plain | {"missing": {}, "search": {}, "failings": []} | changes


def colours(script, small_bundle, bundle, each):
    """Plain pictures, some to calibrate on, each with its colour's place in the pack."""
    prepare, pack = Opener(bundle).preprocessing("rgb"), bundle.label_pack()
    named = [
        (name, prepare(small_bundle.picture(colour, seed)))
        for seed in range(each)
        for name, colour in small_bundle.COLOURS.items()
    ]
    images = np.stack([image for _, image in named])
    places = np.array([pack.names.index(name) for name, _ in named])
    return script("int8_images").Pictures(calibration=images, shown=images, labels=places, pack=pack)


def test_a_row_has_every_file_with_its_time_accuracy_share_and_name(script, small_bundle, tmp_path):
    rows = script("int8_rows")
    effort = rows.Effort(threads=1, search_seconds=0.5, timed_seconds=0.1)
    with open_bundle(small_bundle.write_small_bundle(tmp_path / "bundle")) as bundle:
        found = rows.measured(bundle, colours(script, small_bundle, bundle, 24), effort)
    files = found["files"]
    assert found["images"] == 72 and set(files) >= {"fp32", "quantize_static", "int8-latency-aware"}
    assert files["fp32"]["called"] == "fp32" and files["fp32"]["ratio"] == 1.0 and files["fp32"]["int8_share"] == 0.0
    assert files["fp32"]["top1"] == 1.0 and files["fp32"]["drop"] == {"points": 0.0, "low": 0.0, "high": 0.0}
    default = files["quantize_static"]
    assert default["called"] == "int8" and default["int8_share"] > 0.5
    assert ("exact_drop" in default) is not products_are_exact()
    ours = files["int8-latency-aware"]
    assert (ours["called"] == "fp32") is (ours["int8_share"] == 0.0)
    assert all(one["p95_ms"] >= one["p50_ms"] > 0 and one["calls"] >= 60 for one in files.values())
    assert all(one["ratio_low"] <= one["ratio"] <= one["ratio_high"] for one in files.values())
    assert sum(choice["macs_share"] for choice in found["search"]["choices"]) == pytest.approx(1.0)
    assert len(rows.failings(files)) in (0, 1)  # a small network's ratio may be anything


def test_openvino_has_rows_of_its_own_beside_its_own_float(script, small_bundle, tmp_path):
    pytest.importorskip("openvino")
    rows = script("int8_rows")
    effort = rows.Effort(threads=1, search_seconds=0.5, timed_seconds=0.1)
    with open_bundle(small_bundle.write_small_bundle(tmp_path / "bundle")) as bundle:
        found = rows.measured(bundle, colours(script, small_bundle, bundle, 24), effort)
    plain, rounded = found["files"]["openvino fp32"], found["files"]["openvino int8-static"]
    assert found["missing"] == {}
    assert plain["called"] == "fp32" and plain["ratio"] == 1.0 and plain["top1"] == 1.0
    assert rounded["called"] == "int8" and rounded["int8_share"] is None
    assert sum(rounded["layers"].get(kind, 0) for kind in ("i8", "u8")) > 0
    assert ("openvino int8-static, reduce_range" in found["files"]) is not products_are_exact()


def test_a_file_that_stayed_float_is_called_fp32_and_is_the_float_file(script):
    files = script("int8_artefacts")
    kept = files.File(path=Path("a"), runner=None, share=0.0, stays_float=True)
    assert kept.called == "fp32"
    assert files.File(path=Path("a"), runner=None, share=0.0).called == "fp32"
    assert files.File(path=Path("a"), runner=None, share=0.01).called == "int8"
    assert files.File(path=Path("a"), runner=None, share=None).called == "int8"
    assert files.File(path=Path("a"), runner=None, share=None, layers={"f32": 9}).called == "fp32"
    assert files.File(path=Path("a"), runner=None, share=None, layers={"f32": 9, "u8": 1}).called == "int8"


def test_float_that_stays_has_the_times_of_float_and_no_pair_of_its_own(script, small_bundle, tmp_path):
    rows, files = script("int8_rows"), script("int8_artefacts")
    with open_bundle(small_bundle.write_small_bundle(tmp_path / "bundle")) as bundle:
        entry = rows.float_artefact(bundle)
        runner, found = Opener(bundle).runner(entry, 1), colours(script, small_bundle, bundle, 2)
        plain = files.File(path=bundle.file(entry), runner=runner, share=0.0)
        kept = files.File(path=bundle.file(entry), runner=runner, share=0.0, stays_float=True)
        times = rows._timed({"fp32": plain, "int8-latency-aware": kept}, found, 0.05)
    assert times["fp32"] == times["int8-latency-aware"] and times["fp32"]["ratio"] == 1.0


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (file(1.05, 0.5), []),
        (file(1.06, 0.5), ["takes 1.06 times as long as in float"]),
        (file(0.5, 0.51), ["loses 0.51 points"]),
        (file(1.2, 2.0), ["takes 1.20 times as long as in float", "loses 2.00 points"]),
        (file(1.0, 0.0, "int8", 0.0), ["is called int8, and nothing in it runs in int8"]),
        (file(1.0, 0.0, "fp32", 0.0), []),
    ],
)
def test_our_file_is_judged_by_time_points_and_name(script, ours, said):
    assert script("int8_rows").failings({"fp32": FP32, "int8-latency-aware": ours}) == said


def test_without_our_file_nothing_is_judged(script):
    assert script("int8_rows").failings({"fp32": FP32, "quantize_static": file(3.0, 9.0)}) is None


def test_exit_codes_tell_missed_limits_from_what_was_not_measured(script):
    code = script("int8").code
    rows = [row("ViT-S"), row("Swin-T", failings=["loses 0.60 points"]), row("EfficientNet-B3", failings=None)]
    assert code({"rows": rows}, ["ViT-S"]) == 0
    assert code({"rows": rows}, ["ViT-S", "Swin-T"]) == 1
    assert code({"rows": rows}, ["Swin-T", "EfficientNet-B3"]) == 2
    assert code({"rows": rows}, ["MobileNetV4-S"]) == 2


def test_calls_take_turns_and_a_slow_file_is_looked_at_once_more(script):
    timing, order = script("int8_timing"), []

    def runner(name, seconds):
        def run(feeds):
            order.append(name)
            until = timing.time.perf_counter() + seconds
            while timing.time.perf_counter() < until:
                pass

        return SimpleNamespace(run=run)

    pair = timing.paired(runner("own", 4e-4), runner("source", 1e-4), [{}], 0.0, 1.05)
    assert 2.0 < pair.ratio < 5.0 and pair.low <= pair.ratio <= pair.high
    assert len(pair.own) == len(pair.source) == timing.LONGER * timing.LEAST
    calls = order[2 * timing.WARM_UP :]
    assert calls[:4] == ["source", "own", "own", "source"]
    pair = timing.paired(runner("own", 1e-4), runner("source", 4e-4), [{}], 0.0, 1.05)
    assert pair.ratio < 1 and len(pair.own) == timing.LEAST


def test_the_page_has_a_line_per_file_and_names_who_misses(script):
    default = file(1.4, 3.25, exact_drop={"points": 0.75})
    other = file(0.8, 0.1, share=None, layers={"f32": 26, "u8": 34})
    files = {"fp32": FP32, "quantize_static": default, "int8-latency-aware": FP32, "openvino int8-static": other}
    kept = row("ViT-S", files=files, search={"said": ["nothing was faster in int8: the float file stays"]})
    slow = row("Swin-T", failings=["loses 0.60 points"], missing={"quantize_static": "ValueError: no"})
    found = {"limits": {"slowdown": 1.05, "drop": 0.5}, "rows": [kept, slow]}
    lines = script("int8_table").page(found).splitlines()
    assert lines[2] == (
        "| ViT-S | `fp32` | fp32 | 10.00 | 12.00 | 1.00 (0.99 to 1.01) | 50.0 % | 0.00 (-0.30 to 0.30) | 0.0% | 1.2 |"
    )
    assert lines[3].startswith("| ViT-S | `quantize_static` | int8 | 14.00 |") and "| 75.0% |" in lines[3]
    assert lines[4].startswith("| ViT-S | `int8-latency-aware` | fp32 |")
    assert lines[5].endswith("| 34 of 60 layers | 1.2 |")
    assert "- ViT-S: nothing was faster in int8: the float file stays." in lines
    assert "- ViT-S: `quantize_static` loses 0.75 points with exact products." in lines
    assert "- Swin-T without `quantize_static`: ValueError: no" in lines
    assert lines[-1] == (
        "int8-latency-aware takes at most 1.05 times as long as fp32 and loses at most 0.5 points for 1 of 2 students; "
        "not for Swin-T (loses 0.60 points)."
    )


def write_run(students, network, work, finished=True, **changes):
    run = students.run_folder(network, work)
    run.mkdir(parents=True)
    shutil.copy(students.RECIPE, run / "recipe.yaml")
    (run / "invocation.json").write_text(json.dumps({"overrides": students.overrides(network)} | changes))
    if finished:
        (run / "result.json").write_text("{}")
    return run


def test_a_finished_run_is_not_trained_again_and_another_one_is_refused(script, tmp_path, monkeypatch, capsys):
    students, asked = script("int8_students"), []
    done = SimpleNamespace(returncode=0)
    monkeypatch.setattr(students, "edgefw", lambda *command: asked.append(command) or done)
    write_run(students, "ViT-S", tmp_path)
    for network in "ViT-S", "EfficientNet-Lite0":
        students.train(network, tmp_path, tmp_path)
    ((environment, *command),) = asked
    assert command[:2] == ["run", str(students.RECIPE)] and command[-1] == "--resume"
    assert "student.model=tf_efficientnet_lite0" in command and "student.match=order" in command
    assert environment["EDGEFW_CACHE"] == str(tmp_path / "cache") and environment["EDGEFW_DATA"] == str(tmp_path)
    write_run(students, "Swin-T", tmp_path, overrides=["student.model=swin_tiny_patch4_window7_224", "seed=2"])
    with pytest.raises(SystemExit) as ended:
        students.train("Swin-T", tmp_path, tmp_path)
    assert ended.value.code == 2
    assert "was made by another int8.yaml, or with other options. Remove it, or name another" in capsys.readouterr().err


def test_a_comment_in_the_recipe_makes_no_run_old_and_a_number_does(script, tmp_path, capsys):
    students = script("int8_students")
    run = write_run(students, "ViT-S", tmp_path)
    recipe = students.RECIPE.read_text()
    (run / "recipe.yaml").write_text("# another comment\n" + recipe)
    assert students.is_trained("ViT-S", tmp_path)
    (run / "recipe.yaml").write_text(recipe.replace("seed: 1", "seed: 2"))
    with pytest.raises(SystemExit):
        students.is_trained("ViT-S", tmp_path)
    unfinished = write_run(students, "Swin-T", tmp_path, finished=False)
    assert not students.is_trained("Swin-T", tmp_path) and not students.is_trained("MobileNetV4-S", tmp_path)
    assert unfinished.is_dir() and "another int8.yaml" in capsys.readouterr().err


def test_a_run_that_fails_ends_the_command_with_2(script, tmp_path, monkeypatch, capsys):
    students = script("int8_students")
    monkeypatch.setattr(students, "edgefw", lambda *command: SimpleNamespace(returncode=2))
    with pytest.raises(SystemExit) as ended:
        students.train("ViT-S", tmp_path, tmp_path)
    assert ended.value.code == 2 and "ViT-S: edgefw run ended with exit code 2" in capsys.readouterr().err


def test_students_that_were_judged_are_kept_and_others_are_added_in_order(
    script, small_bundle, tmp_path, monkeypatch, capsys
):
    int8, out = script("int8"), tmp_path / "int8.json"
    (tmp_path / "cifar10").mkdir()
    trained = tmp_path / "work"
    for network in "ViT-S", "EfficientNet-Lite0":
        small_bundle.write_small_bundle(int8.run_folder(network, trained))
    with open_bundle(int8.run_folder("ViT-S", trained)) as bundle:
        sha256 = int8.float_artefact(bundle).sha256
    out.write_text(
        json.dumps({"rows": [row("ViT-S", fp32_sha256=sha256), row("Swin-T", fp32_sha256="of another run")]})
    )
    made = []
    monkeypatch.setattr(int8, "is_trained", lambda network, work: network != "MobileNetV4-S")
    monkeypatch.setattr(int8, "_row", lambda bundle, network, arguments: made.append(network) or row(network))
    command = ["int8.py", "--data", str(tmp_path), "--work", str(trained), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*command, "--models", "ViT-S", "EfficientNet-Lite0"])
    with pytest.raises(SystemExit) as ended:
        int8.main()
    found = json.loads(out.read_text())
    assert made == ["EfficientNet-Lite0"] and ended.value.code == 0 and found["met"] is True
    assert [one["network"] for one in found["rows"]] == ["EfficientNet-Lite0", "ViT-S", "Swin-T"]
    assert "for 3 of 3 students." in out.with_suffix(".md").read_text()
    monkeypatch.setattr(sys, "argv", [*command, "--models", "MobileNetV4-S", "ViT-S"])
    with pytest.raises(SystemExit) as ended:
        int8.main()
    assert ended.value.code == 2 and "holds no finished run; --prepare trains it" in capsys.readouterr().out
    out.write_text(json.dumps({"rows": [row("ViT-S", fp32_sha256=sha256, failings=None)]}))
    monkeypatch.setattr(sys, "argv", [*command, "--models", "ViT-S"])
    with pytest.raises(SystemExit) as ended:
        int8.main()
    assert made == ["EfficientNet-Lite0", "ViT-S"] and ended.value.code == 0


def test_without_the_photographs_the_command_ends_with_2(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["int8.py", "--data", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        script("int8").main()
    assert ended.value.code == 2 and "no folder cifar10 here. Name the folder that holds it" in capsys.readouterr().err


@pytest.mark.skipif(not (DATA / "cifar10").is_dir(), reason="shared/data is absent")
def test_photographs_are_of_all_classes_and_none_is_calibrated_and_judged_on(script, tmp_path, monkeypatch):
    images = script("int8_images")
    names = (DATA / "cifar10/classes.txt").read_text().split()
    pack = SimpleNamespace(names=tuple(reversed(names)))
    monkeypatch.setattr(
        images,
        "Opener",
        lambda bundle: SimpleNamespace(preprocessing=lambda role: lambda pixels: pixels.transpose(2, 0, 1)),
    )
    found = images.pictures(SimpleNamespace(label_pack=lambda: pack), DATA, 40, 200)
    assert found.calibration.shape == (40, 3, 32, 32) and found.shown.shape == (200, 3, 32, 32)
    assert np.abs(np.bincount(found.labels, minlength=10) - 20).max() <= 1
    assert set(map(bytes, found.calibration)).isdisjoint(map(bytes, found.shown))


def test_an_answer_that_is_not_finite_is_wrong(script, small_bundle, tmp_path):
    with open_bundle(small_bundle.write_small_bundle(tmp_path / "bundle")) as bundle:
        found = colours(script, small_bundle, bundle, 2)
        broken = SimpleNamespace(inputs=("image",), run=lambda feeds: np.full((len(feeds["image"]), 8), np.nan))
        assert not script("int8_images").right(broken, found).any()
