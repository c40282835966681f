"""The store of kept frames: names, lines, budget, a full disk, and kills at any moment."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgefw.camera.store import LINES, FrameStore, read_lines
from edgefw.errors import DataError

NOON = datetime(2026, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def test_a_frame_is_a_picture_and_a_line(tmp_path: Path):
    store = FrameStore(tmp_path / "kept")
    assert store.add(b"picture", "jpg", NOON, {"labels": ["rain"]}) == "stored"
    (line,) = read_lines(tmp_path / "kept")
    assert line == {
        "file": "20260501T120000.250Z-000000.jpg",
        "time": "2026-05-01T12:00:00.250000+00:00",
        "bytes": 7,
        "sha256": hashlib.sha256(b"picture").hexdigest(),
        "labels": ["rain"],
    }
    assert (tmp_path / "kept" / line["file"]).read_bytes() == b"picture"


def test_numbers_go_on_in_the_next_run(tmp_path: Path):
    for _ in range(3):
        FrameStore(tmp_path).add(b"x", "jpg", NOON, {})
    assert [line["file"][-10:] for line in read_lines(tmp_path)] == ["000000.jpg", "000001.jpg", "000002.jpg"]


def test_a_budget_holds_over_runs(tmp_path: Path):
    assert FrameStore(tmp_path, budget_mb=1e-5).add(b"12345678", "jpg", NOON, {}) == "stored"
    again = FrameStore(tmp_path, budget_mb=1e-5)
    assert again.add(b"123", "jpg", NOON, {}) == "over budget"
    assert again.add(b"12", "jpg", NOON, {}) == "stored"
    assert again.bytes == 10


def test_a_full_disk_drops_the_frame_and_leaves_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = FrameStore(tmp_path)
    store.add(b"first", "jpg", NOON, {})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        assert store.add(b"second", "jpg", NOON, {}) == "disk full"
    assert store.add(b"third", "jpg", NOON, {}) == "stored"
    assert {path.name for path in tmp_path.iterdir()} == {LINES, *(line["file"] for line in read_lines(tmp_path))}
    assert [line["bytes"] for line in read_lines(tmp_path)] == [5, 5]


def test_what_a_kill_left_is_put_right_and_strangers_are_not_touched(tmp_path: Path):
    store = FrameStore(tmp_path)
    store.add(b"one", "jpg", NOON, {})
    store.add(b"two", "jpg", NOON, {})
    (tmp_path / "20260501T120001.000Z-000002.jpg").write_bytes(b"no line")
    (tmp_path / "20260501T120001.000Z-000003.jpg.part").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    lines = (tmp_path / LINES).read_text()
    (tmp_path / LINES).write_text(lines + '{"file": "2026')
    (tmp_path / json.loads(lines.splitlines()[0])["file"]).unlink()
    store.close()
    again = FrameStore(tmp_path)
    assert again.removed == 2
    assert [line["bytes"] for line in read_lines(tmp_path)] == [3, 3]  # a picture that was taken away keeps its line
    assert len(list(tmp_path.iterdir())) == 3
    assert again.add(b"three", "jpg", NOON, {}) == "stored"


def test_pictures_whose_lines_were_taken_away_stay(tmp_path: Path):
    store = FrameStore(tmp_path)
    for _ in range(3):
        store.add(b"picture", "jpg", NOON, {})
    (tmp_path / LINES).unlink()
    store.close()
    again = FrameStore(tmp_path)
    assert (again.removed, again.bytes) == (0, 21)
    again.add(b"next", "jpg", NOON, {})
    assert read_lines(tmp_path)[0]["file"].endswith("-000003.jpg")


def test_a_single_picture_whose_line_was_taken_away_stays_too(tmp_path: Path):
    store = FrameStore(tmp_path)
    store.add(b"picture", "jpg", NOON, {})
    (tmp_path / LINES).unlink()
    store.close()
    again = FrameStore(tmp_path)
    assert (again.removed, again.bytes) == (0, 7)


def test_a_picture_whose_line_went_home_outlives_starts_that_store_nothing(tmp_path: Path):
    store = FrameStore(tmp_path / "kept")
    store.add(b"picture", "jpg", NOON, {})
    (tmp_path / "kept" / LINES).rename(tmp_path / "sent.jsonl")
    for _ in range(3):
        store.close()
        store = FrameStore(tmp_path / "kept")  # leaves an empty file of lines
        assert (store.removed, store.bytes) == (0, 7)


def test_a_picture_whose_line_went_home_outlives_a_full_disk_and_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = FrameStore(tmp_path / "kept")
    store.add(b"picture", "jpg", NOON, {})
    (tmp_path / "kept" / LINES).rename(tmp_path / "sent.jsonl")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        assert store.add(b"next", "jpg", NOON, {}) == "disk full"
    store.close()
    assert (tmp_path / "kept" / LINES).read_bytes() == b""
    again = FrameStore(tmp_path / "kept")
    assert (again.removed, again.bytes) == (0, 7)
    again.add(b"next", "jpg", NOON, {})
    assert read_lines(tmp_path / "kept")[0]["file"].endswith("-000001.jpg")


def test_a_picture_beyond_lines_that_were_cut_short_is_not_taken_for_the_one_in_flight(tmp_path: Path):
    store = FrameStore(tmp_path)
    for _ in range(3):
        store.add(b"picture", "jpg", NOON, {})
    first, second, _ = (tmp_path / LINES).read_text().splitlines(keepends=True)
    (tmp_path / LINES).write_text(first)
    (tmp_path / json.loads(second)["file"]).unlink()
    store.close()
    assert (FrameStore(tmp_path).removed, len(list(tmp_path.iterdir()))) == (0, 3)


def test_of_the_very_first_frame_a_kill_leaves_a_whole_picture_or_nothing(tmp_path: Path):
    FrameStore(tmp_path).close()
    (tmp_path / "20260501T120001.000Z-000000.jpg.part").write_bytes(b"half")
    assert FrameStore(tmp_path).removed == 1
    (tmp_path / "20260501T120001.000Z-000000.jpg").write_bytes(b"whole, no line")
    store = FrameStore(tmp_path)
    assert (store.removed, store.bytes) == (0, 14)
    store.add(b"next", "jpg", NOON, {})
    (tmp_path / "20260501T120002.000Z-000002.jpg").write_bytes(b"in flight")
    store.close()
    assert FrameStore(tmp_path).removed == 1  # with a line before it, it is known for what it is
    assert sorted(path.name[-10:] for path in tmp_path.glob("*.jpg")) == ["000000.jpg", "000001.jpg"]


@pytest.mark.parametrize("ending", ["", "part", "j pg", "jpg~", "a" * 200])
def test_a_file_without_an_ending_that_can_be_one_is_counted_repaired_and_numbered(tmp_path: Path, ending: str):
    store = FrameStore(tmp_path, budget_mb=1e-5)
    assert store.add(b"\xff\xd8\xff picture"[:9], ending, NOON, {}) == "stored"
    assert store.add(b"12", ending, NOON, {}) == "over budget"
    store.close()
    again = FrameStore(tmp_path)
    assert (again.removed, again.bytes) == (0, 9)
    again.add(b"12", ending, NOON, {})
    assert [line["file"][-10:] for line in read_lines(tmp_path)] == ["000000.jpg", "000001.bin"]


def test_after_a_million_frames_numbers_go_on(tmp_path: Path):
    store = FrameStore(tmp_path)
    store._number = 999_999
    for _ in range(2):
        store.add(b"x", "jpg", NOON, {})
    store.close()
    again = FrameStore(tmp_path)
    again.add(b"x", "jpg", NOON, {})
    assert again.bytes == 3
    assert [line["file"].split("-")[-1] for line in read_lines(tmp_path)][1:] == ["1000000.jpg", "1000001.jpg"]


def test_lines_that_an_uploader_takes_away_meanwhile_go_on_in_a_new_file(tmp_path: Path):
    store = FrameStore(tmp_path / "kept")
    assert store.add(b"one", "jpg", NOON, {}) == "stored"
    (tmp_path / "kept" / LINES).rename(tmp_path / "sent.jsonl")
    assert list(store.kept(NOON - timedelta(hours=1))) == []
    assert store.add(b"two", "jpg", NOON, {}) == "stored"
    assert [line["bytes"] for line in read_lines(tmp_path / "kept")] == [3]
    assert len((tmp_path / "sent.jsonl").read_text().splitlines()) == 1


def test_a_disk_that_is_gone_drops_frames_until_it_is_back(tmp_path: Path):
    store = FrameStore(tmp_path / "kept")
    store.add(b"one", "jpg", NOON, {})
    (tmp_path / "kept").rename(tmp_path / "unplugged")
    assert store.add(b"two", "jpg", NOON, {}) == "not writable"
    assert list(store.kept(NOON - timedelta(hours=1))) == []
    assert not (tmp_path / "kept").exists()
    (tmp_path / "unplugged").rename(tmp_path / "kept")
    assert store.add(b"three", "jpg", NOON, {}) == "stored"
    assert [line["bytes"] for line in read_lines(tmp_path / "kept")] == [3, 5]


def test_pictures_that_an_uploader_takes_away_free_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seconds = 100.0
    monkeypatch.setattr("edgefw.camera.store.clock.monotonic", lambda: seconds)
    store = FrameStore(tmp_path, budget_mb=1e-5)
    store.add(b"12345678", "jpg", NOON, {})
    assert store.add(b"123", "jpg", NOON, {}) == "over budget"
    (tmp_path / read_lines(tmp_path)[0]["file"]).unlink()
    seconds += 9
    assert store.add(b"123", "jpg", NOON, {}) == "over budget"
    seconds += 1
    assert store.add(b"123", "jpg", NOON, {}) == "stored"
    assert store.bytes == 3


def test_a_line_that_cannot_be_taken_back_keeps_neither_its_picture_nor_the_next_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = FrameStore(tmp_path)
    store.add(b"first", "jpg", NOON, {})

    def broken(*arguments: object) -> None:
        raise OSError(5, "Input/output error")

    def half(line: str) -> None:
        with (tmp_path / LINES).open("a") as file:
            file.write(line[:20])
        broken()

    with monkeypatch.context() as patch:
        patch.setattr(store, "_append", half)
        patch.setattr("os.truncate", broken)
        assert store.add(b"second", "jpg", NOON, {}) == "not writable"
    assert len(list(tmp_path.iterdir())) == 2  # the first picture, and the lines
    assert store.add(b"third", "jpg", NOON, {}) == "stored"
    assert [line["bytes"] for line in read_lines(tmp_path)] == [5, 5]
    assert len((tmp_path / LINES).read_bytes().splitlines()) == 2


def test_lines_of_others_are_left_alone(tmp_path: Path):
    (tmp_path / LINES).write_text('{"id": 1}\n{"file": "a.jpg", "bytes": 1}\n')
    FrameStore(tmp_path).add(b"x", "jpg", NOON, {})
    assert (tmp_path / LINES).read_text().splitlines()[0] == '{"id": 1}'


def test_a_file_name_that_is_no_text_is_told_all_the_same(tmp_path: Path):
    assert FrameStore(tmp_path).add(b"x", "jpg", NOON, {"source": "stra\udcdf.jpg"}) == "stored"
    assert read_lines(tmp_path)[0]["source"] == "stra\udcdf.jpg"


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="frames cannot be stored here"):
        FrameStore(tmp_path / "file" / "kept")


def test_a_second_labeller_of_a_store_is_refused_until_the_first_lets_go(tmp_path: Path):
    store = FrameStore(tmp_path)
    with pytest.raises(DataError, match="another labeller stores its frames here. Wait for its end, or choose another"):
        FrameStore(tmp_path)
    store.close()
    store.close()
    assert FrameStore(tmp_path).add(b"x", "jpg", NOON, {}) == "stored"


def test_a_killed_labeller_blocks_nobody(tmp_path: Path):
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    with pytest.raises(DataError, match="another labeller stores its frames here"):
        FrameStore(tmp_path)
    process.kill()
    process.wait()
    FrameStore(tmp_path)


def test_the_folder_is_made_durable_between_a_picture_and_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store, synced, real = FrameStore(tmp_path), [], os.fsync

    def watched(descriptor: int) -> None:
        lines = len((tmp_path / LINES).read_text().splitlines())
        synced.append(("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file", lines))
        real(descriptor)

    monkeypatch.setattr("os.fsync", watched)
    store.add(b"x", "jpg", NOON, {})
    assert synced == [("file", 0), ("folder", 0), ("file", 1)]


def test_what_was_kept_is_told_with_its_labels_from_a_moment_on(tmp_path: Path):
    store = FrameStore(tmp_path)
    for hours, holding in ((0, ["rain"]), (2, ["rain", "night"]), (3, [])):
        store.add(b"x", "jpg", NOON + timedelta(hours=hours), {"holding": holding})
    with (tmp_path / LINES).open("a") as file:
        file.write('{"file": "mine.jpg", "time": "yesterday"}\n[]\n')
    assert list(store.kept(NOON + timedelta(hours=1))) == [
        (NOON + timedelta(hours=2), ("rain", "night")),
        (NOON + timedelta(hours=3), ()),
    ]


ENDLESS = """
import sys
from datetime import datetime, timezone
from pathlib import Path
from edgefw.camera.store import FrameStore
store = FrameStore(Path(sys.argv[1]))
print("ready", flush=True)
number = 0
while True:
    store.add(bytes([number % 256]) * 40_000, "jpg", datetime.now(timezone.utc), {"number": number})
    print(number, flush=True)
    number += 1
"""


def test_killed_at_random_moments_no_file_is_broken_and_the_frame_in_flight_is_lost_at_most(tmp_path: Path):
    draw, told, store = random.Random(0), 1, FrameStore(tmp_path)
    store.add(b"before any kill", "jpg", NOON, {})
    store.close()
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0.0, 0.15))
        process.send_signal(signal.SIGKILL)
        told += len(process.stdout.read().split())
        process.wait()
    FrameStore(tmp_path)
    lines = read_lines(tmp_path)
    assert told <= len(lines) <= told + 6
    pictures = {path.name for path in tmp_path.iterdir()} - {LINES}
    assert pictures == {line["file"] for line in lines}
    for line in lines:
        assert hashlib.sha256((tmp_path / line["file"]).read_bytes()).hexdigest() == line["sha256"]
