"""`edgefw label` as a camera: a video, a watched folder, a trigger and its store, a pack that is replaced meanwhile."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import click
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from edgefw.camera.store import read_lines
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.label_pack import Label, LabelPack, write_pack

RED, BLUE = (0, 0, 200), (200, 30, 30)  # as OpenCV orders them


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, small_bundle):
    return small_bundle.write_small_bundle(tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Ten frames a second: one second red, one blue, one red."""
    cv2 = pytest.importorskip("cv2")
    path = tmp_path_factory.mktemp("videos") / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for number in range(30):
        writer.write(np.full((48, 64, 3), BLUE if 10 <= number < 20 else RED, np.uint8))
    writer.release()
    return path


def refusal(result) -> str:
    """The one message of a refused command."""
    code, _, err = result
    assert code == 2
    assert "Traceback" not in err
    return err


def test_a_video_prints_a_line_when_what_is_seen_changes(edgefw, bundle, video):
    code, out, err = edgefw("label", bundle, video)
    assert code == 0
    assert [line.split("\t")[::2][:2] for line in out.splitlines()] == [
        ["0.00 s", "red"],
        ["1.00 s", "blue"],
        ["2.00 s", "red"],
    ]
    assert "30 frames in" in err and "dropped 0" in err and "red 20, blue 10" in err


@pytest.mark.parametrize("artefact", ["onnxruntime-fp32", "onnxruntime-int8-static"])
def test_frames_in_flight_change_nothing_but_the_speed(edgefw, bundle, video, artefact):
    told = []
    for more in ((), ("--in-flight", 1), ("--threads", 3), ("--threads", 4, "--in-flight", 2)):
        code, out, err = edgefw("label", bundle, video, "--artefact", artefact, "--jsonl", *more)
        assert code == 0 and "30 frames in" in err and "dropped 0" in err
        told.append([{**json.loads(line), "time": ""} for line in out.splitlines()])
    assert [record["frame"] for record in told[0]] == list(range(30))
    for other in told[1:]:
        assert [record["label"] for record in other] == [record["label"] for record in told[0]]
        scores = [[record["score"] for record in records] for records in (other, told[0])]
        assert scores[0] == pytest.approx(scores[1], rel=1e-5)


def test_frames_in_flight_are_computed_at_the_same_time(edgefw, bundle, video, monkeypatch):
    three, real = threading.Event(), onnxruntime.InferenceSession.run
    inside: list[int] = []

    def wait_for_the_others(session, *arguments):
        if threading.current_thread() is not threading.main_thread():
            inside.append(1)
            if len(inside) >= 3:
                three.set()
            three.wait(30)
            inside.pop()
        return real(session, *arguments)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", wait_for_the_others)
    code, _, err = edgefw("label", bundle, video, "--threads", 3, "--in-flight", 3)
    assert code == 0 and "30 frames in" in err and three.is_set()
    assert "warning" not in err


def test_fewer_frames_in_flight_than_asked_for_are_told_with_the_reason(edgefw, bundle, video):
    code, _, err = edgefw("label", bundle, video, "--frames", 2, "--threads", 2, "--in-flight", 4)
    told = "warning: --in-flight 4: 2 at a time, because there are 2 CPU threads, see --threads."
    assert code == 0 and err.splitlines()[0] == told
    assert "warning" not in edgefw("label", bundle, video, "--frames", 2, "--threads", 2)[2]


def test_every_frame_is_a_json_line_on_request(edgefw, bundle, video):
    code, out, _ = edgefw("label", bundle, video, "--jsonl", "--frames", 12)
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [record["label"] for record in records] == ["red"] * 10 + ["blue"] * 2
    assert records[11]["seconds"] == pytest.approx(1.1)
    assert {"source", "frame", "time", "score", "labels"} < records[0].keys()
    assert "trigger" not in records[0]


