"""The speed table's page and its bookkeeping: no model, no timing."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks/backends"


@pytest.fixture
def script(monkeypatch):
    """Imports a script of the benchmark by its name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def row(backend, p50, ratio, model="net"):
    way = {"plain": {"p50_ms": p50 / (ratio or 1.0)}, "slow": {"p50_ms": 99.0}}
    return {
        "model": model,
        "artefact": f"{backend}-fp32",
        "backend": backend,
        "megabytes": 13.5,
        "images_per_second": 81.25,
        "p50_ms": p50,
        "p95_ms": 2 * p50,
        "startup_s": 0.5,
        "peak_mb": 100.4,
        "cosine_min": 0.9999994,
        "of_best_by_hand": ratio,
        "interval": [ratio - 0.01, ratio + 0.02] if ratio else None,
        "by_hand": way if ratio else {},
    }


FOUND = {
    "networks": {"net": {"rounds": 30, "left_out": {"ncnn": "ncnn has no layer for Tensor.roll."}}},
    "rows": [row("openvino", 20.0, 1.06), row("onnxruntime", 10.0, 1.0), row("aoti", 30.0, None)],
}


def test_the_page_has_the_fastest_first_and_marks_who_is_behind(script):
    lines = script("speed_table").page(FOUND, 1.05).splitlines()
    assert lines[2] == (
        "| `net` | `onnxruntime-fp32` | 10.00 | 20.00 | 81.2 | 13.5 | 100 | 0.50 | 0.999999 | 1.00 (0.99 to 1.02; plain) |"
    )
    assert lines[3].endswith("| **1.06** (1.05 to 1.08; plain) |") and lines[4].endswith("| not used by hand |")
    assert "| `net` | `onnxruntime-fp32` | 10.00 | `openvino-fp32` | 2.00 | 30 |" in lines
    assert "- `net` without ncnn: ncnn has no layer for Tensor.roll." in lines
    assert lines[-1] == ("1 of 2 are at most 5 % behind the best use by hand; behind: `net` in openvino (1.06).")


def test_the_page_names_the_first_of_two_looks(script):
    rows = [row("onnxruntime", 10.0, 1.02) | {"looks": 2, "first_look": 1.084}]
    page = script("speed_table").page(FOUND | {"rows": rows}, 1.05)
    assert "| 1.02 (1.01 to 1.04; plain; first look 1.08) |" in page


def test_who_is_fastest_is_told_by_the_look_in_which_all_took_turns(script):
    slow_minute = row("litert", 15.0, 1.01) | {"looks": 2, "first_look": 1.06, "first_look_ms": 8.0}
    lines = (
        script("speed_table").page(FOUND | {"rows": [row("onnxruntime", 10.0, 1.0), slow_minute]}, 1.05).splitlines()
    )
    assert "| `net` | `litert-fp32` | 8.00 | `onnxruntime-fp32` | 1.25 | 30 |" in lines
    assert lines[3].startswith("| `net` | `litert-fp32` | 15.00 |")


def test_a_row_of_before_intervals_says_that_it_has_none(script):
    old = {key: value for key, value in row("onnxruntime", 10.0, 1.02).items() if key != "interval"}
    assert "| 1.02 (no interval; plain) |" in script("speed_table").page(FOUND | {"rows": [old]}, 1.05)


class Clock:
    """Answers lines as one_model.py does, with calls that take the next of these milliseconds."""

    def __init__(self, name, *milliseconds):
        self.name, self.alone, self._left, self.asked = name, [], list(milliseconds), 0

    def ask(self, line):
        _, count, _ = line.split()
        taken = self._left.pop(0) if len(self._left) > 1 else self._left[0]
        self.asked += int(count)
        return [taken] * int(count)


