"""The exported files of a run, opened: those that can be judged, those whose runtime is not here, those that do not open.

One artefact that cannot be opened leaves the others judged. It opens; what the files are worth, `verify` decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.contracts.backend import session_threads
from edgefw.contracts.scheme import Signature
from edgefw.errors import BundleError, MissingDependency
from edgefw.recipe.compose import build
from edgefw.runtime.asking import ask
from edgefw.stages.artefact_names import Entry, entry_of, recorded_entry

if TYPE_CHECKING:
    from edgefw.contracts.backend import Backend, Runner
    from edgefw.stages.context import StageContext


@dataclass(frozen=True, kw_only=True)
class OpenArtefact:
    """An exported file, opened: its record, its runner, and the backend that opened it."""

    record: Mapping[str, Any]
    runner: Runner
    backend: Backend

    @property
    def name(self) -> str:
        """Of the artefact."""
        return str(self.record["name"])

    @property
    def signature(self) -> Signature:
        """Of its graph."""
        stated = self.record["signature"]
        return Signature(name=stated["name"], inputs=tuple(stated["inputs"]), serves=tuple(stated["serves"]))

    @property
    def roles(self) -> Sequence[str]:
        """What its answers are told under."""
        return self.signature.roles

    def feeds(self, images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Images (B, C, H, W) by modality, under the names of the graph's inputs."""
        names = list(self.record["inputs"])
        return dict(images) if len(names) > 1 else {names[0]: next(iter(images.values()))}

    def ask(self, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Embeddings (B, D) of images by modality.

        Raises:
            BundleError: with the runtime's reason, if the file does not take them or gives something else.
        """
        return ask(self.runner, self.feeds(images))


@dataclass
class Opened:
    """What opening left.

    Attributes:
        artefacts: to be judged.
        unjudged: {name, backend, precision, why} of those whose runtime is not on this machine.
        broken: name -> why, of those that do not open, or fail later on.
    """

    artefacts: list[OpenArtefact] = field(default_factory=list)
    unjudged: list[dict[str, Any]] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)

    def drop(self, artefact: OpenArtefact, why: str) -> None:
        """Leave out an artefact that has failed on images."""
        self.broken[artefact.name] = why
        self.artefacts = [own for own in self.artefacts if own.name != artefact.name]


def open_artefacts(context: StageContext) -> Opened:
    """Every artefact that export left, opened by its backend from the file on disk."""
    backends, missing = _backends(context)
    folder, compute = context.folder.stage("export"), context.recipe.config.compute.threads
    opened = Opened()
    for record in context.folder.result("export")["artefacts"]:
        name, backend = record["name"], recorded_entry(record)
        unjudged = {key: record[key] for key in ("name", "backend", "precision")}
        if backend in missing:
            opened.unjudged.append({**unjudged, "why": missing[backend]})
            continue
        try:
            threads = session_threads(record["options"], compute)
            runner = backends[backend].open(folder / name / record["file"], threads)
        except MissingDependency as error:
            opened.unjudged.append({**unjudged, "why": str(error)})
            continue
        except BundleError as error:
            opened.broken[name] = str(error)
            continue
        opened.artefacts.append(OpenArtefact(record=record, runner=runner, backend=backends[backend]))
    return opened


def _backends(context: StageContext) -> tuple[dict[Entry, Backend], dict[Entry, str]]:
    """Backends by entry, and the reason why one is not here."""
    found: dict[Entry, Backend] = {}
    missing: dict[Entry, str] = {}
    for chosen in context.composition.backends:
        try:
            found[entry_of(chosen)] = build(chosen, context.pieces.context(chosen))
        except MissingDependency as error:
            missing[entry_of(chosen)] = str(error)
    return found, missing
