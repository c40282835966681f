"""Places for drawn frames: pictures, video files read back, and a window where there is one."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from edgefw.camera.frames import Frame
from edgefw.camera.shown import PictureFolder, VideoFile, Window, is_video_name
from edgefw.errors import DataError, MissingDependency

RED = np.full((48, 64, 3), (220, 20, 20), np.uint8)
BLUE = np.full((48, 64, 3), (20, 20, 220), np.uint8)


def frame(number: int, seconds: float, where: str = "drive.mp4") -> Frame:
    return Frame(number=number, seconds=seconds, time=datetime.now(UTC), values=RED, where=where)


def test_a_picture_is_named_by_the_number_and_the_file_it_came_from(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path / "drawn")
    told = folder.add(RED, frame(7, 0.0, "in/a b.png"))
    assert told == str(tmp_path / "drawn/000007-a_b.jpg")
    assert np.asarray(Image.open(told)).mean(axis=(0, 1)).argmax() == 0
    folder.add(BLUE, frame(8, 0.0, "rtsp://10.0.0.2/live?x=1"))
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["000007-a_b.jpg", "000008-live_x_1.jpg"]


def test_a_place_that_cannot_be_made_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="--out .*file/drawn: the folder cannot be made"):
        PictureFolder(tmp_path / "file/drawn")


def read_back(file: Path) -> list[int]:
    """Per frame the channel that is the strongest, in RGB."""
    cv2 = pytest.importorskip("cv2")
    capture, seen = cv2.VideoCapture(str(file)), []
    while (read := capture.read())[0]:
        seen.append(2 - int(read[1].mean(axis=(0, 1)).argmax()))
    return seen


@pytest.mark.parametrize("name", ["out.mp4", "out.avi"])
def test_a_video_holds_every_frame_and_has_its_name_when_it_is_complete(tmp_path: Path, name: str) -> None:
    pytest.importorskip("cv2")
    video = VideoFile(tmp_path / "new" / name, 10.0)
    for number in range(6):
        video.add(RED if number < 4 else BLUE, frame(number, number / 10))
    assert not (tmp_path / "new" / name).exists()
    video.close()
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]
    assert read_back(tmp_path / "new" / name) == [0, 0, 0, 0, 2, 2]


def test_a_frame_stands_until_the_next_one_is_due_but_not_for_hours(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    video = VideoFile(tmp_path / "out.avi", 4.0)
    for picture, seconds in ((RED, 100.0), (BLUE, 101.0), (RED, 3701.0), (BLUE, 3701.25)):
        video.add(picture, frame(0, seconds))
    video.close()
    seen = read_back(tmp_path / "out.avi")
    assert seen[:5] == [0, 0, 0, 0, 2] and seen[-2:] == [0, 2]
    assert len(seen) == 5 + 20 + 2  # the hour takes five seconds


def test_a_frame_of_another_size_fits_into_the_video_of_the_first(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    video = VideoFile(tmp_path / "out.avi", 10.0)
    video.add(RED[:47, :63], frame(0, 0.0))
    video.add(np.repeat(BLUE, 2, axis=0), frame(1, 0.1))
    video.close()
    assert read_back(tmp_path / "out.avi") == [0, 2]


FULL = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
import numpy as np
from edgefw.camera.frames import Frame
from edgefw.camera.shown import VideoFile
from edgefw.errors import DataError
video, draw = VideoFile(Path(sys.argv[1]), 10.0), np.random.default_rng(0)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for number in range(20):
    noise = draw.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    video.add(noise, Frame(number=number, seconds=number / 10, time=datetime.now(UTC), values=noise, where="a.mp4"))
try:
    video.close()
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["out.mp4", "out.avi", "out.mkv"])
def test_a_video_that_a_full_disk_cut_off_is_told_and_gone(tmp_path: Path, name: str) -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / name)], capture_output=True, text=True, check=False
    )
    assert f"{name}: the video could not be written to its end. Is the disk full?" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".mpg", ".mpeg", ".mjpeg", ".ts"])
@pytest.mark.parametrize("frames", [1, 60])
def test_a_whole_video_stays_where_its_format_states_no_length(tmp_path: Path, ending: str, frames: int) -> None:
    pytest.importorskip("cv2")
    video, draw = VideoFile(tmp_path / f"out{ending}", 10.0), np.random.default_rng(0)
    for number in range(frames):
        noise = draw.integers(0, 256 if number < 30 else 2, (240, 320, 3), dtype=np.uint8)  # the bit rate is not even
        try:
            video.add(noise, frame(number, number / 10))
        except DataError as error:
            pytest.skip(str(error))
    video.close()
    assert [path.name for path in tmp_path.iterdir()] == [f"out{ending}"]
    assert read_back(tmp_path / f"out{ending}")


def test_a_file_without_a_length_and_without_a_frame_is_told_and_gone(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    video = VideoFile(tmp_path / "out.mpg", 10.0)
    try:
        video.add(RED, frame(0, 0.0))
    except DataError as error:
        pytest.skip(str(error))
    video._writer.release()
    video._draft.write_bytes(b"")
    with pytest.raises(DataError, match="could not be written to its end"):
        video.close()
    assert list(tmp_path.iterdir()) == []


def test_a_video_without_frames_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    VideoFile(tmp_path / "out.mp4", 10.0).close()
    assert list(tmp_path.iterdir()) == []


def test_without_a_display_a_window_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(MissingDependency, match="--show window: OpenCV has no window here"):
        Window(lambda: None)


@pytest.mark.parametrize(("key", "ends"), [(ord("q"), 1), (27, 1), (255, 0)])
def test_a_window_shows_bgr_and_ends_with_a_key(monkeypatch: pytest.MonkeyPatch, key: int, ends: int) -> None:
    cv2, shown, ended = pytest.importorskip("cv2"), [], []
    monkeypatch.setenv("DISPLAY", ":0")
    screen = SimpleNamespace(
        getBuildInformation=lambda: "  GUI:                           QT5\n",
        cvtColor=cv2.cvtColor,
        COLOR_RGB2BGR=cv2.COLOR_RGB2BGR,
        imshow=lambda title, picture: shown.append(picture),
        waitKey=lambda wait: key,
        destroyAllWindows=lambda: shown.clear(),
    )
    monkeypatch.setattr("edgefw.camera.shown.opencv", lambda: screen)
    window = Window(lambda: ended.append(1))
    window.add(RED, frame(0, 0.0))
    assert shown[0][0, 0].tolist() == [20, 20, 220] and len(ended) == ends
    window.close()
    assert not shown


def test_a_name_of_a_video_is_a_video_unless_it_is_a_folder(tmp_path: Path) -> None:
    assert is_video_name(tmp_path / "a.MP4") and not is_video_name(tmp_path / "a")
    (tmp_path / "b.mp4").mkdir()
    assert not is_video_name(tmp_path / "b.mp4")
