"""Formats that Pillow loads late: threads that need one at the same time all get their image."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from edgefw.errors import DataError
from edgefw.runtime import image_formats
from edgefw.runtime.image_formats import with_all_formats


@pytest.fixture(autouse=True)
def nothing_is_loaded(monkeypatch):
    monkeypatch.setattr(image_formats, "_LOADED", threading.Event())


def refuse(tries: list[int]) -> None:
    tries.append(1)
    raise DataError("no image")


def test_what_was_refused_while_another_thread_loaded_formats_is_decoded_again():
    tried, others_are_done = [], threading.Event()

    def decode() -> str:
        tried.append(1)
        assert others_are_done.wait(20)
        if len(tried) == 1:
            raise DataError("Pillow knew no such format when this began")
        return "image"

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(with_all_formats, decode)
        while not tried:
            others_are_done.wait(0.001)
        with pytest.raises(DataError):
            with_all_formats(lambda: refuse([]))
        others_are_done.set()
        assert slow.result(20) == "image"


def test_what_is_no_image_is_told_after_one_more_try_and_later_at_once():
    for count in (2, 1):
        tries: list[int] = []
        with pytest.raises(DataError, match="no image"):
            with_all_formats(lambda: refuse(tries))  # noqa: B023 - called at once
        assert len(tries) == count


FRESH = """
import sys
from pathlib import Path

from edgefw.plugins.modalities.depth import Depth, DepthConfig
from edgefw.runtime.image_formats import with_all_formats
from edgefw.testing.interleaved import interleaved

data, depth = Path(sys.argv[1]).read_bytes(), Depth(DepthConfig())
print({values.shape for values in interleaved([lambda: with_all_formats(lambda: depth.decode(data, "here"))] * 6)})
"""


def test_a_fresh_process_reads_tiff_in_several_threads_at_once(tmp_path):
    Image.new("I;16", (4, 3), 7).save(tmp_path / "image.tiff")
    command = [sys.executable, "-c", FRESH, str(tmp_path / "image.tiff")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "{(3, 4)}", done.stderr