@pytest.mark.parametrize(("later", "counted"), [(10.0, 1.0), (11.0, 1.1)])
def test_a_backend_that_is_behind_is_looked_at_longer_and_that_look_counts(script, later, counted):
    timing = script("speed_timing")
    own, ways = Clock("onnxruntime-fp32", later), [Clock("onnxruntime: plain", 10.0), Clock("onnxruntime: slow", 30.0)]
    own.alone, ways[0].alone, ways[1].alone = [11.0] * 9, [10.0] * 9, [30.0] * 9
    assert timing._again(own, ways, 3, 1.05) == {"looks": 2, "first_look": 1.1, "first_look_ms": 11.0}
    assert timing._ratio(own, ways) == pytest.approx(counted)
    assert len(own.alone) == len(ways[0].alone) == 5 * timing.LONGER * 3


@pytest.mark.parametrize("own", [10.0, 10.4])
def test_a_backend_that_keeps_up_is_looked_at_once(script, own):
    timing = script("speed_timing")
    kept, way = Clock("aoti-fp32", own), Clock("aoti: frozen", 10.0)
    kept.alone, way.alone = [own] * 9, [10.0] * 9
    assert timing._again(kept, [way], 3, 1.05) == {"looks": 1}
    assert kept.asked == 0
    assert timing._again(kept, timing._ways_of("openvino", [way]), 3, 1.05) == {"looks": 1}


def test_an_interval_is_that_of_the_turns(script):
    timing, draw = script("speed_timing"), np.random.default_rng(1)
    own, way, slow = Clock("aoti-fp32", 1.0), Clock("aoti: frozen", 1.0), Clock("aoti: slow", 1.0)
    busy = np.repeat(draw.uniform(10, 20, 40), timing.TURN)  # the machine, which both meet in the same turn
    own.alone, way.alone, slow.alone = list(1.1 * busy), list(busy), list(2 * busy)
    assert timing._interval(own, [slow, way]) == [1.1, 1.1]
    own.alone = list(1.1 * busy * draw.uniform(0.9, 1.1, busy.size))
    low, high = timing._interval(own, [slow, way])
    assert 1.0 < low < 1.1 < high < 1.2
    assert timing._interval(own, []) is None


def test_a_network_with_one_backend_wins_alone(script):
    found = {"networks": {"net": {"rounds": 3, "left_out": {}}}, "rows": [row("onnxruntime", 10.0, 1.02)]}
    lines = script("speed_table").page(found, 1.05).splitlines()
    assert "| `net` | `onnxruntime-fp32` | 10.00 | | | 3 |" in lines
    assert lines[-1] == "1 of 1 are at most 5 % behind the best use by hand."


def test_five_percent_behind_is_the_limit(script):
    met = script("speed").met
    assert met([row("onnxruntime", 10.0, 1.05), row("aoti", 30.0, None)])
    assert not met([row("onnxruntime", 10.0, 1.051)])


@pytest.mark.parametrize(
    ("said", "backend"),
    [
        ("export: ncnn-fp32\nedgefw: backend 'ncnn': ncnn has no layer for Tensor.roll. Use the backend x.\n", "ncnn"),
        ("backend 'ncnn': a line before\nedgefw: the disk is full\n", ""),
        ("", ""),
    ],
)
def test_the_backend_that_refuses_is_the_one_its_last_line_names(script, said, backend):
    assert script("speed_runs").refused_backend(said) == backend


def test_what_was_left_out_is_kept_with_its_reason(script, tmp_path, capsys):
    runs = script("speed_runs")
    assert runs.left_out(tmp_path / "net") == {}
    runs._leave_out(tmp_path / "net", "ncnn", "no layer")
    runs._leave_out(tmp_path / "net", "aoti by hand", "no compiler")
    assert runs.left_out(tmp_path / "net") == {"ncnn": "no layer", "aoti by hand": "no compiler"}
    assert capsys.readouterr().out.splitlines()[0] == "net: without ncnn: no layer"


