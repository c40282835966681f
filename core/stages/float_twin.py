"""Float twins: what a file whose student was rounded in training is timed beside.

A quantizer that works after training leaves the float file that it began with. A student that trained with rounding has none, so the
same network without rounding is compiled for the same backend, with the same options, into a temporary folder. It starts from the
student's first weights and is never trained: how long a file takes does not depend on its numbers. Nothing but time is asked of it,
and nobody is given it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgefw.contracts.backend import CompileRequest, session_threads
from edgefw.errors import EdgefwError
from edgefw.stages.graphs import graph_of

if TYPE_CHECKING:
    from torch import nn

    from edgefw.contracts.backend import Runner
    from edgefw.stages.context import StageContext
    from edgefw.stages.opened import OpenArtefact
    from edgefw.stages.trained import Trained

_LEAST = 3
"""Examples that a backend checks its file on."""


@dataclass(frozen=True, kw_only=True)
class Twins:
    """Twins by the names of the artefacts that they stand beside.

    Attributes:
        runners: opened, for as long as the context of `float_twins` lasts.
        absent: why an artefact has none.
    """

    runners: dict[str, Runner] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


@contextmanager
def float_twins(
    context: StageContext,
    trained: Trained,
    artefacts: Sequence[OpenArtefact],
    images: Mapping[str, Mapping[str, np.ndarray]],
) -> Iterator[Twins]:
    """A twin for every artefact, if the student was trained with rounding; none otherwise. Files are removed at the end.

    Args:
        context: the run.
        trained: the student that the artefacts were exported from.
        artefacts: opened.
        images: artefact's name -> real images (B, C, H, W) by modality.
    """
    twins = Twins()
    if trained.quantizer is None:
        yield twins
        return
    network = float_network(context, trained)
    with tempfile.TemporaryDirectory(prefix="edgefw-") as folder:
        for number, artefact in enumerate(artefacts):
            context.progress.say(f"verify: a float file to time {artefact.name} beside")
            place = Path(folder) / str(number)
            place.mkdir()
            try:
                twins.runners[artefact.name] = _twin(context, trained, network, artefact, images[artefact.name], place)
            except EdgefwError as error:
                twins.absent[artefact.name] = str(error)
            except Exception as error:  # noqa: BLE001 - every runtime has exceptions of its own; the warning tells the reason
                twins.absent[artefact.name] = f"{type(error).__name__}: {error}"
        yield twins


def float_network(context: StageContext, trained: Trained) -> nn.Module:
    """The network of the last phase without its rounding, with the weights that it began with."""
    from edgefw.training.assemble import assemble

    student = context.pieces.student_network()
    student.set_gradient_checkpointing(False)
    return assemble(student, trained.scheme).eval().requires_grad_(False)


def _twin(
    context: StageContext,
    trained: Trained,
    network: nn.Module,
    artefact: OpenArtefact,
    images: Mapping[str, np.ndarray],
    folder: Path,
) -> Runner:
    request = CompileRequest(
        network=graph_of(network, trained.scheme, artefact.signature),
        inputs={name: tuple(shape) for name, shape in artefact.record["inputs"].items()},
        folder=folder,
        examples={name: _enough(values) for name, values in artefact.feeds(images).items()},
    )
    made = artefact.backend.compile(request)
    threads = session_threads(artefact.record["options"], context.recipe.config.compute.threads)
    runner = artefact.backend.open(made.file, threads)
    replace(artefact, runner=runner).ask(images)
    return runner


def _enough(values: np.ndarray) -> np.ndarray:
    """Rows (B, C, H, W), repeated where there are few."""
    return values if len(values) >= _LEAST else np.resize(values, (_LEAST, *values.shape[1:]))
