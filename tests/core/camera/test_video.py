"""Videos through OpenCV: positions, colours, pace, and what is no video."""

from __future__ import annotations

import http.server
import re
import threading
import time
from collections.abc import Iterator
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


@pytest.fixture(scope="module")
def served(video: Path) -> Iterator[str]:
    """A server of this machine: the video as a file, and a camera that hangs up after eight frames."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments) -> None:
            super().__init__(*arguments, directory=str(video.parent))

        def do_GET(self) -> None:
            if self.path != "/camera":
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for number in range(8):
                picture = cv2.imencode(".jpg", np.full((48, 64, 3), 20 * number, np.uint8))[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                self.wfile.write(head.encode() + picture + b"\r\n")

        def log_message(self, *arguments) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


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


def test_a_file_that_comes_by_its_address_ends_as_it_would_by_its_name(video, served):
    for address in (f"file://{video}", f"{served}/drive.avi"):
        source = VideoSource(address)
        assert (source.ends, source.live) == (True, False)
        frames = list(source.frames())
        assert len(frames) == 20
        assert frames[15].seconds == pytest.approx(1.5)
        assert source.notes() == {}


def test_a_stream_that_is_lost_is_opened_again_and_counted(served, monkeypatch):
    monkeypatch.setattr("edgefw.camera.video.FIRST_WAIT", 0.01)
    source = VideoSource(f"{served}/camera", patience=5.0)
    assert (source.ends, source.live) == (False, True)
    frames = source.frames()
    seen = [next(frames) for _ in range(12)]  # more than it sends at a time: it was opened a second time
    assert [frame.number for frame in seen] == list(range(12))
    assert source.notes() == {"camera lost": 1}
    source.close()
    assert list(frames) == []


class Mute:
    """What OpenCV says of a stream that opens, and gives no frame."""

    def isOpened(self):
        return True

    def get(self, what):
        return 0.0

    def read(self):
        return False, None

    def release(self):
        pass


def test_waits_double_also_for_a_stream_that_opens_and_gives_nothing(monkeypatch):
    opened = []

    def open_mute(target):
        opened.append(time.monotonic())
        return Mute()

    monkeypatch.setattr("cv2.VideoCapture", open_mute)
    monkeypatch.setattr("edgefw.camera.video.FIRST_WAIT", 0.02)
    source = VideoSource("rtsp://10.0.0.2/live", patience=0.3)
    assert list(source.frames()) == []
    assert 4 <= len(opened) <= 6  # after 0.02, 0.04, 0.08, ...: sixteen times in 0.3 s if waits did not grow
    assert source.notes() == {"camera lost": 1}


@pytest.mark.parametrize("number", ["-1", "10000", "99999999999999999999", "+3"])
def test_a_number_that_no_camera_has_is_refused(number):
    assert is_video(number)
    with pytest.raises(DataError, match=f"^{re.escape(number)}: no camera has this number. Cameras count from 0"):
        VideoSource(number)


def test_digits_of_other_scripts_are_names():
    assert not is_video("²")
