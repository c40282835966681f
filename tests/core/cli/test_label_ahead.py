"""`edgefw label` reads files ahead in threads: Ctrl-C ends it, also while a file does not answer."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="there are no named pipes")
def test_ctrl_c_ends_it_while_a_file_does_not_answer(edgefw, small_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("edgefw.runtime.in_order.PATIENCE", 0.2)
    bundle = small_bundle.write_small_bundle(tmp_path / "bundle")
    pictures = small_bundle.write_pictures(tmp_path / "pictures")
    pipe = tmp_path / "stuck.png"
    os.mkfifo(pipe)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        began = time.monotonic()
        code, out, err = edgefw("label", bundle, pictures, pipe, "--batch", 4)
        assert code == 130 and "Interrupted" in err and "Traceback" not in err
        assert len(out.splitlines()) == 12  # what was read before it was labelled
        assert time.monotonic() - began < 10
    finally:
        signal.signal(signal.SIGINT, before)
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))  # lets the thread that waits for it go
