"""Two processes on the CPU give the loss curve of one process with the doubled batch.

Tolerance: 1e-5 relative on every logged loss, term and validation value, and 1e-5 absolute on final weights. The order
in which rows are added up differs, and nothing else. The student has layer norms, no batch norm.

The launcher is called with `--multi_gpu` because `accelerate launch --cpu` starts a single process unless MPI is used;
the job itself asks for the CPU, so the processes form a gloo group.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).resolve().parents[1] / "fixtures" / "two_processes.py"
TOLERANCE = 1e-5


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(*arguments: object, processes: int = 1) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
        launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        launcher += ["--main_process_port", str(free_port())]
    command = [*launcher, str(SCRIPT), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=600)


def trained(*arguments: object, processes: int = 1) -> tuple[list[dict], dict[str, torch.Tensor]]:
    done = start(*arguments, processes=processes)
    assert done.returncode == 0, done.stderr[-3000:]
    group = f"group: gloo {processes}" if processes > 1 else "group: none 1"
    assert [line for line in done.stdout.splitlines() if line.startswith("group:")] == [group] * processes
    folder = Path(str(arguments[0]))
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], load_file(folder / "student.safetensors")


def numbers(line: dict) -> dict[str, float]:
    """Everything that must agree, flat."""
    flat = {name: line[name] for name in ("step", "epoch", "loss", "lr", "gradient_norm") if name in line}
    return {**flat, **line.get("losses", {}), **line.get("validation", {})}


def assert_equal_curves(one: list[dict], two: list[dict]) -> None:
    assert len(one) == len(two) > 10
    for ours, theirs in zip(map(numbers, one), map(numbers, two)):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert theirs[name] == pytest.approx(value, rel=TOLERANCE, abs=1e-7), (ours["step"], name)


@pytest.mark.parametrize("case", ["across", "accumulate"])
def test_the_loss_curve_is_that_of_one_process_with_the_doubled_batch(tmp_path, case):
    one, weights = trained(tmp_path / "one", 16, case)
    two, others = trained(tmp_path / "two", 8, case, processes=2)
    assert_equal_curves(one, two)
    for name, value in weights.items():
        torch.testing.assert_close(others[name], value, atol=TOLERANCE, rtol=TOLERANCE)


def test_a_launcher_that_starts_one_process_instead_of_two_is_refused(tmp_path):
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command = [*launcher, str(SCRIPT), str(tmp_path), "8", "across"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode != 0
    assert "`accelerate launch --cpu` has started one process, not several" in done.stderr


def test_killed_processes_resume_byte_for_byte(tmp_path):
    trained(tmp_path / "whole", 8, "across", processes=2)
    killed = start(tmp_path / "parts", 8, "across", 8, processes=2)
    assert killed.returncode != 0 and not (tmp_path / "parts" / "student.safetensors").exists()
    trained(tmp_path / "parts", 8, "across", processes=2)
    whole, parts = ((tmp_path / name / "student.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
