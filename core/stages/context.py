"""What every stage is given. A stage reads the run folder and the pieces, never another stage's objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgefw.processes import Processes

if TYPE_CHECKING:
    from edgefw.contracts.run import RunInfo
    from edgefw.pieces import Pieces
    from edgefw.recipe.compose import Composition
    from edgefw.recipe.read import Recipe
    from edgefw.registry.observers import Observers
    from edgefw.reporting.progress import Progress
    from edgefw.run_folder import RunFolder


@dataclass(frozen=True)
class StageContext:
    """One run, as a stage sees it.

    A stage file has two functions: `fingerprint(context)`, JSON-able inputs that decide whether the stage is run
    again, and `run(context)`, whose JSON-able result the engine writes to `<stage>/result.json`.

    Attributes:
        recipe: the validated recipe.
        composition: the techniques it chose.
        pieces: the same, built on first use.
        folder: the run folder; a stage writes into `folder.stage(<its name>)`.
        observers: trackers of the run.
        run: what observers are told about the run.
        progress: what the user sees.
        resume: whether an interrupted training goes on from its checkpoint.
        processes: which of the launched processes this is.
    """

    recipe: Recipe
    composition: Composition
    pieces: Pieces
    folder: RunFolder
    observers: Observers
    run: RunInfo
    progress: Progress
    resume: bool = False
    processes: Processes = field(default_factory=Processes)
