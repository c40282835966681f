"""The run folder: who may write, complete stages, whole files."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgefw.errors import RunFolderError
from edgefw.run_folder import RunFolder, plain, write_json


def claimed(path: Path, recipe: str = "one", *, resume: bool = False) -> RunFolder:
    folder = RunFolder(path)
    folder.claim(recipe, resume=resume)
    return folder


def finished_stage(folder: RunFolder, name: str = "export", fingerprint: str = "f") -> None:
    (folder.begin(name) / "model.bin").write_bytes(b"12345")
    folder.finish(name, fingerprint, {"answer": 42}, 1.5)


def test_a_new_folder_becomes_a_run(tmp_path: Path) -> None:
    folder = claimed(tmp_path / "deep" / "run")
    assert folder.is_run
    assert folder.read_json("run.json")["recipe"] == "one"


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match=r"not empty and is no run \(it holds thesis\.tex\).*--out"):
        claimed(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_run_of_another_recipe_is_refused_unless_resumed(tmp_path: Path) -> None:
    claimed(tmp_path, "one").release()
    with pytest.raises(RunFolderError, match="run of recipe 'one', not of 'two'"):
        claimed(tmp_path, "two")
    claimed(tmp_path, "two", resume=True).release()
    claimed(tmp_path, "two").release()


def test_an_interrupted_training_asks_for_resume(tmp_path: Path) -> None:
    folder = claimed(tmp_path)
    (folder.begin("train") / "distil" / "checkpoint").mkdir(parents=True)
    folder.release()
    with pytest.raises(RunFolderError, match="training was interrupted. Add --resume"):
        claimed(tmp_path)
    assert (claimed(tmp_path, resume=True).begin("train") / "distil" / "checkpoint").is_dir()


def test_a_file_in_the_place_of_the_folder_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be made"):
        claimed(tmp_path / "file")


def test_a_run_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"format": 99, "recipe": "one"}')
    with pytest.raises(RunFolderError, match="run format 99"):
        claimed(tmp_path)


def test_a_damaged_marker_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"run\.json: cannot be read"):
        claimed(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
def test_two_processes_cannot_write_into_one_run_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from edgefw.run_folder import RunFolder;"
        f"folder = RunFolder(Path({str(tmp_path)!r})); folder.claim('one', resume=False); print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match="another edgefw is writing"):
            claimed(tmp_path)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    claimed(tmp_path)


def test_a_stage_is_absent_until_it_is_finished(tmp_path: Path) -> None:
    folder = claimed(tmp_path)
    working = folder.begin("export")
    (working / "model.bin").write_bytes(b"half")
    assert folder.stage("export") == working
    assert not (tmp_path / "export").exists()
    folder.finish("export", "f", {"answer": 42}, 1.5)
    assert folder.stage("export") == tmp_path / "export"
    assert folder.result("export") == {"answer": 42}
    assert not working.exists()


def test_a_stage_that_was_killed_starts_from_nothing(tmp_path: Path) -> None:
    folder = claimed(tmp_path)
    (folder.begin("export") / "half").write_text("x")
    folder.release()
    assert list(claimed(tmp_path).begin("export").iterdir()) == []


def test_a_finished_stage_is_removed_when_it_is_begun_again(tmp_path: Path) -> None:
    folder = claimed(tmp_path)
    finished_stage(folder)
    folder.begin("export")
    assert folder.completed("export") is None
    assert not (tmp_path / "export").exists()


def test_a_record_has_fingerprint_seconds_and_files(tmp_path: Path) -> None:
    folder = claimed(tmp_path)
    finished_stage(folder, fingerprint="abc")
    record = folder.completed("export")
    assert record is not None
    assert (record.fingerprint, record.seconds) == ("abc", 1.5)
    assert record.files["model.bin"] == 5


@pytest.mark.parametrize("harm", ["remove", "shorten", "result", "record"])
def test_a_stage_that_lost_something_is_not_complete(tmp_path: Path, harm: str) -> None:
    folder = claimed(tmp_path)
    finished_stage(folder)
    if harm == "remove":
        (tmp_path / "export" / "model.bin").unlink()
    elif harm == "shorten":
        (tmp_path / "export" / "model.bin").write_bytes(b"123")
    elif harm == "result":
        (tmp_path / "export" / "result.json").unlink()
    else:
        (tmp_path / "export" / "stage.json").write_text('{"fingerprint": "f"')
    assert folder.completed("export") is None


def test_checkpoints_of_a_finished_training_may_be_removed(tmp_path: Path) -> None:
    folder = claimed(tmp_path)
    checkpoint = folder.begin("train") / "distil" / "checkpoint"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.bin").write_bytes(b"1")
    folder.finish("train", "f", {}, 1.0)
    (checkpoint / "state.bin").unlink()
    assert folder.completed("train") is not None


def test_the_result_of_a_stage_that_never_ran_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="stage 'verify' is not complete"):
        claimed(tmp_path).result("verify")


def test_metrics_of_the_phases_are_joined_in_order(tmp_path: Path) -> None:
    folder = claimed(tmp_path)
    for phase in ("distil", "align"):
        (tmp_path / "train" / phase).mkdir(parents=True)
        (tmp_path / "train" / phase / "metrics.jsonl").write_text(json.dumps({"phase": phase}) + "\n")
    folder.collect_metrics(["distil", "align", "not-yet"])
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["phase"] for line in lines] == ["distil", "align"]


def test_what_a_killed_process_left_is_swept_away(tmp_path: Path) -> None:
    claimed(tmp_path).release()
    (tmp_path / ".result.json.4711.unfinished").write_text("ha")
    (tmp_path / ".export.4711.unfinished").mkdir()
    claimed(tmp_path)
    assert not list(tmp_path.glob(".*.unfinished"))


def test_json_holds_plain_values_only() -> None:
    value = {
        "a": np.float32(0.5),
        "b": np.arange(2),
        "c": Path("x"),
        "d": math.nan,
        "e": {3, 1},
        "f": True,
        "g": (1, None),
    }
    assert plain(value) == {"a": 0.5, "b": [0, 1], "c": "x", "d": None, "e": [1, 3], "f": True, "g": [1, None]}
    assert plain({1: math.inf}) == {"1": None}


def test_a_json_file_is_replaced_whole(tmp_path: Path) -> None:
    began = time.time()
    for number in range(3):
        write_json(tmp_path / "x.json", {"number": number})
    assert json.loads((tmp_path / "x.json").read_text()) == {"number": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    assert time.time() - began < 5
