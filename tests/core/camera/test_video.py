"""Videos through OpenCV: positions, colours, pace, and what is no video."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from edgefw.camera.video import VideoSource, is_video
from edgefw.errors import DataError

cv2 = pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty frames at ten a second: ten red, ten blue."""
    path = tmp_path_factory.mktemp("videos") / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for number in range(20):
        writer.write(np.full((48, 64, 3), (0, 0, 200) if number < 10 else (200, 0, 0), np.uint8))  # blue, green, red
    writer.release()
    return path


def test_frames_have_numbers_positions_and_true_colours(video):
    frames = list(VideoSource(str(video)).frames())
    assert [frame.number for frame in frames] == list(range(20))
    assert frames[15].seconds == pytest.approx(1.5)
    assert (frames[15].time - frames[0].time).total_seconds() == pytest.approx(1.5)
    assert frames[0].values.shape == (48, 64, 3)
    np.testing.assert_allclose(frames[0].values.mean((0, 1)), (200, 0, 0), atol=6)
    np.testing.assert_allclose(frames[19].values.mean((0, 1)), (0, 0, 200), atol=6)


def test_a_file_waits_and_in_real_time_it_keeps_its_pace(video):
    assert not VideoSource(str(video)).live
    source = VideoSource(str(video), realtime=True)
    assert source.live
    began = time.monotonic()
    assert len(list(source.frames())) == 20
    assert 1.8 <= time.monotonic() - began < 6.0


def test_closing_ends_the_frames(video):
    source = VideoSource(str(video))
    frames = source.frames()
    next(frames)
    source.close()
    assert list(frames) == []


def test_what_is_no_video_is_refused_with_its_name(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DataError, match="text.mp4: no video that OpenCV can read"):
        VideoSource(str(tmp_path / "text.mp4"))
    with pytest.raises(DataError, match="gone.mp4: there is no such video file"):
        VideoSource(str(tmp_path / "gone.mp4"))
    with pytest.raises(DataError, match="97: no camera or stream answers"):
        VideoSource("97")


@pytest.mark.parametrize(
    ("source", "is_one"),
    [
        ("a.mp4", True),
        ("A.MOV", True),
        ("0", True),
        ("rtsp://10.0.0.2/live", True),
        ("a.jpg", False),
        ("images", False),
    ],
)
def test_sources_are_told_apart_by_their_names(source, is_one):
    assert is_video(source) == is_one


def test_a_folder_with_a_number_for_a_name_is_no_camera(tmp_path, monkeypatch):
    (tmp_path / "3").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not is_video("3")
    assert is_video("4")


def test_a_stream_that_is_lost_is_opened_again_and_counted(video, monkeypatch):
    monkeypatch.setattr("edgefw.camera.video.FIRST_WAIT", 0.01)
    source = VideoSource(f"file://{video}", patience=0.05)
    frames = source.frames()
    seen = [next(frames) for _ in range(25)]  # more than the stream has: it was opened a second time
    assert [frame.number for frame in seen] == list(range(25))
    assert source.notes() == {"camera lost": 1}
    source.close()
    assert list(frames) == []