def test_kept_frames_are_stored_with_what_was_seen(edgefw, bundle, video, tmp_path):
    store = tmp_path / "kept"
    code, _, err = edgefw("label", bundle, video, "--keep", "blue", "--cool-down", 0.35, "--store", store)
    assert code == 0
    lines = read_lines(store)
    assert [line["frame"] for line in lines] == [10, 14, 18]
    assert "trigger: quiet 20, cool-down 7, kept 3" in err
    with open_bundle(bundle) as opened:
        manifest = hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
        assert {(line["bundle"], line["encoder"]) for line in lines} == {(manifest, opened.manifest.encoder)}
        assert {line["pack"] for line in lines} == {opened.label_pack().sha256}
    assert lines[0]["pack"] in edgefw("bundle", "show", bundle, "--json")[1]
    assert lines[0]["pack"] in edgefw("labels", "show", bundle)[1]
    picture = (store / lines[0]["file"]).read_bytes()
    assert hashlib.sha256(picture).hexdigest() == lines[0]["sha256"]
    assert np.asarray(Image.open(io.BytesIO(picture))).mean((0, 1)).argmax() == 2
    assert lines[0]["labels"][0]["label"] == "blue"


def test_cosines_can_be_what_is_compared(edgefw, bundle, video, tmp_path):
    code, _, _ = edgefw(
        "label", bundle, video, "--keep", "blue", "--score", "cosine", "--threshold", 0.9, "--store", tmp_path
    )
    assert code == 0
    assert [line["frame"] for line in read_lines(tmp_path)] == list(range(10, 20))


def test_image_files_are_kept_as_they_are(edgefw, bundle, small_bundle, tmp_path):
    pictures = small_bundle.write_pictures(tmp_path / "pictures")
    code, _, err = edgefw("label", bundle, pictures, "--keep", "red", "--store", tmp_path / "kept")
    assert code == 0
    lines = read_lines(tmp_path / "kept")
    assert {Path(line["source"]).parent.name for line in lines} == {"red"}
    for line in lines:
        assert (tmp_path / "kept" / line["file"]).read_bytes() == Path(line["source"]).read_bytes()
    assert "kept 4" in err


def test_a_budget_holds(edgefw, bundle, video, tmp_path):
    _, _, err = edgefw("label", bundle, video, "--keep", "red", "--budget-mb", 0.003, "--store", tmp_path)
    assert "over budget" in err
    assert sum(line["bytes"] for line in read_lines(tmp_path)) <= 3000


def test_a_trigger_travels_in_the_label_pack(edgefw, bundle, video, tmp_path, small_bundle):
    pack = tmp_path / "pack.json"
    with open_bundle(bundle) as opened:
        write_pack(opened.label_pack(), pack)
    (tmp_path / "trigger.yaml").write_text("any: [red]\nnone: [blue]\nframes: 3\n")
    from edgefw.labels.triggers import with_trigger
    from edgefw.runtime.label_pack import read_pack

    write_pack(with_trigger(read_pack(pack), tmp_path / "trigger.yaml"), pack)
    assert json.loads(pack.read_text())["format"] == 2
    code, _, err = edgefw("label", bundle, video, "--pack", pack, "--store", tmp_path / "kept")
    assert code == 0
    assert "quiet 14, kept 16" in err or "kept 16, quiet 14" in err


def test_top_is_how_many_labels_are_told_of_a_frame(edgefw, bundle, video, tmp_path):
    keep = ("--keep", "red", "--store", tmp_path, "--frames", 1)
    code, out, _ = edgefw("label", bundle, video, "--top", 2, *keep)
    assert code == 0
    assert out.split("\t")[2::2] == ["red", out.split("\t")[4], "kept\n"]
    assert len(read_lines(tmp_path)[0]["labels"]) == 2


