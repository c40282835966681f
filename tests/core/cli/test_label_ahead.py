"""`edgefw label` reads files ahead in threads: as many as are allowed; Ctrl-C ends it, also while a file does not answer."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress

import PIL.Image
import pytest

from edgefw.labels.examples import embed_folder
from edgefw.labels.folders import parse_data
from edgefw.runtime.bundle import open_bundle

DEADLINE = 30.0


@pytest.fixture
def readers(monkeypatch):
    """The names of all threads that open an image."""
    names, real = set(), PIL.Image.open

    def noted(*arguments, **options):
        names.add(threading.current_thread().name)
        time.sleep(0.002)  # for the other threads to take the next ones
        return real(*arguments, **options)

    monkeypatch.setattr(PIL.Image, "open", noted)
    return names


def test_no_more_threads_read_than_compute(edgefw, small_bundle, pair_bundle, tmp_path, readers):
    bundle = small_bundle.write_small_bundle(tmp_path / "bundle")
    pictures = small_bundle.write_pictures(tmp_path / "pictures")
    assert edgefw("label", bundle, pictures, "--threads", 1)[0] == 0
    assert len(readers) == 1
    readers.clear()
    pairs = pair_bundle.write_pair_bundle(tmp_path / "pairs")
    pair_bundle.write_scenes(tmp_path)
    assert edgefw("label", pairs, f"rgb={tmp_path}/rgb", f"depth={tmp_path}/depth", "--threads", 1)[0] == 0
    assert len(readers) == 1
    readers.clear()
    with open_bundle(bundle) as opened:
        (folder,) = parse_data([str(pictures)], opened.modalities, opened.label_pack().names)
        assert len(embed_folder(opened, folder, threads=1).labels) == 12
    assert len(readers) == 1


def interrupt_when_it_waits(pipe, opened: list[int]) -> None:
    """Ctrl-C once the pipe has a reader and twelve lines are out; at the deadline in any case."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end and (not opened or sys.stdout.getvalue().count("\n") < 12):
        if not opened:
            with suppress(OSError):  # nobody reads yet
                opened.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no named pipes")
def test_ctrl_c_ends_it_while_a_file_does_not_answer(edgefw, small_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("edgefw.runtime.in_order.PATIENCE", 0.2)
    bundle = small_bundle.write_small_bundle(tmp_path / "bundle")
    pictures = small_bundle.write_pictures(tmp_path / "pictures")
    pipe = tmp_path / "stuck.png"
    os.mkfifo(pipe)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    opened: list[int] = []
    interrupting = threading.Thread(target=interrupt_when_it_waits, args=(pipe, opened), daemon=True)
    interrupting.start()
    try:
        code, out, err = edgefw("label", bundle, pictures, pipe, "--batch", 4)
        assert code == 130 and "Interrupted" in err and "Traceback" not in err
        assert len(out.splitlines()) == 12  # what was read before it was labelled
        assert opened  # and the file was being read
    finally:
        signal.signal(signal.SIGINT, before)
        for end in opened:
            with suppress(OSError):
                os.close(end)  # lets the thread that waits for it go
