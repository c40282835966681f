"""Rows of several processes as one batch: forked gloo processes against one process with all rows.

The same through the launcher, with every loss: tests/e2e/test_two_processes.py.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import training_toys as toys
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from edgefw.contracts.loss import LossInput
from edgefw.contracts.student import AttentionHeads, StudentOutput
from edgefw.contracts.teacher import TeacherOutput
from edgefw.errors import TrainingError
from edgefw.training.gather import gather_input, gather_rows, row_counts
from edgefw.training.phase import PhaseLoss, train_phase


def forked(function: Callable[[int, Path], None], folder: Path, processes: int) -> None:
    """Run `function(rank, folder)` in forked processes that form a gloo group; fail with the first traceback."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    context = multiprocessing.get_context("fork")
    started = [
        context.Process(target=_one, args=(function, folder, rank, processes, port)) for rank in range(processes)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    errors = [path.read_text() for path in sorted(folder.glob("error-*.txt"))]
    assert not errors, errors[0]
    assert [process.exitcode for process in started] == [0] * processes


def _one(function, folder, rank, processes, port):
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    try:
        AcceleratorState._reset_state(True)
        dist.init_process_group("gloo", rank=rank, world_size=processes)
        function(rank, folder)
        dist.destroy_process_group()
    except BaseException:  # noqa: BLE001 - also an assertion or an interrupt has to reach the parent
        (folder / f"error-{rank}.txt").write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)


ROWS = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
PARTS = [slice(0, 4), slice(4, 4), slice(4, 7)]


def loss_of(rows):
    return (rows @ rows.T).logsumexp(dim=1).mean()


def gathers(rank, folder):
    own = ROWS[PARTS[rank]].clone().requires_grad_()
    counts = row_counts(len(own), torch.device("cpu"))
    assert counts == [4, 0, 3]
    rows = gather_rows(own, counts)
    assert torch.equal(rows, ROWS)
    loss_of(rows).backward()
    expected = ROWS.clone().requires_grad_()
    loss_of(expected).backward()
    # summed over three processes that computed the same loss; data-parallel averaging divides by three
    torch.testing.assert_close(own.grad / 3, expected.grad[PARTS[rank]])
    flags = gather_rows(torch.tensor([True, False, True, True])[: len(own)], counts)
    assert flags.tolist() == [True, False, True, True, True, False, True]


def test_unequal_rows_are_gathered_with_gradients(tmp_path):
    forked(gathers, tmp_path, 3)


def gathers_input(rank, folder):
    index = torch.arange(3) + 3 * rank
    inputs = LossInput(
        student=StudentOutput(*[index[:, None].float()] * 2, None, (AttentionHeads(index + 0.5, index + 1.5),)),
        teacher=TeacherOutput(embedding=index[:, None].float()),
        modality=index,
        sample=index,
        label=index,
        logit_scale=5.0,
        text=torch.eye(2),
    )
    joined = gather_input(inputs, [3, 3])
    assert joined.sample.tolist() == list(range(6)) and joined.student.embedding.flatten().tolist() == list(range(6))
    assert joined.student.attention[0].keys.tolist() == [row + 1.5 for row in range(6)]
    assert joined.student.map is None and joined.role is None and joined.teacher.tokens is None
    assert torch.equal(joined.text, torch.eye(2)) and joined.logit_scale == 5.0


def test_everything_with_rows_is_gathered_and_texts_are_not(tmp_path):
    forked(gathers_input, tmp_path, 2)


def job(folder, batch, **changes):
    torch.manual_seed(0)
    losses = (
        PhaseLoss(name="square", weight=1.0, module=toys.MeanSquare()),
        PhaseLoss(name="contrast", weight=0.5, module=toys.Contrast()),
    )
    data = toys.ToyData(missing={"depth": [0, 3, 4, 11, 12, 30]})
    held_out = toys.ToyData(size=13, seed=4, turns=1)
    return toys.job(folder, losses=losses, data=data, validation=held_out, batch=batch, epochs=2, **changes)


def trains(rank, folder):
    train_phase(job(folder / "two", 6, select={"by": "loss"}))


def test_two_processes_train_to_the_weights_of_one(tmp_path):
    one = train_phase(job(tmp_path / "one", 12, select={"by": "loss"}))
    forked(trains, tmp_path, 2)
    for name, value in load_file(tmp_path / "two" / "student.safetensors").items():
        torch.testing.assert_close(value, one.network.state_dict()[name], atol=1e-5, rtol=1e-5)


def breaks(rank, folder):
    data = toys.ToyData()
    data.images["depth"][5] = float("nan")  # in one process's part of the batch
    with pytest.raises(TrainingError) as caught:
        train_phase(toys.job(folder / "broken", data=data, batch=6))
    (folder / f"said-{rank}.txt").write_text(str(caught.value))


def test_all_processes_stop_together_at_a_bad_number(tmp_path):
    forked(breaks, tmp_path, 2)
    said = [(tmp_path / f"said-{rank}.txt").read_text() for rank in range(2)]
    assert {message.split(":")[0] for message in said} == {said[0].split(":")[0]}
    assert any("Samples: sample-005. Their images hold values" in message for message in said)
