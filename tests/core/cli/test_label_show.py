"""`edgefw label --show`: drawn pictures and videos of a bundle with a map, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgefw.camera import shown
from edgefw.camera.store import read_lines
from edgefw.camera.viewer import lines

RED, BLUE = (200, 30, 30), (30, 40, 210)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, small_bundle):
    return small_bundle.add_map(small_bundle.write_small_bundle(tmp_path_factory.mktemp("bundles") / "bundle"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Blue pictures of 60 x 40 pixels with a red square, lower right and upper left."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, (rows, columns) in {"a": (slice(20, 40), slice(30, 60)), "b": (slice(0, 20), slice(0, 30))}.items():
        image = np.full((40, 60, 3), BLUE, np.uint8)
        image[rows, columns] = RED
        Image.fromarray(image).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Ten frames a second: half a second red, half a second blue."""
    cv2 = pytest.importorskip("cv2")
    path = tmp_path_factory.mktemp("videos") / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for number in range(10):
        writer.write(np.full((48, 64, 3), (RED if number < 5 else BLUE)[::-1], np.uint8))
    writer.release()
    return path


def refusal(result) -> str:
    """The one message of a refused command."""
    code, _, err = result
    assert code == 2 and "Traceback" not in err
    return " ".join(err.split())


def frames_of(path: Path) -> list[np.ndarray]:
    """The frames of a video, RGB."""
    cv2 = pytest.importorskip("cv2")
    capture, seen = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        seen.append(read[1][:, :, ::-1])
    return seen


def test_heat_goes_into_pictures_and_into_the_records(edgefw, bundle, pictures, tmp_path):
    show = ("--show", "heat", "--heat-of", "red", "--out", tmp_path / "drawn")
    code, out, _ = edgefw("label", bundle, pictures, "--jsonl", *show)
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [Path(record["shown"]).name for record in records] == ["000000-a.jpg", "000001-b.jpg"]
    for record, (x, y) in zip(records, ((45, 30), (15, 10))):
        (heat,) = record["heat"]
        assert heat["label"] == "red" and heat["lowest"] < heat["cosine"] <= 1.0
        assert abs(heat["peak"][0] - x) < 16 and abs(heat["peak"][1] - y) < 11
        drawn = np.asarray(Image.open(record["shown"])).astype(int)
        assert drawn.shape == (240, 360, 3)  # six times as large
        other = (60 - x, 40 - y)
        assert drawn[6 * y, 6 * x, 0] > drawn[6 * other[1], 6 * other[0], 0] + 60


def test_without_a_name_the_best_label_is_drawn_and_several_stand_side_by_side(edgefw, bundle, pictures, tmp_path):
    _, out, _ = edgefw("label", bundle, pictures / "a.png", "--jsonl", "--show", "heat", "--out", tmp_path / "one")
    record = json.loads(out)
    assert [heat["label"] for heat in record["heat"]] == [record["labels"][0]["label"]]
    both = ("--heat-of", "red", "--heat-of", "blue", "--heat-of", "red")
    _, out, _ = edgefw(
        "label", bundle, pictures / "a.png", "--jsonl", "--show", "heat", *both, "--out", tmp_path / "two"
    )
    record = json.loads(out)
    assert [heat["label"] for heat in record["heat"]] == ["red", "blue"]
    assert Image.open(record["shown"]).size == (720, 240)


def test_heat_of_a_video_goes_into_a_video(edgefw, bundle, video, tmp_path):
    code, out, err = edgefw("label", bundle, video, "--show", "heat", "--out", tmp_path / "heat.mp4")
    assert code == 0
    assert [line.split("\t")[2] for line in out.splitlines()] == ["red", "blue"]
    assert "10 frames in" in err
    frames = frames_of(tmp_path / "heat.mp4")
    assert len(frames) == 10 and frames[0].shape == (240, 320, 3)
    _, out, _ = edgefw("label", bundle, video, "--show", "heat", "--out", tmp_path / "frames", "--frames", 3)
    assert len(list((tmp_path / "frames").iterdir())) == 3


def test_labels_are_written_on_every_frame_of_a_video(edgefw, bundle, video, tmp_path):
    show = ("--show", "labels", "--out", tmp_path / "labels.mp4")
    code, out, err = edgefw("label", bundle, video, "--jsonl", *show)
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and "10 frames in" in err
    assert [record["label"] for record in records] == ["red"] * 5 + ["blue"] * 5
    assert not {"heat", "shown"} & records[0].keys()
    frames = frames_of(tmp_path / "labels.mp4")
    assert len(frames) == 10
    for frame, colour in zip(frames, [RED] * 5 + [BLUE] * 5):
        below = frame[120:].reshape(-1, 3).astype(int)
        assert np.abs(below - colour).max() < 40  # below the words there is nothing but the frame
        assert frame[:60].min() < 40 and frame[:60].max() > 215


def test_labels_need_no_map_and_are_written_on_pictures(edgefw, small_bundle, pictures, tmp_path):
    plain = small_bundle.write_small_bundle(tmp_path / "plain")
    code, out, _ = edgefw("label", plain, pictures, "--jsonl", "--show", "labels", "--out", tmp_path / "drawn")
    assert code == 0
    drawn = {Path(json.loads(line)["shown"]).name for line in out.splitlines()}
    assert drawn == {path.name for path in (tmp_path / "drawn").iterdir()} == {"000000-a.jpg", "000001-b.jpg"}