def test_a_store_that_another_labeller_has_is_refused(edgefw, bundle, video, tmp_path):
    from edgefw.camera.store import FrameStore

    store = FrameStore(tmp_path)
    assert "another labeller stores its frames here" in refusal(
        edgefw("label", bundle, video, "--keep", "red", "--store", tmp_path)
    )
    store.close()
    assert edgefw("label", bundle, video, "--keep", "red", "--store", tmp_path)[0] == 0
    FrameStore(tmp_path)  # and after its end it is free again


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_a_line_is_printed_ends_with_the_totals(edgefw, bundle, video, tmp_path, monkeypatch, number):
    echo, printed, before = click.echo, [], signal.getsignal(number)

    def interrupted(message=None, **options):
        if not options.get("err"):
            printed.append(message)
            if len(printed) == 3:
                os.kill(os.getpid(), number)
        echo(message, **options)

    monkeypatch.setattr("click.echo", interrupted)
    code, out, err = edgefw("label", bundle, video, "--jsonl", "--keep", "red", "--store", tmp_path)
    assert code == 0
    assert len(out.splitlines()) == len(read_lines(tmp_path)) == 3  # the frame in hand is done to its end
    assert "3 frames in" in err and "trigger: kept 3" in err
    assert signal.getsignal(number) is before  # a shell's background jobs begin with SIGINT ignored


def test_a_second_ctrl_c_ends_at_once(edgefw, bundle, video, monkeypatch):
    echo = click.echo

    def interrupted(message=None, **options):
        if not options.get("err"):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        echo(message, **options)

    monkeypatch.setattr("click.echo", interrupted)
    code, _, err = edgefw("label", bundle, video, "--jsonl")
    assert (code, err.strip()) == (130, "Interrupted.")


