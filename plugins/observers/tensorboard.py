"""TensorBoard: losses, validation and final metrics as scalars, when asked for.

Off unless the environment variable `EDGEFW_TENSORBOARD` is set: `1` writes into `<run>/tensorboard`, a path writes into
a folder of the run's name there, so that one TensorBoard shows several runs. Off, it costs one look at the environment.
Needs the package `tensorboard`; without it the observer is switched off with a warning that says how to get it.

Tags are `<phase>/<loss>`, `<phase>/validation/<value>` and `verify/<model>/<modality>/<metric>`; steps are optimiser steps of
the phase. It writes no graphs, histograms or pictures: the run's report has the pictures.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgefw
from edgefw.errors import MissingDependency

if TYPE_CHECKING:
    from edgefw.contracts.run import RunInfo

SWITCH = "EDGEFW_TENSORBOARD"
_OFF = ("", "0", "false", "no", "off")
_ON = ("1", "true", "yes", "on")

_writers: dict[Path, Any] = {}
"""Open writers by run folder: an observer is a module, so what it keeps between two calls has no other home."""


@edgefw.hookimpl
def edgefw_run_started(run: RunInfo) -> None:
    """Open a writer, if asked for."""
    folder = log_folder(run.folder)
    if folder is None:
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f'{SWITCH} is set, and tensorboard is not installed. Install it: pip install "edgefw[tensorboard]"'
        ) from error
    writer = SummaryWriter(str(folder))
    writer.add_text("recipe", "```json\n" + json.dumps(dict(run.config), indent=2) + "\n```")
    _writers[run.folder] = writer


@edgefw.hookimpl
def edgefw_step_finished(run: RunInfo, phase: str, step: int, metrics: Mapping[str, float]) -> None:
    """Write each number of a logged step or a validation."""
    writer = _writers.get(run.folder)
    if writer is None:
        return
    for name, value in metrics.items():
        writer.add_scalar(f"{phase}/{name}", value, step)


@edgefw.hookimpl
def edgefw_stage_finished(run: RunInfo, stage: str, result: Mapping[str, Any]) -> None:
    """Write what `verify` measured; flush, so that an interrupted run keeps its curves."""
    writer = _writers.get(run.folder)
    if writer is None:
        return
    for row in result.get("evaluation", []) if stage == "verify" else []:
        if row["value"] is not None:
            writer.add_scalar(f"verify/{row['model']}/{row['modality']}/{row['metric']}", row["value"], 0)
    writer.flush()


@edgefw.hookimpl
def edgefw_run_finished(run: RunInfo) -> None:
    """Close the writer."""
    writer = _writers.pop(run.folder, None)
    if writer is not None:
        writer.close()


def log_folder(run: Path) -> Path | None:
    """Where to write, or None when TensorBoard is off."""
    value = os.environ.get(SWITCH, "").strip()
    if value.lower() in _OFF:
        return None
    return run / "tensorboard" if value.lower() in _ON else Path(value).expanduser().absolute() / run.name