def test_top_says_how_many_labels_are_written_and_heat_goes_with_them(edgefw, bundle, pictures, tmp_path):
    def dark(*options) -> int:
        """Rows with words on them."""
        _, out, _ = edgefw("label", bundle, pictures / "a.png", "--jsonl", *options)
        picture = np.asarray(Image.open(json.loads(out)["shown"]).convert("L"))
        return int((picture[:, :60] < 12).any(axis=1).sum())

    one = dark("--show", "labels", "--top", 1, "--out", tmp_path / "1")
    assert one < dark("--show", "labels", "--out", tmp_path / "3")
    assert one < dark("--show", "labels", "--show", "heat", "--top", 1, "--out", tmp_path / "h")


def test_the_trigger_is_written_too(edgefw, bundle, pictures, tmp_path):
    keep = ("--keep", "red", "--score", "cosine", "--threshold", "0.1", "--store", tmp_path / "kept")
    code, out, _ = edgefw("label", bundle, pictures, "--jsonl", *keep, "--show", "labels", "--out", tmp_path / "drawn")
    assert code == 0
    assert all({"trigger", "shown"} <= json.loads(line).keys() for line in out.splitlines())
    assert lines({"label": None, "labels": [{"label": "red", "score": 0.25}], "trigger": "kept"}, 3) == [
        "unknown",
        "red 0.25",
        "trigger: kept",
    ]


def test_a_full_disk_below_the_drawings_ends_no_labeller_that_stores_frames(
    edgefw, bundle, video, tmp_path, monkeypatch
):
    real, tries = shown.write_file, []

    def full_for_a_while(target, write):
        tries.append(target)
        if len(tries) <= 3:
            raise OSError(28, "No space left on device")
        real(target, write)

    monkeypatch.setattr(shown, "write_file", full_for_a_while)
    keep = ("--keep", "red", "--store", tmp_path / "kept")
    show = ("--show", "labels", "--out", tmp_path / "drawn")
    code, out, err = edgefw("label", bundle, video, "--jsonl", *keep, *show)
    assert code == 0
    assert ["shown" in json.loads(line) for line in out.splitlines()] == [False] * 3 + [True] * 7
    assert len(read_lines(tmp_path / "kept")) == 5 and len(list((tmp_path / "drawn").iterdir())) == 7
    assert err.count("warning: --out") == 1
    assert "cannot be written (No space left on device). Frames are stored as before." in " ".join(err.split())
    assert "dropped 0, not drawn 3\n" in err
    tries.clear()
    message = refusal(edgefw("label", bundle, video, *show))
    assert "000000-drive.jpg: cannot be written (No space left on device)." in message and len(tries) == 1


def test_without_a_display_a_window_is_one_message(edgefw, bundle, video, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("edgefw.camera.shown.sys.platform", "linux")
    for show in (("window",), ("labels", "window"), ("heat", "window")):
        options = [part for what in show for part in ("--show", what)]
        assert "--show window: OpenCV has no window here" in refusal(edgefw("label", bundle, video, *options))


def test_a_depth_picture_is_drawn_as_a_person_sees_it(edgefw, bundle, tmp_path):
    depth = np.full((24, 24), 2000, np.uint16)
    depth[12:] = 3000
    Image.fromarray(depth).save(tmp_path / "d.png")
    show = ("--show", "heat", "--out", tmp_path / "drawn")
    code, out, _ = edgefw("label", bundle, tmp_path / "d.png", "--modality", "depth", "--jsonl", *show)
    assert code == 0
    assert Image.open(json.loads(out)["shown"]).mode == "RGB"


def test_what_cannot_be_drawn_is_one_message(edgefw, bundle, small_bundle, pictures, video, tmp_path):
    def told(source, *options):
        return refusal(edgefw("label", bundle, source, *options))

    drawn = tmp_path / "drawn"
    plain = small_bundle.write_small_bundle(tmp_path / "plain")
    message = refusal(edgefw("label", plain, pictures, "--show", "heat", "--out", drawn))
    assert "the bundle has no map of rgb images, which heat maps are drawn from. Export it: edgefw run" in message
    assert "--heat-of 'snow' is no label of the pack: red, green, blue." in told(
        pictures, "--show", "heat", "--heat-of", "snow", "--out", drawn
    )
    assert "--show heat needs a place: --out FOLDER" in told(pictures, "--show", "heat")
    assert "--show labels needs a place: --out FOLDER" in told(video, "--show", "labels")
    assert "--out is for frames" in told(pictures, "--out", drawn)
    assert "--out is where --show draws" in told(video, "--out", drawn)
    assert "--heat-of names labels of --show heat" in told(video, "--heat-of", "red")
    assert "a video file is for a video or a camera" in told(pictures, "--show", "heat", "--out", tmp_path / "x.mp4")
    assert "this is what is looked at" in told(video, "--show", "heat", "--out", video)
    assert "would be drawn again" in told(pictures, "--show", "heat", "--out", pictures / "drawn")
    (tmp_path / "notes.txt").write_text("")
    assert "this is a file. Name a folder" in told(pictures, "--show", "heat", "--out", tmp_path / "notes.txt")
    assert "use --jsonl instead" in told(pictures, "--show", "heat", "--out", drawn, "--json")
    assert not drawn.exists()
