"""A run that is put together and not started: built pieces, counted samples, and each phase as training would get it.

The phases' jobs are the real ones (`edgefw.stages.phase_pieces`), on random data instead of files. What a run would
refuse before its first step is refused here.
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pluggy

from edgefw.contracts.run import RunInfo
from edgefw.data.student_input import check_student_input
from edgefw.errors import DataError
from edgefw.labels.names import prompts, read_label_names, unique_names
from edgefw.pieces import Pieces
from edgefw.planning.samples import SplitFacts, check_first_images, splits
from edgefw.registry.observers import Observers
from edgefw.reporting.progress import SilentProgress
from edgefw.run_folder import RunFolder
from edgefw.stages.context import StageContext
from edgefw.stages.phase_pieces import PhasePieces
from edgefw.stages.used_samples import Used, all_used, used_samples

if TYPE_CHECKING:
    from torch import Tensor

    from edgefw.contracts.scheme import Scheme
    from edgefw.contracts.student import InputSpec
    from edgefw.contracts.view import View
    from edgefw.planning.random_data import RandomData
    from edgefw.recipe.compose import Composition
    from edgefw.training.job import PhaseJob
    from edgefw.training.network import StudentNetwork


class PlannedRun:
    """Everything a plan is read from; each part is made when it is first asked for.

    Args:
        composition: the recipe's techniques.
        cache: an existing folder for what pieces may keep.
    """

    def __init__(self, composition: Composition, cache: Path) -> None:
        self.composition = composition
        self.config = composition.recipe.config
        self.pieces = Pieces(composition, cache)
        self.cache = cache

    @cached_property
    def student(self) -> StudentNetwork:
        """A student with the weights it would start from."""
        return self.pieces.student_network()

    @cached_property
    def inputs(self) -> dict[str, InputSpec]:
        """What the exported network takes of each modality."""
        return self.pieces.inputs_of(self.student.spec.input)

    @cached_property
    def labels(self) -> list[str]:
        """Label names of the evaluation; empty where there are none to be had."""
        named = self.config.evaluate.labels is not None or bool(self.pieces.dataset.classes)
        if not named or "teacher.text" not in self.composition.teacher.provides:
            return []
        _check_templates(self.config.evaluate.template)
        return self.pieces.evaluation_labels()

    @cached_property
    def superset(self) -> list[str]:
        """Label names of the curation; empty without one."""
        curate = self.config.curate
        if curate is None:
            return []
        _check_templates(curate.template)
        return unique_names(read_label_names(curate.labels, self.composition.recipe.base, "curate.labels"))[0]

    @cached_property
    def splits(self) -> dict[str, SplitFacts]:
        """Samples of each split; looked at once, with the first images of each modality.

        Raises:
            DataError: if the data cannot be used as the recipe says.
        """
        facts = splits(self.pieces, self.labels)
        check_student_input(self.pieces.modalities, self.student.spec.input, self.composition.phases[-1].scheme)
        check_first_images(self.pieces, facts["train"], self.inputs)
        self._check_held_out(facts)
        return facts

    @property
    def kept(self) -> int:
        """How many training samples curation keeps; an upper bound where a threshold or each label decides."""
        curate, visible = self.config.curate, self.splits["train"].visible
        if curate is None or curate.threshold is not None:
            return visible
        if curate.per_label:  # each label's share is rounded up
            return min(visible, math.floor(curate.keep * visible + 1e-9) + len(self.superset))
        return max(1, math.ceil(curate.keep * visible - 1e-9))

    @property
    def is_bound(self) -> bool:
        """Whether `kept` is an upper bound."""
        curate = self.config.curate
        return curate is not None and (curate.threshold is not None or curate.per_label)

    @cached_property
    def phases(self) -> list[PhasePieces]:
        """The pieces of each phase."""
        return [PhasePieces(self._context(), chosen, index) for index, chosen in enumerate(self.composition.phases)]

    @cached_property
    def inputs_of_phases(self) -> PlannedInputs:
        """What all phases share, in random numbers."""
        return PlannedInputs(self)

    @cached_property
    def jobs(self) -> list[PhaseJob]:
        """Each phase with a fresh student and random data.

        Raises:
            EdgefwError: if a piece of a phase cannot be built.
        """
        return [self._job(pieces) for pieces in self.phases]

    def _job(self, pieces: PhasePieces) -> PhaseJob:
        from edgefw.training.job import Callbacks

        reference = self.pieces.student_network().eval() if pieces.needs_reference else None
        return pieces.job(
            self.inputs_of_phases,  # type: ignore[arg-type]  # the same attributes, without files behind them
            student=self.pieces.student_network(),
            folder=self.cache,
            reference=reference,
            resume=False,
            callbacks=Callbacks(),
        )

    def _context(self) -> StageContext:
        recipe = self.composition.recipe
        return StageContext(
            recipe=recipe,
            composition=self.composition,
            pieces=self.pieces,
            folder=RunFolder(self.cache),
            observers=Observers(pluggy.PluginManager("edgefw")),
            run=RunInfo(folder=self.cache, recipe=recipe.source, config=recipe.resolved),
            progress=SilentProgress(),
        )

    def _check_held_out(self, facts: dict[str, SplitFacts]) -> None:
        split = self.config.verify.split
        if not facts[split].samples:
            others = [name for name in ("val", "test") if facts[name].samples]
            hint = f"Set verify.split={others[0]}, or add some." if others else "Add some."
            raise DataError(f"verify.split: the data set has no '{split}' samples to verify on. {hint}")


class PlannedInputs:
    """What `edgefw.stages.phase_pieces.TrainingInputs` gives a phase, in random numbers."""

    def __init__(self, run: PlannedRun) -> None:
        self._run = run

    @property
    def text(self) -> Tensor | None:
        """Random texts for the label superset, else for the evaluation labels."""
        return self._texts(len(self._run.superset or self._run.labels))

    @property
    def evaluation_text(self) -> Tensor | None:
        """Random texts for the evaluation labels."""
        return self._texts(len(self._run.labels))

    def used(self, scheme: Scheme) -> Used:
        """Which of the samples that the teacher sees a scheme uses; curation may keep fewer."""
        return self._used("train", scheme)

    def validation_used(self, scheme: Scheme) -> Used:
        """Which of the validation samples a scheme uses."""
        return self._used("val", scheme)

    def training_data(self, view: View, turns: int | None, used: Used) -> RandomData:
        """As many samples as are kept and used, at most, at the view's size."""
        run, label = self._run, self._run.splits["train"].label
        count = min(run.kept, len(used.rows))
        labels = None if label is None else label[used.rows]
        if run.superset:
            labels = np.arange(count, dtype=np.int64) % len(run.superset)
        replayed = 1 if turns and getattr(view, "clean_teacher", False) else turns
        return self._data(count, labels, view.size, replayed)

    @property
    def validation_data(self) -> RandomData | None:
        """As many samples as the validation split has; None without it."""
        facts = self._run.splits["val"]
        return self._data(facts.visible, facts.label, None, 1) if facts.visible else None

    def _used(self, split: str, scheme: Scheme) -> Used:
        facts, pieces = self._run.splits[split], self._run.pieces
        if facts.listing is None:
            return all_used(facts.visible)
        seen = [sample for sample in facts.listing.samples if pieces.teacher_modality in sample.images]
        return used_samples(scheme, seen, tuple(pieces.modalities))

    def _texts(self, count: int) -> Tensor | None:
        from edgefw.planning.random_data import random_texts

        return random_texts(count, self._run.pieces.teacher.spec.width)

    def _data(self, count: int, labels: np.ndarray | None, size: int | None, turns: int | None) -> RandomData:
        from edgefw.planning.random_data import RandomData

        pieces, input = self._run.pieces, self._run.student.spec.input
        side = size or input.size
        return RandomData(
            count=count,
            shape=(input.channels, side, side),
            picture=pieces.teacher.spec.image_size,
            modalities=tuple(pieces.modalities),
            channels={name: own.channels for name, own in self._run.inputs.items()},
            teacher_modality=pieces.teacher_modality,
            labels=labels,
            turns=turns,
        )


def _check_templates(template: str | list[str]) -> None:
    for one in [template] if isinstance(template, str) else template:
        prompts(["x"], one)