def test_a_reader_that_goes_away_ends_the_labeller_with_its_totals(bundle, video):
    command = [sys.executable, "-m", "edgefw", "label", str(bundle), str(video), "--jsonl", "--realtime"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert json.loads(process.stdout.readline())["frame"] == 0
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=30) == 0
    assert "frames in" in err and "Traceback" not in err and "BrokenPipe" not in err
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_an_output_on_a_full_disk_ends_no_labeller_that_stores_frames(bundle, video, tmp_path):
    command = [sys.executable, "-m", "edgefw", "label", str(bundle), str(video), "--jsonl"]
    stores = [*command, "--keep", "red", "--store", str(tmp_path / "kept")]
    with open("/dev/full", "w") as full:
        alone = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        told = subprocess.run(stores, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        mute = subprocess.run(stores, stdout=full, stderr=full, check=False)
    assert alone.returncode == 2 and len(alone.stderr.splitlines()) == 1
    assert "Error: what is seen cannot be printed (No space left on device). Send the output elsewhere" in alone.stderr
    assert (told.returncode, mute.returncode) == (0, 0)
    assert "frames are stored as before" in told.stderr and "dropped 0, not printed 30" in told.stderr
    assert len(read_lines(tmp_path / "kept")) == 2 * 20


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_lines_of_text_on_a_full_disk_are_counted_too(bundle, video, tmp_path):
    command = [
        sys.executable,
        "-m",
        "edgefw",
        "label",
        str(bundle),
        str(video),
        "--keep",
        "red",
        "--store",
        str(tmp_path),
    ]
    with open("/dev/full", "w") as full:
        told = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert told.returncode == 0 and told.stderr.count("warning:") == 1
    assert "dropped 0, not printed 3\n" in told.stderr  # what is seen changes three times
    assert len(read_lines(tmp_path)) == 20


def test_a_picture_without_an_ending_is_stored_by_its_format(edgefw, bundle, tmp_path):
    Image.new("RGB", (24, 24), (200, 0, 0)).save(tmp_path / "photo", format="PNG")
    keep = ("--keep", "red", "--score", "cosine", "--threshold", 0.1, "--store", tmp_path / "kept")
    assert edgefw("label", bundle, tmp_path / "photo", *keep)[0] == 0
    (line,) = read_lines(tmp_path / "kept")
    assert line["file"].endswith("Z-000000.png")
    assert (tmp_path / "kept" / line["file"]).read_bytes() == (tmp_path / "photo").read_bytes()


def test_what_does_not_go_together_is_refused(edgefw, bundle, video, tmp_path):
    for option in (("--threshold", 0.3), ("--frames", 2), ("--realtime",), ("--drop", "newest"), ("--in-flight", 2)):
        assert f"{option[0]} is for frames" in refusal(edgefw("label", bundle, tmp_path, *option))
    assert "--budget-mb is the budget of --store" in refusal(
        edgefw("label", bundle, video, "--keep", "red", "--budget-mb", 1)
    )
    inside = tmp_path / "photos" / "kept"
    inside.parent.mkdir()
    assert "would be kept again" in refusal(edgefw("label", bundle, inside.parent, "--keep", "red", "--store", inside))
    assert "frames are looked at one by one" in refusal(edgefw("label", bundle, video, "--batch", 4))
    assert "any other source waits" in refusal(edgefw("label", bundle, video, "--drop", "newest"))
    assert "any other source waits" in refusal(edgefw("label", bundle, inside.parent, "--watch", "--drop", "oldest"))
    assert "frames come from one sensor" in refusal(
        edgefw("label", bundle, f"rgb={inside.parent}", "--keep", "red", "--store", tmp_path / "kept")
    )
    assert "no camera has this number" in refusal(edgefw("label", bundle, "99999999999999999999"))
    assert "no camera has this number" in refusal(edgefw("label", "--", bundle, "-1"))
    assert "give one SOURCE" in refusal(edgefw("label", bundle, video, video))
    assert "--watch is for a folder" in refusal(edgefw("label", bundle, video, "--watch"))
    assert "use --jsonl instead" in refusal(edgefw("label", bundle, video, "--json"))
    assert "--threshold needs --keep" in refusal(edgefw("label", bundle, video, "--threshold", 0.3))
    assert "--threshold -0.3 is no probability, and would keep every frame" in refusal(
        edgefw("label", bundle, video, "--keep", "red", "--threshold", -0.3)
    )
    assert "nothing says which frames to keep" in refusal(edgefw("label", bundle, video, "--store", tmp_path))
    assert "names 'snow', which is no label of the pack" in refusal(edgefw("label", bundle, video, "--keep", "snow"))
    assert "modality 'depth' reads none" in refusal(edgefw("label", bundle, video, "--modality", "depth"))
    assert "there is no such folder to watch" in refusal(edgefw("label", bundle, tmp_path / "gone", "--watch"))


def test_a_running_labeller_takes_a_new_pack_and_refuses_one_for_another_encoder(bundle, tmp_path):
    folder, pack = tmp_path / "inbox", tmp_path / "pack.json"
    folder.mkdir()
    with open_bundle(bundle) as opened:
        first = opened.label_pack()
    write_pack(first, pack)
    command = [
        sys.executable,
        "-m",
        "edgefw",
        "label",
        str(bundle),
        str(folder),
        "--watch",
        "--pack",
        str(pack),
        "--jsonl",
        "--frames",
        "3",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert _seen(process, folder, 0) == "red"
        write_pack(_renamed(first, ""), pack)
        time.sleep(1.2)
        assert _seen(process, folder, 1) == "new red"
        write_pack(_renamed(first, "f" * 64), pack)
        time.sleep(1.2)
        assert _seen(process, folder, 2) == "new red"
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert "new label pack: 3 labels" in err
    assert "the label pack in use stays" in err and "made for encoder ffffffffffff" in err
    assert "3 frames in" in err


def _seen(process, folder: Path, number: int) -> str:
    part = folder / f".{number}.part"
    Image.fromarray(np.full((16, 16, 3), (200, 30, 30), np.uint8)).save(part, format="PNG")
    part.rename(folder / f"{number}.png")
    return json.loads(process.stdout.readline())["label"]


def _renamed(pack: LabelPack, encoder: str) -> LabelPack:
    labels = [Label(name=f"new {label.name}", vectors=label.vectors) for label in pack.labels]
    return LabelPack(labels=labels, logit_scale=pack.logit_scale, encoder=encoder or pack.encoder)