def test_a_network_that_was_timed_is_kept_and_the_new_one_is_added(script, tmp_path, monkeypatch):
    speed = script("speed")
    out = tmp_path / "speed.json"
    before = {"networks": {"old": {"rounds": 30, "left_out": {}}}, "rows": [row("onnxruntime", 10.0, 1.0, "old")]}
    out.write_text(json.dumps(before))
    timed = []
    monkeypatch.setattr(speed, "prepared", lambda model, backends, arguments: timed.append(model) or tmp_path / model)
    monkeypatch.setattr(
        speed, "measured", lambda model, run, backends, rounds, limit, pause: [row("onnxruntime", 12.0, 1.2, model)]
    )
    command = ["speed.py", "--models", "old", "new", "--rounds", "7", "--backends", "onnxruntime", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        speed.main()
    found = json.loads(out.read_text())
    assert timed == ["new"] and ended.value.code == 1 and found["met"] is False
    assert [one["model"] for one in found["rows"]] == ["old", "new"]
    assert found["networks"]["new"]["rounds"] == 7 and found["networks"]["old"] == before["networks"]["old"]
    assert "`new` in onnxruntime (1.20)" in out.with_suffix(".md").read_text()


def test_the_exit_code_tells_what_is_behind_from_what_was_not_measured(script):
    code = script("speed").code
    rows = [row("onnxruntime", 10.0, 1.0, "old"), row("onnxruntime", 12.0, 1.2, "new")]
    assert code({"rows": rows[:1], "met": True}, ["old"]) == 0
    assert code({"rows": rows, "met": False}, ["old", "new"]) == 1
    assert code({"rows": rows[:1], "met": True}, ["old", "new"]) == 2
    assert code({"rows": [rows[0] | {"of_best_by_hand": None}], "met": True}, ["old"]) == 2


def test_agreement_of_the_same_rows_is_whole_and_a_scaled_row_shows_in_the_error(script):
    expected = np.array([[3.0, 4.0], [1.0, 0.0]])
    found = script("speed_process").agreement(expected * [[1.0], [1.1]], expected)
    assert found["cosine_min"] == pytest.approx(1.0) and found["cosine_mean"] == pytest.approx(1.0)
    assert found["relative_error_max"] == pytest.approx(0.1)


def test_a_backend_whose_converter_has_no_environment_yet_does_not_run(script, monkeypatch):
    speed = script("speed")
    monkeypatch.setattr(speed, "find_spec", lambda name: object())
    monkeypatch.setattr(speed, "own_environment", lambda name: SimpleNamespace(ready=False))
    assert speed.runnable("onnxruntime") and not speed.runnable("litert")


def test_what_a_runtime_prints_is_no_answer(script, capsys):
    process = script("speed_process")
    model = process.Model.__new__(process.Model)
    model.name = "executorch-fp32"
    lines = [
        "[cpuinfo_utils.cpp:125] CPU info and manual query on # of cpus dont match.\n",
        "{greeting}\n",
        "answer [1.5]\n",
    ]
    model._process = SimpleNamespace(stdout=iter(lines))
    assert model._answer() == [1.5]
    with pytest.raises(SystemExit) as ended:
        model._answer()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "executorch-fp32: its process ended without an answer\n"


def test_a_run_is_made_once_and_gets_the_backends_that_it_lacks(script, tmp_path, monkeypatch, capsys):
    runs, made = script("speed_runs"), []
    for name in ("_images", "_torch_answers"):
        monkeypatch.setattr(runs, name, lambda *_: np.zeros(1))
    monkeypatch.setattr(runs, "_by_hand", lambda *_: None)
    monkeypatch.setattr(runs, "_agree", lambda *_: None)

    def compiled(model, run, backends, size):
        run.mkdir(exist_ok=bool(made))  # as `edgefw run`, which wants a folder for itself
        made.append((list(backends), size))

    monkeypatch.setattr(runs, "_compile", compiled)
    for backends in ["a", "b"], ["b"], ["c"], ["a", "c"]:
        runs.prepared("net", backends, SimpleNamespace(work=tmp_path, data=tmp_path, size=64))
    assert made == [(["a", "b"], 64), (["a", "b", "c"], 64)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net", "net-made.json"]
    with pytest.raises(SystemExit, match="^2$"):
        runs.prepared("net", ["a"], SimpleNamespace(work=tmp_path, data=tmp_path, size=32))
    assert "net: was made with another --size or speed.yaml. Remove it, or name" in capsys.readouterr().err
