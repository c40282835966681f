"""Standard output that is gone, full, or fine: only the one that is stuck is dropped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgefw.cli.main import _exit_code
from edgefw.cli.output import drop_output, drop_stuck

NO_ROOM = OSError(28, "No space left on device")


def test_an_output_that_is_not_there_or_closed_is_no_error(monkeypatch, capsys, tmp_path: Path) -> None:
    closed = (tmp_path / "out").open("w")
    closed.close()
    for output in (None, closed):
        monkeypatch.setattr(sys, "stdout", output)
        drop_output()
        drop_stuck(output)
        assert _exit_code(NO_ROOM) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_what_was_printed_stays_where_another_disk_is_full(tmp_path: Path) -> None:
    program = (
        "from edgefw.cli.main import _exit_code; print('before')\n"
        "code = _exit_code(OSError(28, 'No space left on device')); print('after'); raise SystemExit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "before\nafter\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_an_output_that_is_stuck_is_dropped() -> None:
    with open("/dev/full", "w") as full:
        full.write("x")
        drop_stuck(full)
        full.flush()  # goes nowhere now
