"""Which layer of an exported file first departs from the trained network? Asked of files that failed, or on demand.

The source is compiled afresh from the network, by the same backend, so that its tensors have the names of the file's;
both see the same few held-out images. It needs a backend that shows its layers (`LayerShower`). A fault outside the
graph (preprocessing, label pack) has no layer, and an exporter that is wrong each time refuses the fresh file itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.contracts.backend import CompileRequest, LayerShower
from edgefw.data.loading import read_image
from edgefw.errors import EdgefwError
from edgefw.evaluation.budget import wrong
from edgefw.runtime.departure import UNSEEN, blame_row
from edgefw.stages.artefact_names import Entry, recorded_entry
from edgefw.stages.graphs import graph_of
from edgefw.stages.opened import OpenArtefact

if TYPE_CHECKING:
    from edgefw.contracts.backend import Backend
    from edgefw.stages.context import StageContext
    from edgefw.stages.held_out import HeldOut
    from edgefw.stages.trained import Trained

SAMPLES = 8


@dataclass
class Blamer:
    """Looks into the artefacts of one run; a source is compiled once per entry of `export.backends` and graph."""

    context: StageContext
    trained: Trained
    held: HeldOut
    _sources: dict[tuple[Entry, str], Path] = field(default_factory=dict)

    def rows(self, artefacts: Iterable[OpenArtefact]) -> list[dict[str, Any]]:
        """For each artefact {artefact, limit, first, layers}, or {artefact, absent: why there is nothing to see}."""
        with ExitStack() as folders:
            found = [self._row(artefact, folders) for artefact in artefacts]
            self._sources.clear()
        return found

    def _row(self, artefact: OpenArtefact, folders: ExitStack) -> dict[str, Any]:
        self.context.progress.say(f"verify: layers of {artefact.name}")
        try:
            return self._seen(artefact, folders)
        except EdgefwError as error:
            return {"artefact": artefact.name, "absent": str(error)}

    def _seen(self, artefact: OpenArtefact, folders: ExitStack) -> dict[str, Any]:
        backend = artefact.backend
        if not isinstance(backend, LayerShower):
            return {"artefact": artefact.name, "absent": UNSEEN}
        feeds = artefact.feeds(few_images(self.context, self.held, artefact))
        file = self.context.folder.stage("export") / artefact.name / artefact.record["file"]
        key = recorded_entry(artefact.record), artefact.signature.name
        if key not in self._sources:
            folder = Path(folders.enter_context(tempfile.TemporaryDirectory(prefix="edgefw-")))
            self._sources[key] = self._source(backend, artefact, feeds, folder)
        fresh, given = backend.layers(self._sources[key], feeds), backend.layers(file, feeds)
        return blame_row(artefact.name, artefact.record["precision"], fresh, given)

    def _source(self, backend: Backend, artefact: OpenArtefact, feeds: Mapping[str, np.ndarray], folder: Path) -> Path:
        quantizer, network = self.trained.quantizer, self.trained.network
        if quantizer is not None:
            network = quantizer.convert(network)
        request = CompileRequest(
            network=graph_of(network, self.trained.scheme, artefact.signature),
            inputs={name: values.shape[1:] for name, values in feeds.items()},
            folder=folder,
            examples=feeds,
            quantised=quantizer is not None,
        )
        return backend.compile(request).file


def failing(artefacts: Iterable[OpenArtefact], budget: Iterable[Mapping[str, Any]]) -> list[OpenArtefact]:
    """The artefacts that broke a check of their answers."""
    names = wrong(budget)
    return [artefact for artefact in artefacts if artefact.name in names]


def few_images(context: StageContext, held: HeldOut, artefact: OpenArtefact) -> dict[str, np.ndarray]:
    """A few held-out images (B, C, H, W) by the artefact's inputs; one of several sensors sees some of each."""
    inputs = artefact.signature.inputs
    if len(inputs) > 1:
        return _stacked(context, held, inputs, SAMPLES)
    roles = [role for role in artefact.roles if role in context.pieces.modalities]
    each = max(3, SAMPLES // len(roles))
    parts = [_stacked(context, held, (role,), each)[role] for role in roles if _has(held, (role,))]
    return {inputs[0]: np.concatenate(parts)}


def _has(held: HeldOut, names: Collection[str]) -> bool:
    return any(all(name in sample.images for name in names) for sample in held.samples)


def _stacked(context: StageContext, held: HeldOut, names: Collection[str], count: int) -> dict[str, np.ndarray]:
    sensors = context.pieces.modalities
    fitting = [sample for sample in held.samples if all(name in sample.images for name in names)]
    places = np.unique(np.linspace(0, len(fitting) - 1, min(count, len(fitting))).round().astype(int))
    contracts = {name: context.pieces.preprocessing(name) for name in names}
    return {
        name: np.stack([contracts[name](read_image(fitting[int(at)], name, sensors[name])) for at in places])
        for name in names
    }
