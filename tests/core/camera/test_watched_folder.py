"""A folder that images are written into while it is watched."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgefw.camera.watched_folder import WatchedFolder
from edgefw.errors import DataError
from edgefw.plugins.modalities.rgb import Rgb, RgbConfig


def draw(path: Path, level: int) -> Path:
    Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(path)
    return path


def watch(folder: Path) -> WatchedFolder:
    return WatchedFolder(folder, Rgb(RgbConfig()), every=0.01)


def test_what_is_there_comes_first_and_new_files_as_they_come(tmp_path):
    draw(tmp_path / "b.png", 1)
    draw(tmp_path / "a.png", 2)
    (tmp_path / "notes.txt").write_text("no image")
    frames = watch(tmp_path).frames()
    assert [Path(next(frames).where).name for _ in range(2)] == ["a.png", "b.png"]
    threading.Timer(0.05, draw, (tmp_path / "c.jpg", 3)).start()
    frame = next(frames)
    assert (frame.number, frame.ending) == (2, "jpg")
    assert frame.data == (tmp_path / "c.jpg").read_bytes()
    frames.close()


def test_a_file_that_is_still_being_written_is_taken_when_it_is_whole(tmp_path):
    whole = draw(tmp_path.parent / "whole.png", 9).read_bytes()
    (tmp_path / "slow.png").write_bytes(whole[: len(whole) // 2])
    source = watch(tmp_path)
    threading.Timer(0.02, (tmp_path / "slow.png").write_bytes, (whole,)).start()
    frame = next(source.frames())
    assert frame.data == whole
    assert source.notes() == {}


def test_a_file_that_never_becomes_an_image_is_counted_once(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    source = watch(tmp_path)
    threading.Timer(0.3, draw, (tmp_path / "good.png", 3)).start()
    assert Path(next(source.frames()).where).name == "good.png"
    assert source.notes() == {"unreadable": 1}


def test_a_file_that_is_replaced_comes_again(tmp_path):
    draw(tmp_path / "a.png", 1)
    frames = watch(tmp_path).frames()
    assert next(frames).values.max() == 1
    shutil.move(draw(tmp_path.parent / "next.png", 77), tmp_path / "a.png")
    assert next(frames).values.max() == 77
    frames.close()


def test_a_file_that_decodes_before_it_is_whole_comes_once(tmp_path):
    whole = draw(tmp_path.parent / "whole.png", 9).read_bytes()
    (tmp_path / "slow.png").write_bytes(whole[:-12])  # all of the picture; what follows only says that it ends

    def finish() -> None:
        (tmp_path / "slow.png").write_bytes(whole)

    threading.Timer(0.05, finish).start()
    threading.Timer(0.6, draw, (tmp_path / "t.png", 3)).start()
    source = WatchedFolder(tmp_path, Rgb(RgbConfig()), every=0.15)
    frames = source.frames()
    assert [Path(next(frames).where).name for _ in range(2)] == ["slow.png", "t.png"]
    frames.close()


def test_a_file_that_changes_while_it_is_read_comes_once(tmp_path):
    path = draw(tmp_path / "a.png", 1)

    class Late(Rgb):
        """Writes the file anew while it is decoded for the first time."""

        def decode(self, data, where):
            values = super().decode(data, where)
            if values.max() == 1:
                draw(path, 200)
                draw(tmp_path / "b.png", 3)
            return values

    frames = WatchedFolder(tmp_path, Late(RgbConfig()), every=0.01).frames()
    assert [next(frames).values.max() for _ in range(2)] == [200, 3]
    frames.close()


def test_a_file_that_is_written_for_long_is_not_unreadable(tmp_path):
    whole = draw(tmp_path.parent / "whole.png", 9).read_bytes()
    source = WatchedFolder(tmp_path, Rgb(RgbConfig()), every=0.02)
    stop = threading.Event()

    def write() -> None:
        for at in range(1, len(whole) - 20):
            (tmp_path / "slow.png").write_bytes(whole[:at])
            if stop.wait(0.02):
                return
        (tmp_path / "slow.png").write_bytes(whole)

    threading.Thread(target=write, daemon=True).start()
    assert next(source.frames()).data == whole
    assert source.notes() == {}
    stop.set()


def test_what_was_unreadable_and_becomes_an_image_counts_as_one(tmp_path):
    (tmp_path / "late.png").write_bytes(b"no image")
    source = watch(tmp_path)
    threading.Timer(0.3, draw, (tmp_path / "late.png", 3)).start()
    assert Path(next(source.frames()).where).name == "late.png"
    assert source.notes() == {}


def test_what_is_gone_is_forgotten(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    source = watch(tmp_path)
    for _ in range(3):
        for path in source._settled():
            source._frame(path, 0, 0.0)
    (tmp_path / "bad.png").unlink()
    source._settled()
    assert source._seen == {}


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no such folder to watch"):
        watch(tmp_path / "gone")
