"""Lines on an output that is full for a while: whichever byte the disk stops at, lines are whole and counted right."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefw.cli.frame_lines import FrameLines
from edgefw.cli.whole_lines import WholeLines


class Disk(io.RawIOBase):
    """A file on a disk with so many bytes of room."""

    def __init__(self, room: int) -> None:
        self.room, self.data = room, b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """As much as there is room for."""
        if data and not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = bytes(data)[: self.room]
        self.data, self.room = self.data + taken, self.room - len(taken)
        return len(taken)


def output(disk: Disk, encoding: str = "utf-8") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(disk), encoding=encoding, newline="")


def record(number: int) -> dict[str, Any]:
    return {
        "frame": number,
        "label": "red",
        "labels": [{"label": "red", "score": 0.5}],
        "source": "a",
        "seconds": number,
    }


@pytest.mark.parametrize("seed", range(20))
def test_whatever_room_comes_and_goes_lines_are_whole_and_counted(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    draw, disk = random.Random(seed), Disk(10)
    monkeypatch.setattr(sys, "stdout", output(disk))

    def records() -> Iterator[dict[str, Any]]:
        for number in range(30):
            disk.room = 10_000 if number in (0, 29) else draw.choice((0, 5, 90, 200))
            yield record(number)

    lines = FrameLines(True, 1, stored=True)
    assert lines.print(records()) == 30
    assert disk.data.endswith(b"\n")
    numbers = [json.loads(line)["frame"] for line in disk.data.splitlines()]
    assert numbers == sorted(set(numbers)) and {0, 29} <= set(numbers)
    assert lines.lost == 30 - len(numbers) > 0


def test_a_last_line_that_was_cut_off_is_finished_at_the_end_if_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(7)
    monkeypatch.setattr(sys, "stdout", output(disk))
    lines = WholeLines()
    with pytest.raises(OSError, match="No space left"):
        lines.write("0123456789")
    lines.finish()
    assert (disk.data, lines.finished) == (b"0123456", 0)
    disk.room = 100
    lines.finish()
    lines.finish()
    assert (disk.data, lines.finished) == (b"0123456789" + os.linesep.encode(), 1)


@pytest.mark.parametrize(("encoding", "expected"), [("utf-8", "ä μ"), ("ascii", "ä μ"), ("latin-1", "ä \\u03bc")])
def test_words_are_encoded_as_the_output_says_and_what_others_printed_comes_first(
    monkeypatch: pytest.MonkeyPatch, encoding: str, expected: str
) -> None:
    disk = Disk(100)
    monkeypatch.setattr(sys, "stdout", output(disk, encoding))
    sys.stdout.write("before ")
    WholeLines().write("ä μ")
    assert disk.data.decode("utf-8" if encoding == "ascii" else encoding).rstrip() == f"before {expected}"


FILLS = """
import os, resource, sys
from edgefw.cli.frame_lines import FrameLines
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

def record(number, label):
    entry = {"label": label, "score": 0.5}
    return {"frame": number, "label": label, "labels": [entry], "source": "drive.mp4", "seconds": number / 10}

def records():
    yield record(0, "red")
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.fstat(1).st_size + 9, hard))
    yield record(1, "blue")
    yield record(2, "red")
    yield record(3, "red")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    yield record(4, "green")

lines = FrameLines(sys.argv[1] == "json", 1, stored=True)
assert lines.print(records()) == 5
print(lines.lost, file=sys.stderr)
"""


def printed(place: Path, form: str) -> tuple[list[str], list[str]]:
    """Lines on standard output and standard error of a process whose output is full for three records."""
    pytest.importorskip("resource")
    with place.open("w") as out:
        command = [sys.executable, "-c", FILLS, form]
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=True)
    return place.read_text().split("\n"), done.stderr.splitlines()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_line_that_a_full_disk_cut_off_is_finished_before_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    (*lines, end), (warning, lost) = printed(tmp_path / "out", "json")
    assert [json.loads(line)["frame"] for line in lines] == [0, 1, 4] and end == ""
    assert "what is seen cannot be printed (File too large); frames are stored as before." in warning
    assert lost == "2"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_line_of_text_is_finished_too_and_frames_without_a_line_are_not_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    (*lines, end), (_, lost) = printed(tmp_path / "out", "text")
    assert [line.split("\t")[2] for line in lines] == ["red", "blue", "green"] and end == ""
    assert lost == "1"  # of the frames on a full disk the third looks like the second, and has no line anyway
