"""Launched processes: who is who, and waiting for each other through a real launcher."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgefw.errors import RecipeError
from edgefw.processes import Processes, launched, threads_sleep


def test_a_process_that_nobody_launched_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone = launched()
    assert (alone.rank, alone.count, alone.is_main) == (0, 1, True)
    alone.wait()
    assert alone.share("value") == "value"


def test_the_launchers_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (launched("cpu"), launched("cpu").is_main) == (Processes(2, 4, "cpu"), False)


def test_threads_sleep_unless_somebody_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "passive"


def test_a_device_that_is_not_there_is_one_message() -> None:
    with pytest.raises(RecipeError, match="compute.device: this machine has no 'cuda:99'"):
        Processes(device="cuda:99").torch_device()
    assert Processes(device="cpu").torch_device().type == "cpu"


@pytest.mark.slow
def test_two_processes_share_what_the_first_one_says(tmp_path: Path) -> None:
    script = tmp_path / "share.py"
    script.write_text(
        "import atexit\n"
        "import torch.distributed\n"
        "from edgefw.processes import launched\n"
        f"left = {str(tmp_path)!r} + '/left-'\n"
        "atexit.register(lambda: open(f'{left}{processes.rank}', 'w').write(str(torch.distributed.is_initialized())))\n"
        "processes = launched('cpu')\n"
        "shared = processes.share({'from': processes.rank})\n"
        "processes.wait()\n"
        f"open({str(tmp_path)!r} + f'/said-{{processes.rank}}', 'w').write(repr(shared))\n"
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(
        launcher, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f"said-{rank}").read_text() for rank in (0, 1)] == ["{'from': 0}"] * 2
    assert [(tmp_path / f"left-{rank}").read_text() for rank in (0, 1)] == ["False"] * 2, (
        "the group outlives the program"
    )
